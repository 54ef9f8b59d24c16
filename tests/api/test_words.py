"""Keyword arguments as options."""

import re
from pathlib import Path

import pytest

import rundlet
from rundlet.api.words import read_run
from rundlet.engine.options import PortMapping
from rundlet.errors import InvalidArgument
from rundlet.local.options import RestartPolicy


def test_a_text_is_split_as_a_shell_would() -> None:
    assert read_run("image", "sh -c 'a b'").command == ("sh", "-c", "a b")
    assert read_run("image", ["a b"]).command == ("a b",)


def test_ports_are_numbers_with_protocols_and_addresses() -> None:
    asked = read_run("image", ports={80: 0, "53/udp": 5353, 443: ("127.0.0.1", 8443)})
    assert asked.ports == (
        PortMapping(80, 0, "", "tcp"),
        PortMapping(53, 5353, "", "udp"),
        PortMapping(443, 8443, "127.0.0.1", "tcp"),
    )
    with pytest.raises(InvalidArgument):
        read_run("image", ports={"x": 1})


def test_sizes_and_processors() -> None:
    resources = read_run("image", memory="256m", cpus=1.5, pids=10).resources
    assert resources.memory_limit_bytes == 256 << 20
    assert resources.cpu_quota_us is not None
    assert resources.cpu_period_us is not None
    assert resources.cpu_quota_us / resources.cpu_period_us == 1.5
    assert resources.pids_limit == 10


def test_mounts_are_of_all_kinds() -> None:
    mounts = read_run("image", volumes={"/srv": "/a:ro", "named": "/b"}, tmpfs={"/c": "64m"}).mounts
    assert [(mount.kind, mount.source, mount.target, mount.readonly) for mount in mounts] == [
        ("bind", "/srv", "/a", True),
        ("volume", "named", "/b", False),
        ("tmpfs", "", "/c", False),
    ]
    assert mounts[2].size_bytes == 64 << 20


def test_other_words() -> None:
    asked = read_run(
        "image", restart="on-failure:3", network="none", entrypoint="", remove=True, cap_drop=["ALL"]
    )
    assert asked.restart == RestartPolicy("on-failure", 3)
    assert asked.network.mode == "none"
    assert asked.entrypoint == ()
    assert asked.remove
    assert asked.confinement.capabilities.drop == ("ALL",)


def test_an_unknown_word_is_named() -> None:
    with pytest.raises(InvalidArgument, match="comand"):
        read_run("image", comand="x")  # type: ignore[call-arg]


def test_all_that_the_package_offers_is_there() -> None:
    for name in rundlet.__all__:
        assert getattr(rundlet, name) is not None
    with pytest.raises(AttributeError):
        rundlet.nothing  # noqa: B018


def test_the_stub_has_the_types_of_all_that_the_package_offers() -> None:
    stub = (Path(rundlet.__file__).parent / "__init__.pyi").read_text("utf-8")
    assert sorted(re.findall(r"import (\w+) as \1", stub)) == sorted(rundlet.__all__)
