"""What is kept of containers, pods, volumes and networks, as JSON in the database: read, written, read again."""

import json

import msgspec

from rundlet.engine.options import ContainerOptions, PodOptions
from rundlet.local.networkplan import NetworkRecord
from rundlet.local.options import PodRequest, RunOptions
from rundlet.local.pods import PodRecord
from rundlet.local.records import LocalState
from rundlet.local.secrets import SecretRecord
from rundlet.local.volumes import VolumeRecord
from rundlet.spec.json import decode, encode
from tests.fuzz.mutation import of_json
from tests.fuzz.target import again

_KINDS: dict[str, type[msgspec.Struct]] = {
    kind.__name__: kind
    for kind in (
        RunOptions, PodRequest, LocalState, ContainerOptions, PodOptions, VolumeRecord, SecretRecord, NetworkRecord, PodRecord
    )
}  # fmt: skip
_RUN = {
    "image": "redis", "name": "r", "command": ["a"], "env": [["A", "b"]], "labels": {"a": "b"}, "entrypoint": ["e"],
    "network": {"mode": "bridge", "names": ["n"]}, "restart": {"name": "always"}, "ports": [{"container_port": 80}],
    "health": {"test": ["x"], "interval_s": 1.5}, "mounts": [{"kind": "bind", "source": "/a", "target": "/b"}],
}  # fmt: skip
_COMMON = {
    "id": "x",
    "name": "n",
    "image": "i",
    "created_at_ns": 1,
    "created_ns": 1,
    "driver": "file",
    "options": {},
    "request": {},
}
SEEDS = (
    json.dumps({"kind": "RunOptions", "value": _RUN}).encode(),
    *(json.dumps({"kind": name, "value": _COMMON}).encode() for name in _KINDS),
)
MUTATE = of_json(" ".join(_KINDS) + " " + " ".join(RunOptions.__struct_fields__))


class _Kept(msgspec.Struct):
    kind: str
    value: msgspec.Raw


def check(data: bytes) -> None:
    kept = decode(data, _Kept, "input")
    kind = _KINDS.get(kept.kind)
    if kind is None:
        return
    record = decode(bytes(kept.value), kind, "record")
    written = encode(record)
    assert encode(again(decode, written, kind, "record")) == written
