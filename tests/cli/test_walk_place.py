"""The walk's folder, its sample files and the daemon's words when it fails."""

import json
from pathlib import Path

import pytest

from rundlet.cli.configfile import load_container_config, load_pod_config
from rundlet.cli.walk_place import Daemon, Place, read_sample
from rundlet.errors import Unavailable
from rundlet.spec.cni import parse_network_conf


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place.make(keep=False, base=str(tmp_path / "walk"))


def test_samples_are_what_crictl_takes(place: Place) -> None:
    place.write_pod("127.0.0.1:5000/crio/redis:host")
    pod = load_pod_config(place.sandbox_json)
    assert (pod.metadata.name, pod.metadata.uid) == ("podsandbox1", "redhat-test-crio")
    assert pod.log_directory == place.log_dir
    container = load_container_config(place.container_json)
    assert container.image.image == "127.0.0.1:5000/crio/redis:host"


@pytest.mark.parametrize(("name", "kind"), [("10-mynet.conf", "bridge"), ("99-loopback.conf", "loopback")])
def test_network_samples_are_cni_configurations(name: str, kind: str) -> None:
    conf = parse_network_conf(read_sample(name).encode(), name)
    assert [plugin.type for plugin in conf.plugins] == [kind]


def test_the_folder_goes_with_the_walk(place: Place) -> None:
    with place:
        place.write_network()
    assert not Path(place.base).exists()


def test_the_folder_stays_when_asked_for(tmp_path: Path) -> None:
    with Place.make(keep=True, base=str(tmp_path / "kept")) as kept:
        kept.write_config("debian")
    assert Path(kept.config).read_text("utf-8") == "cni_builtin = []\n"


def test_a_daemon_that_ends_at_once_says_why(place: Place) -> None:
    Path(place.config).write_text("no such = 'setting'\n", "utf-8")
    with pytest.raises(Unavailable, match="rundletd ended with 1"):
        Daemon(place).start()


def test_sandbox_sample_asks_for_the_sysctls_of_its_annotations() -> None:
    sample = json.loads(read_sample("sandbox_config.json"))
    asked = sample["linux"]["sysctls"]
    for setting in sample["annotations"]["security.alpha.kubernetes.io/sysctls"].split(","):
        name, _, value = setting.partition("=")
        assert asked[name] == value
