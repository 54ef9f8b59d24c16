"""Where an engine's images come from: the host's registry files, and the policy of the namespace."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from rundlet.engine.engine import Engine
from rundlet.engine.options import ContainerOptions, PodOptions
from rundlet.engine.provenance import choose_places
from rundlet.engine.settings import Settings, check_settings
from rundlet.errors import InvalidArgument, NotFound, PermissionDenied
from rundlet.registry.places import AuthPlace, find_places
from rundlet.trust.check import PolicyRefusal

ACCEPT = json.dumps({"default": [{"type": "insecureAcceptAnything"}]})
REJECT = json.dumps({"default": [{"type": "reject"}]})


def test_settings_win_over_the_usual_files() -> None:
    usual = find_places({"HOME": "/home/u"}, uid=1000)
    assert choose_places(Settings(), usual) == usual
    settings = Settings(
        registries_conf="/r.conf", registry_certs_dir="/certs", registry_auth_file="/auth.json"
    )
    places = choose_places(settings, usual)
    assert (places.registries_conf, places.registries_conf_named) == ("/r.conf", True)
    assert places.certs_dirs == ("/certs",)
    assert places.auth == (AuthPlace("/auth.json"),)


@pytest.mark.parametrize(
    "name", ["registries_conf", "registries_d", "signature_policy", "signature_policy_dir"]
)
def test_paths_are_absolute(name: str) -> None:
    with pytest.raises(InvalidArgument, match=f"{name}: must be an absolute path"):
        check_settings(Settings(**{name: "relative"}))


@pytest.fixture
def engine_with(settings: Settings, tmp_path: Path) -> Iterator[Callable[..., Engine]]:
    """Makes an engine with files: names of settings and their content."""
    made: list[Engine] = []

    def make(**files: str) -> Engine:
        paths = {name: str(tmp_path / name) for name in files}
        for name, content in files.items():
            (tmp_path / name).write_text(content)
        (tmp_path / "policies").mkdir(exist_ok=True)
        changed = replace(settings, signature_policy_dir=str(tmp_path / "policies"), **paths)
        made.append(Engine(changed))
        return made[-1]

    yield make
    for engine in made:
        for pod in engine.pods.list():
            engine.pods.remove(pod.id)
        engine.close()


@pytest.mark.kernel
def test_a_policy_keeps_an_image_out(engine_with: Callable[..., Engine], registry: str) -> None:
    engine = engine_with(signature_policy=REJECT)
    with pytest.raises(PolicyRefusal, match="reject"):
        engine.images.pull(f"{registry}/busybox:latest")
    assert list(engine.images.list()) == []


@pytest.mark.kernel
def test_a_namespace_has_its_own_policy(
    engine_with: Callable[..., Engine], registry: str, tmp_path: Path
) -> None:
    engine = engine_with(signature_policy=ACCEPT)
    (tmp_path / "policies/strict.json").write_text(REJECT)
    with pytest.raises(PolicyRefusal):
        engine.images.pull(f"{registry}/busybox:latest", namespace="strict")
    assert engine.images.pull(f"{registry}/busybox:latest", namespace="other")
    (tmp_path / "policies/strict.json").write_text("{}")
    with pytest.raises(InvalidArgument, match=r"strict\.json: default: missing"):
        engine.images.pull(f"{registry}/busybox:latest", namespace="strict")


@pytest.mark.kernel
def test_a_policy_that_was_named_must_be_there(
    engine_with: Callable[..., Engine], registry: str, tmp_path: Path
) -> None:
    engine = engine_with(signature_policy=ACCEPT)
    (tmp_path / "signature_policy").unlink()
    with pytest.raises(NotFound, match="no signature policy"):
        engine.images.pull(f"{registry}/busybox:latest")


@pytest.mark.kernel
def test_registries_conf_counts_for_every_use_of_a_name(
    engine_with: Callable[..., Engine], registry: str
) -> None:
    """A short name pulled by its alias is found again by it, also for a container."""
    conf = f"""
[[registry]]
prefix = "vendor.example/all"
location = "{registry}"
[[registry]]
location = "blocked.example"
blocked = true
[aliases]
"tool" = "vendor.example/all/busybox"
"""
    engine = engine_with(registries_conf=conf, signature_policy=ACCEPT)
    image = engine.images.pull("tool")
    assert image.names == ("vendor.example/all/busybox:latest",)
    for text in ("tool", "tool:latest", "vendor.example/all/busybox", image.id, image.id[7:15]):
        assert engine.images.status(text) == image
    pod = engine.pods.run(PodOptions(name="p"))
    assert engine.containers.create(pod, ContainerOptions(name="c", image="tool", command=("true",)))
    with pytest.raises(PermissionDenied, match="blocks blocked.example"):
        engine.images.pull("blocked.example/x")
