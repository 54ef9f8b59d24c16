"""Turns: who is measured when, and what becomes of a party that fails."""

import sys
from pathlib import Path

import pytest

from benchmarks.bench import Bench, await_true, run
from benchmarks.figure import Figure, Party, Row


def make_bench(tmp_path: Path, *parties: Party, rounds: int = 3) -> Bench:
    figure = Figure("toy", "Toy", "", parties or (Party("a"), Party("b")), (Row("r", "row"),), lambda _: None)
    return Bench(figure, str(tmp_path), rounds=rounds)


def test_parties_take_turns_and_who_begins_changes(tmp_path: Path) -> None:
    bench, order = make_bench(tmp_path), []

    def job(name: str, value: float) -> float:
        order.append(name)
        return value

    bench.turns("r", {"a": lambda: job("a", 1.0), "b": lambda: job("b", 2.0)})
    assert "".join(order) == "baabbaab"  # the first round warms up
    assert [(one.party, one.values) for one in bench.list_series()] == [("a", [1.0] * 3), ("b", [2.0] * 3)]


def test_a_party_that_fails_is_told_and_the_others_go_on(tmp_path: Path) -> None:
    bench = make_bench(tmp_path)

    def fail() -> float:
        raise RuntimeError(f"no {tmp_path}/socket")

    bench.turns("r", {"a": lambda: 1.0, "b": fail})
    assert bench.skipped == {"b": "RuntimeError: no $DIR/socket"}
    assert [one.party for one in bench.list_series()] == ["a"]


def test_who_is_not_on_this_host_is_never_called(tmp_path: Path) -> None:
    bench = make_bench(tmp_path, Party("a"), Party("b", ("no-such-program", "sh")))
    bench.turns("r", {"a": lambda: 1.0, "b": lambda: pytest.fail("called")})
    assert bench.skipped == {"b": "not on this host: no-such-program"}


def test_a_command_is_told_without_the_places_of_this_run(tmp_path: Path) -> None:
    bench = make_bench(tmp_path)
    bench.tell("a", (sys.executable, f"{tmp_path}/x", "127.0.0.1:34567/i:1"))
    bench.tell("a", (sys.executable, f"{tmp_path}/x", "127.0.0.1:11111/i:1"))
    (told,) = bench.called["a"]
    assert "$DIR/x" in told
    assert "$REGISTRY/i:1" in told


def test_a_failed_process_says_its_last_words() -> None:
    with pytest.raises(RuntimeError, match="ended with 3: why"):
        run(("sh", "-c", "echo first >&2; echo why >&2; exit 3"))


def test_waiting_in_vain_ends() -> None:
    with pytest.raises(TimeoutError, match="never: not within"):
        await_true(lambda: False, "never", timeout_s=0.01)
