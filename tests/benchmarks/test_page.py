"""Results are merged a figure at a time; the page is made of them alone, the same bytes each time."""

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from benchmarks.catalog import FIGURES, NAMES
from benchmarks.figure import Aim, Figure, Party, Row
from benchmarks.page import DOCS, list_files, make_page, results_path, write_page
from benchmarks.plot import list_plots, spread_out
from benchmarks.results import Host, Measured, Results, Series, merge, read_results, render, write_results
from benchmarks.verdicts import find_steep, judge
from benchmarks.words import show

HOST = Host(system="Debian", kernel="6", machine="x86_64", processor="", cpus=2, memory_gib=24.0, python="3.11",
            cgroup="v1")  # fmt: skip
ROWS = (
    Row("start", "start & go"),
    Row("list", "list", grows_with="pods"),
    Row("rate", "rate", unit="MB/s", more_is_better=True),
)
AIMS = (
    Aim("start", 0.5, "issue 1", beside="peer"),
    Aim("start", 9.0, "issue 1"),
    Aim("list", 1.5, "issue 1", at=100, to_size=10),
    Aim("rate", 4.0, "issue 1", at_least=True),
)
FIGURE = Figure("toy", "A toy", "What it is.", (Party("rundlet"), Party("peer")), ROWS, lambda _: None, AIMS)


def measured(*series: Series, **changes: object) -> Measured:
    fixed = {"measured_at": "2026-01-01T00:00:00Z", "took_s": 1.0, "rounds": 3, "quick": False, "revision": "abc",
             "load": 0.1, "host": HOST, "versions": {"peer": "1.2"}, "called": {"peer": ["peer run"]},
             "skipped": {}}  # fmt: skip
    return Measured(**(fixed | changes), series=list(series))  # type: ignore[arg-type]


TOY = measured(
    Series("start", "rundlet", 0, [1.0, 2.0, 3.0]),
    Series("start", "peer", 0, [10.0, 11.0, 12.0]),
    Series("list", "rundlet", 10, [1.0]),
    Series("list", "rundlet", 100, [20.0]),
    Series("list", "peer", 10, [1.0]),
    Series("list", "peer", 100, [5.0]),
    skipped={"other": "not on this host"},
)
RESULTS = Results({"toy": TOY})


def test_verdicts_are_computed() -> None:
    found = [(verdict.aim.row, verdict.word, verdict.found) for verdict in judge([FIGURE], RESULTS)]
    assert found == [
        ("start", "reached", pytest.approx(2 / 11)),
        ("start", "reached", 2.0),
        ("list", "MISSED", 20.0),
        ("rate", "not measured", None),
    ]


def test_what_grows_faster_than_its_size_is_named() -> None:
    (steep,) = find_steep([FIGURE], RESULTS)
    assert (steep.row.key, steep.party) == ("list", "rundlet")
    assert "| list](#a-toy)" in make_page([FIGURE], RESULTS).replace("[list", "| list")


def test_the_page_tells_medians_ratios_and_who_is_left_out() -> None:
    page = make_page([FIGURE], RESULTS)
    assert "| start & go, ms | rundlet | 2.00 | 2.90 | 3 |  |" in page
    assert "|  | peer | 11.0 | 11.9 | 3 | 0.18x |" in page
    assert "left out or incomplete: other: not on this host" in page
    assert "peer: peer run" in page
    assert "2 of 4 reached, 1 missed, 1 not measured" in page


def test_plots_are_well_formed_light_and_the_same_each_time() -> None:
    plots = dict(list_plots([FIGURE], RESULTS.figures))
    assert list(plots) == ["toy.svg", "toy-growth.svg"]
    assert plots == dict(list_plots([FIGURE], RESULTS.figures))
    for content in plots.values():
        ET.fromstring(content)
        assert len(content) < 20_000
    assert "start &amp; go" in plots["toy.svg"]


def test_labels_are_kept_apart() -> None:
    placed = spread_out({"a": 50.0, "b": 51.0, "c": 200.0}, 0.0, 100.0)
    assert placed["b"] - placed["a"] >= 14
    assert max(placed.values()) <= 100.0


def test_a_figure_measured_again_replaces_itself_alone(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    write_results(path, Results({"b": TOY}))
    write_results(path, merge(read_results(path), "a", TOY, ("a", "b")))
    again = measured(Series("start", "rundlet", 0, [1 / 3]))
    write_results(path, merge(read_results(path), "b", again, ("a", "b")))
    found = read_results(path)
    assert list(found.figures) == ["a", "b"]
    assert found.figures["a"] == TOY
    assert found.figures["b"].series == [Series("start", "rundlet", 0, [0.33333])]
    assert render(found) == path.read_text("utf-8")


def test_results_that_are_not_there_are_none(tmp_path: Path) -> None:
    assert read_results(tmp_path / "results.json") == Results()
    assert "Not measured" in write_page(tmp_path, Results()).read_text("utf-8")


def test_numbers_have_three_digits() -> None:
    assert [show(value) for value in (0, 0.01234, 1.0, 12.345, 999.4, 999.6, 12345.6)] == [
        "0", "0.0123", "1.00", "12.3", "999", "1 000", "12 346",
    ]  # fmt: skip


def test_every_figure_has_a_name_of_its_own_and_aims_at_rows_and_parties_it_has() -> None:
    assert len(set(NAMES)) == len(NAMES)
    for figure in FIGURES:
        parties = {party.name for party in figure.parties}
        for aim in figure.aims:
            assert figure.find_row(aim.row)
            assert {aim.party, aim.beside or aim.party} <= parties
            assert bool(aim.at) == bool(figure.find_row(aim.row).grows_with)


def test_the_page_in_docs_is_what_its_results_make() -> None:
    results = read_results(results_path(DOCS))
    for name, content in list_files(results).items():
        assert (DOCS / name).read_text("utf-8") == content, f"{name}: run python -m benchmarks.page"
    named = set(re.findall(r"\((performance/[\w-]+\.svg)\)", (DOCS / "performance.md").read_text("utf-8")))
    assert named == {f"performance/{path.name}" for path in (DOCS / "performance").glob("*.svg")}
