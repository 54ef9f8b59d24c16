"""Programs that the supervisor runs and waits for, at most so long."""

from pathlib import Path

from rundlet.keeper.external_job import spawn
from rundlet.keeper.loop import Loop

LIMIT_S = 0.2


def test_the_time_limit_of_a_runtime_that_has_ended_does_not_keep_the_keeper_from_leaving(
    tmp_path: Path,
) -> None:
    """It leaves after a time in which nothing happens; 60 s long the limits passed, one after the other."""
    loop = Loop()
    ended: list[str] = []
    job = spawn(["/bin/true"], ["start"], str(tmp_path / "log"))
    job.watch(loop, lambda: ended.append("start"), LIMIT_S)
    while not ended:
        loop.turn(None)
    assert not loop.turn(2 * LIMIT_S)
    loop.close()
