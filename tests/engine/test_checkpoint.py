"""Checkpoints as far as a host without criu, or whose kernel criu does not know, can tell."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from rundlet.engine import checkpoint
from rundlet.engine.engine import Engine
from rundlet.engine.options import ContainerOptions, PodOptions
from rundlet.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound, Unimplemented

pytestmark = pytest.mark.kernel


@pytest.fixture
def running(engine: Engine, image: str) -> str:
    pod = engine.pods.run(PodOptions("p"))
    container = engine.containers.create(pod, ContainerOptions("c", image, command=("sleep", "100")))
    engine.containers.start(container)
    return container


@pytest.fixture
def without_criu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setattr(checkpoint, "_PATH", str(tmp_path))


def assert_untouched(engine: Engine, container: str, directory: Path) -> None:
    assert engine.containers.exec_sync(container, ["true"], 10).exit_code == 0
    assert not any("checkpoint" in name for name in os.listdir(directory))
    checkpoints = Path(engine.settings.root, "checkpoints")
    assert not checkpoints.exists() or list(checkpoints.iterdir()) == []


@pytest.mark.usefixtures("without_criu")
def test_without_criu_it_is_unimplemented(engine: Engine, running: str, tmp_path: Path) -> None:
    with pytest.raises(Unimplemented, match="criu, which is not on this host"):
        engine.containers.checkpoint(running, f"{tmp_path}/checkpoint.tar")
    assert_untouched(engine, running, tmp_path)


def test_what_criu_says_is_told_and_nothing_is_left(engine: Engine, running: str, tmp_path: Path) -> None:
    if not checkpoint.find_criu():
        pytest.skip("criu not on this host")
    try:
        engine.containers.checkpoint(running, f"{tmp_path}/checkpoint.tar")
    except FailedPrecondition as error:
        assert error.message.startswith("cannot make the checkpoint: criu ")
    else:
        os.unlink(tmp_path / "checkpoint.tar")
    assert_untouched(engine, running, tmp_path)


def test_places_that_cannot_be(engine: Engine, running: str, tmp_path: Path) -> None:
    if not checkpoint.find_criu():
        pytest.skip("criu not on this host")
    (tmp_path / "there.tar").write_text("mine")
    for location, error in (
        ("relative.tar", InvalidArgument),
        (f"{tmp_path}/absent/checkpoint.tar", NotFound),
        (f"{tmp_path}/there.tar", AlreadyExists),
    ):
        with pytest.raises(error, match="location"):
            engine.containers.checkpoint(running, location)
    assert (tmp_path / "there.tar").read_text() == "mine"


def test_only_a_running_container_has_one(engine: Engine, running: str, tmp_path: Path) -> None:
    engine.containers.stop(running, 0)
    with pytest.raises(FailedPrecondition, match="it is exited"):
        engine.containers.checkpoint(running, f"{tmp_path}/checkpoint.tar")
    with pytest.raises(NotFound):
        engine.containers.checkpoint("f" * 64, f"{tmp_path}/checkpoint.tar")


def test_checkpoints_can_be_switched_off(engine: Engine, running: str, tmp_path: Path) -> None:
    parts = engine.containers._parts
    engine.containers._parts = parts._replace(settings=replace(parts.settings, checkpoints="none"))
    with pytest.raises(Unimplemented, match="switched off"):
        engine.containers.checkpoint(running, f"{tmp_path}/checkpoint.tar")
