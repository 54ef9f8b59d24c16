"""Image configurations, Docker's nulls among them: read, written, read again."""

import json

from rundlet.spec.image import chain_ids, parse_image_config
from rundlet.spec.json import encode
from tests.fuzz.mutation import of_json
from tests.fuzz.target import again

_DIGEST = "sha256:" + "0123456789abcdef" * 4
_FULL = {
    "architecture": "amd64", "os": "linux", "variant": "v1", "created": "2026-01-02T03:04:05.6Z", "author": "a",
    "os.version": "1", "os.features": ["f"],
    "config": {
        "User": "1:2", "Env": ["PATH=/bin", "A="], "Entrypoint": ["/e"], "Cmd": ["c"], "WorkingDir": "/w",
        "Labels": {"a": "b"}, "Volumes": {"/v": {}}, "ExposedPorts": {"80/tcp": {}}, "StopSignal": "SIGTERM",
        "Healthcheck": {"Test": ["CMD", "x"], "Interval": 5, "Timeout": 6, "StartPeriod": 7, "Retries": 8},
    },
    "rootfs": {"type": "layers", "diff_ids": [_DIGEST, _DIGEST]},
    "history": [{"created": "2026-01-02T03:04:05Z", "created_by": "x", "empty_layer": True, "comment": "c"}],
}  # fmt: skip
_NULLS = {"architecture": "amd64", "os": "linux", "config": {"Env": None, "Cmd": None, "Volumes": None, "Labels": None},
          "rootfs": {"type": "layers", "diff_ids": []}, "history": None}  # fmt: skip
SEEDS = (json.dumps(_FULL).encode(), json.dumps(_NULLS).encode())
MUTATE = of_json(
    f"{_DIGEST} sha512:00 layers null NONE CMD-SHELL 0001-01-01T00:00:00Z Entrypoint Healthcheck"
)


def check(data: bytes) -> None:
    config = parse_image_config(data)
    assert again(parse_image_config, encode(config)) == config
    assert len(chain_ids(config.rootfs.diff_ids)) == len(config.rootfs.diff_ids)
