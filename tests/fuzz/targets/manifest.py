"""Manifests and indexes of registries: read, chosen from, written and read again."""

import json

from rundlet.spec import mediatype
from rundlet.spec.descriptor import Platform
from rundlet.spec.digest import Digest
from rundlet.spec.json import encode
from rundlet.spec.manifest import Index, describe_referrer, find_subject, parse_manifest, select_platform
from tests.fuzz.mutation import of_json
from tests.fuzz.target import again

_DIGEST = "sha256:" + "0123456789abcdef" * 4
_LAYER = {
    "mediaType": mediatype.OCI_LAYER_GZIP,
    "digest": _DIGEST,
    "size": 3,
    "urls": ["https://x"],
    "annotations": {"a": "b"},
}
_CONFIG = {"mediaType": mediatype.OCI_CONFIG, "digest": _DIGEST, "size": 2}
_MANIFEST = {
    "schemaVersion": 2, "mediaType": mediatype.OCI_MANIFEST, "artifactType": "x/y", "config": _CONFIG,
    "layers": [_LAYER, _LAYER], "subject": _CONFIG, "annotations": {"k": "v"},
}  # fmt: skip
_ENTRY = {**_CONFIG, "mediaType": mediatype.OCI_MANIFEST}
_INDEX = {
    "schemaVersion": 2, "mediaType": mediatype.OCI_INDEX,
    "manifests": [
        {**_ENTRY, "platform": {"os": "linux", "architecture": "amd64"}},
        {**_ENTRY, "platform": {"os": "linux", "architecture": "arm", "variant": "v7", "os.version": "1", "os.features": ["x"]}},
        _ENTRY,
    ],
}  # fmt: skip
SEEDS = tuple(json.dumps(value).encode() for value in (_MANIFEST, _INDEX))
MUTATE = of_json(f"{_DIGEST} linux amd64 arm64 v8 v6 mediaType layers manifests config " + " ".join(
    value for name, value in vars(mediatype).items() if name.isupper() and isinstance(value, str)
))  # fmt: skip
_PLATFORMS = (Platform("linux", "amd64"), Platform("linux", "arm", "v7"), Platform("windows", "arm64"))


def check(data: bytes) -> None:
    parsed = parse_manifest(data)
    assert again(parse_manifest, encode(parsed)) == parsed
    find_subject(data)
    kind = mediatype.OCI_INDEX if isinstance(parsed, Index) else mediatype.OCI_MANIFEST
    describe_referrer(data, kind, Digest.of(data))
    if isinstance(parsed, Index):
        for platform in _PLATFORMS:
            assert select_platform(parsed, platform) in parsed.manifests
