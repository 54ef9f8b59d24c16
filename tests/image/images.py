"""Small images, made byte for byte, as an OCI layout."""

import gzip
import io
import json
import os
import tarfile

import zstandard

from rundlet.spec import mediatype
from rundlet.spec.digest import Digest

REF_NAME = "org.opencontainers.image.ref.name"


def tar(files):
    """A tar of {name: content}."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def pack(data, compression):
    if compression == "gzip":
        return gzip.compress(data, mtime=0)
    return zstandard.ZstdCompressor().compress(data) if compression == "zstd" else data


def describe(media_type, data, algorithm="sha256", **more):
    return {"mediaType": media_type, "digest": str(Digest.of(data, algorithm)), "size": len(data), **more}


class LayoutMaker:
    """Writes documents and blobs; everything that it gives is a descriptor."""

    def __init__(self, path):
        self.path = str(path)
        self.entries = []
        os.makedirs(f"{self.path}/blobs/sha256", exist_ok=True)
        (path / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')

    def blob(self, media_type, data, algorithm="sha256", **more):
        entry = describe(media_type, data, algorithm, **more)
        os.makedirs(f"{self.path}/blobs/{algorithm}", exist_ok=True)
        with open(f"{self.path}/blobs/{entry['digest'].replace(':', '/')}", "wb") as file:
            file.write(data)
        return entry

    def document(self, value, algorithm="sha256", **more):
        return self.blob(value["mediaType"], json.dumps(value).encode(), algorithm, **more)

    def image(
        self,
        layers=({"etc/one": b"1"},),
        *,
        compression="gzip",
        docker=False,
        architecture="amd64",
        labels=None,
        algorithm="sha256",
        **more,
    ):
        """An image of the tars of `layers`; its manifest's descriptor."""
        tars = [each if isinstance(each, bytes) else tar(each) for each in layers]
        config = {
            "os": "linux",
            "architecture": architecture,
            "created": "2024-01-02T03:04:05Z",
            "config": {"Env": ["A=b"], "Labels": labels or {"made.by": "test"}, "Cmd": ["sh"]},
            "rootfs": {"type": "layers", "diff_ids": [str(Digest.of(each)) for each in tars]},
            "history": [{"created_by": f"layer {number}"} for number in range(len(tars))],
        }
        layer_type = mediatype.LayerType(
            mediatype.DOCKER_LAYER if docker else mediatype.OCI_LAYER, compression
        )
        manifest = {
            "schemaVersion": 2,
            "mediaType": mediatype.DOCKER_MANIFEST if docker else mediatype.OCI_MANIFEST,
            "config": self.blob(
                mediatype.DOCKER_CONFIG if docker else mediatype.OCI_CONFIG, json.dumps(config).encode()
            ),
            "layers": [self.blob(str(layer_type), pack(each, compression), algorithm) for each in tars],
            **more,
        }
        platform = {"platform": {"os": "linux", "architecture": architecture}}
        return self.document(manifest) | platform

    def artifact(self, content, kind="application/example", subject=None):
        empty = self.blob(mediatype.OCI_EMPTY, b"{}")
        value = {
            "schemaVersion": 2,
            "mediaType": mediatype.OCI_MANIFEST,
            "artifactType": kind,
            "config": empty,
            "layers": [self.blob("text/plain", content)],
        }
        if subject:
            value["subject"] = {key: subject[key] for key in ("mediaType", "digest", "size")}
        return self.document(value)

    def index(self, entries, *, docker=False, **more):
        media_type = mediatype.DOCKER_LIST if docker else mediatype.OCI_INDEX
        return self.document(
            {"schemaVersion": 2, "mediaType": media_type, "manifests": list(entries), **more}
        )

    def publish(self, entry, name=""):
        """Name a manifest; returns the location."""
        plain = {key: entry[key] for key in ("mediaType", "digest", "size")}
        self.entries.append(plain | ({"annotations": {REF_NAME: name}} if name else {}))
        index = {"schemaVersion": 2, "mediaType": mediatype.OCI_INDEX, "manifests": self.entries}
        with open(f"{self.path}/index.json", "w", encoding="utf-8") as file:
            json.dump(index, file)
        return f"oci:{self.path}:{name}" if name else f"oci:{self.path}"

    def read(self, entry):
        with open(f"{self.path}/blobs/{entry['digest'].replace(':', '/')}", "rb") as file:
            return file.read()


def read_manifest(host, location):
    """The manifest of an image anywhere, as a dict."""
    from rundlet.image.location import parse_location
    from rundlet.image.place import open_source

    source = open_source(host, parse_location(location))
    try:
        return json.loads(source.read_manifest().raw)
    finally:
        source.close()
