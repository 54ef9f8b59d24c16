"""Every step has an executor, says what it does and survives the wire."""

import json
from typing import Any, get_args, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rundlet.plan import steps
from rundlet.runtime import execute

_LEAVES: dict[Any, st.SearchStrategy[Any]] = {
    str: st.text(max_size=10),
    int: st.integers(-(1 << 63), (1 << 64) - 1),
    bool: st.booleans(),
}


def values_of(hint: Any) -> st.SearchStrategy[Any]:
    if hint in _LEAVES:
        return _LEAVES[hint]
    args = get_args(hint)
    if args[-1] is ...:
        return st.lists(values_of(args[0]), max_size=3).map(tuple)
    return st.tuples(*map(values_of, args))


def steps_of(kind: Any) -> st.SearchStrategy[Any]:
    hints = get_type_hints(kind)
    return st.builds(kind, *(values_of(hints[name]) for name in kind._fields))


ANY_STEP = st.one_of([steps_of(kind) for kind in steps.KINDS.values()])


@pytest.mark.parametrize("kind", steps.KINDS.values(), ids=str)
def test_each_kind_has_an_executor(kind: Any) -> None:
    assert kind in execute.EXECUTORS or kind in execute.LATE


@pytest.mark.parametrize("module", sorted(set(execute.LATE.values())))
def test_a_late_module_has_what_is_promised(module: str) -> None:
    import importlib

    promised = {kind for kind, name in execute.LATE.items() if name == module}
    assert set(importlib.import_module(module).EXECUTORS) == promised


@given(ANY_STEP)
def test_a_step_survives_the_wire_and_describes_itself(step: Any) -> None:
    assert steps.decode_step(json.loads(json.dumps(steps.encode_step(step)))) == step
    assert isinstance(step.describe(), str)


def test_a_step_of_a_newer_version_is_refused() -> None:
    with pytest.raises(KeyError):
        steps.decode_step(["FromTheFuture", 1])


def test_what_a_step_imports_is_there_before_the_first_step_is_done() -> None:
    import sys

    sys.modules.pop("rundlet.runtime.copyup", None)
    execute.load([steps.Mount("tmpfs", "tmpfs", "/x", 0, "", "", copy_up=True)])
    assert "rundlet.runtime.copyup" in sys.modules
