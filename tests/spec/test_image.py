import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rundlet.errors import InvalidArgument
from rundlet.spec import json
from rundlet.spec.image import ExecutionConfig, ImageConfig, RootFs, chain_ids, parse_image_config

SUM = "sha256:" + "ab" * 32
TEXTS = st.lists(st.text(), max_size=3).map(tuple)
CONFIGS = st.builds(
    ImageConfig,
    rootfs=st.just(RootFs("layers", (SUM,))),
    architecture=st.text(),
    os=st.text(),
    os_version=st.text(),
    config=st.builds(
        ExecutionConfig,
        user=st.text(),
        env=TEXTS,
        entrypoint=TEXTS,
        cmd=TEXTS,
        working_dir=st.text(),
        labels=st.dictionaries(st.text(), st.text(), max_size=2),
        volumes=st.dictionaries(st.text(), st.just({}), max_size=2),
    ),
)


@given(config=CONFIGS)
def test_a_config_survives_json(config: ImageConfig) -> None:
    assert parse_image_config(json.encode(config)) == config


def test_a_config_full_of_nulls_as_docker_writes_it() -> None:
    raw = b"""{"architecture": "amd64", "os": "linux", "created": null, "container_config": null,
        "config": {"User": "", "Env": null, "Cmd": ["sh"], "Entrypoint": null, "Volumes": null,
                   "Labels": null, "OnBuild": null, "WorkingDir": "/srv", "ExposedPorts": {"80/tcp": {}}},
        "rootfs": {"type": "layers", "diff_ids": ["%s"]}, "history": null}"""
    config = parse_image_config(raw % SUM.encode())
    assert config.config == ExecutionConfig(cmd=("sh",), working_dir="/srv", exposed_ports={"80/tcp": {}})
    assert str(config.platform) == "linux/amd64"
    assert parse_image_config(b'{"config": null, "rootfs": {"type": "layers", "diff_ids": []}}').history == ()


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        (b"{}", "rootfs"),
        (b'{"rootfs": {"type": "layers", "diff_ids": ["x"]}}', r"rootfs\.diff_ids\[0\]"),
        (b'{"rootfs": {"type": "layers", "diff_ids": []}, "config": {"Env": [1]}}', r"config\.Env\[0\]"),
    ],
)
def test_an_error_carries_the_path(raw: bytes, path: str) -> None:
    with pytest.raises(InvalidArgument, match=path):
        parse_image_config(raw)


def test_a_chain_id_names_the_stack_below_it() -> None:
    first, second, third = (f"sha256:{digit * 64}" for digit in "123")
    pair = "sha256:" + hashlib.sha256(f"{first} {second}".encode()).hexdigest()
    stack = "sha256:" + hashlib.sha256(f"{pair} {third}".encode()).hexdigest()
    assert chain_ids([first, second, third]) == (first, pair, stack)
    assert chain_ids([]) == ()
