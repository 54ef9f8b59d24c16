"""An image of busybox as engines import it."""

import hashlib
import io
import json
import tarfile
from pathlib import Path


def write_layer(rootfs: Path) -> bytes:
    """The tree as one uncompressed layer."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.add(rootfs, arcname=".")
    return buffer.getvalue()


def write_oci_archive(rootfs: Path, target: Path, name: str, command: tuple[str, ...] = ("sh",)) -> None:
    """A tar of an image layout with one image, named as containerd's import reads it."""
    layer = write_layer(rootfs)
    blobs = {}

    def put(raw: bytes, media_type: str) -> dict[str, object]:
        digest = hashlib.sha256(raw).hexdigest()
        blobs[f"blobs/sha256/{digest}"] = raw
        return {
            "mediaType": f"application/vnd.oci.image.{media_type}",
            "digest": f"sha256:{digest}",
            "size": len(raw),
        }

    layers = [put(layer, "layer.v1.tar")]
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Cmd": command, "Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [layers[0]["digest"]]},
    }
    document = {"config": put(json.dumps(config).encode(), "config.v1+json"), "layers": layers}
    manifest = put(
        json.dumps(
            {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", **document}
        ).encode(),
        "manifest.v1+json",
    )
    manifest["annotations"] = {"io.containerd.image.name": name}
    blobs["index.json"] = json.dumps({"schemaVersion": 2, "manifests": [manifest]}).encode()
    blobs["oci-layout"] = b'{"imageLayoutVersion":"1.0.0"}'
    with tarfile.open(target, "w") as archive:
        for path, raw in blobs.items():
            info = tarfile.TarInfo(path)
            info.size = len(raw)
            archive.addfile(info, io.BytesIO(raw))
