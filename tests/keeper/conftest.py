from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from rundlet.keeper.client import Keeper
from rundlet.keeper.protocol import ExitRecord
from rundlet.plan.log import parse_log_line
from rundlet.spec.runtime import RuntimeConfig
from tests.keeper.bundle import make_rootfs, plan


class Outcome(NamedTuple):
    exit: ExitRecord
    stdout: str
    stderr: str


def read_log(path: Path, stream: str) -> str:
    lines = [parse_log_line(line) for line in path.read_bytes().splitlines()]
    return "".join(
        line.content.decode() + ("" if line.partial else "\n") for line in lines if line.stream == stream
    )


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    make_rootfs(tmp_path)
    return tmp_path


@pytest.fixture
def keeper(tmp_path: Path) -> Iterator[Keeper]:
    keeper = Keeper(str(tmp_path / "run"))
    yield keeper
    for container_id in keeper.list():
        keeper.delete(container_id)
    keeper.close()


@pytest.fixture
def run(keeper: Keeper, bundle: Path, tmp_path: Path) -> Callable[..., Outcome]:
    """Run a configuration to its end: exit record and what the log says."""

    def run_to_end(config: RuntimeConfig, **options: object) -> Outcome:
        log = tmp_path / "log"
        log.unlink(missing_ok=True)
        keeper.create(plan("c", config, bundle, **options), log_path=str(log))  # type: ignore[arg-type]
        keeper.start("c")
        record = keeper.wait("c", 20)
        assert record is not None
        keeper.delete("c")
        return Outcome(record, read_log(log, "stdout"), read_log(log, "stderr"))

    return run_to_end
