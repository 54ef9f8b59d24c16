"""The stand-ins of a cold start beside the modules they stand for."""

import base64
import json
import os
import signal
import subprocess
import sys
import types
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rundlet import lean
from rundlet.oci.json import write_pretty

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


class Real(NamedTuple):
    a: int
    b: str = "x"
    c: tuple[int, ...] = ()


class Small(lean.NamedTuple):
    a: int
    b: str = "x"
    c: tuple[int, ...] = ()


@given(value=VALUES, ascii_only=st.booleans())
def test_json_is_written_and_read_alike(value: Any, ascii_only: bool) -> None:
    text = lean.dumps(value, ensure_ascii=ascii_only)
    assert text == json.dumps(value, ensure_ascii=ascii_only)
    assert lean.dumps(value, separators=(",", ":")) == json.dumps(value, separators=(",", ":"))
    assert repr(lean.loads(text)) == repr(json.loads(text))
    assert repr(lean.loads(f" \n{text}\t".encode("utf-8", "surrogatepass"))) == repr(json.loads(text))


@given(
    raw=st.text()
    | st.binary()
    | st.sampled_from(["[1,]", "{", '{"a" 1}', "1 2", "nul", '"\x01"', "[" * 100_000])
)
def test_what_is_no_json_is_the_same_error(raw: Any) -> None:
    try:
        wanted = repr(json.loads(raw))
    except (ValueError, RecursionError) as error:
        with pytest.raises(type(error)):
            lean.loads(raw)
    else:
        assert repr(lean.loads(raw)) == wanted


@given(data=st.binary())
def test_base64(data: bytes) -> None:
    module = lean._make_base64()
    assert module.b64encode(data) == base64.b64encode(data)
    assert module.b64decode(base64.b64encode(data)) == data


@pytest.mark.parametrize(("args", "kwargs"), [
    ((1,), {}), ((1, "y"), {}), ((1, "y", (2,)), {}), ((), {"a": 1}), ((1,), {"c": (3,)}),
    ((), {}), ((1, 2, 3, 4), {}), ((1,), {"a": 2}), ((1,), {"d": 2}),
])  # fmt: skip
def test_named_tuples_are_made_alike(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    try:
        wanted = Real(*args, **kwargs)
    except TypeError:
        with pytest.raises(TypeError):
            Small(*args, **kwargs)
        return
    made = Small(*args, **kwargs)
    assert made == wanted
    assert (made.a, made.b, made.c) == wanted
    assert made._asdict() == wanted._asdict()
    assert made._replace(b="z") == wanted._replace(b="z")
    assert Small._make([1, 2, 3]) == Real._make([1, 2, 3])
    assert repr(made) == repr(wanted).replace("Real", "Small")
    assert Small._fields == Real._fields


def test_asked_for_more_the_real_module_takes_over() -> None:
    script = """
from rundlet import lean
lean.install()
import json, typing, sys
assert type(json) is lean.Lean and type(typing) is lean.Lean
assert json.loads('[1]') == [1] and type(sys.modules["json"]) is lean.Lean
try:
    json.loads('[1')
except json.JSONDecodeError:
    pass
assert json.load.__module__ == "json" and type(sys.modules["json"]) is not lean.Lean
assert typing.get_type_hints and typing.get_origin(typing.Optional[int]) is typing.Union
import dataclasses, argparse, subprocess, tempfile, asyncio, logging, shutil, inspect, collections.abc
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=20)


def test_a_start_imports_little() -> None:
    """The line that a cold start holds: none of these, and not many of ours."""
    script = """
from rundlet import lean
lean.install()
import sys, rundlet.oci.main, rundlet.oci.run, rundlet.oci.foreground
heavy = {"re", "enum", "functools", "contextlib", "msgspec", "subprocess", "hashlib", "shutil", "tempfile", "argparse", "click",
         "json.decoder", "asyncio", "threading", "inspect", "pathlib", "importlib.util", "logging"}
before = set(sys.argv[1].split())
print(" ".join(sorted(heavy & set(sys.modules) - before)), len([m for m in sys.modules if m.startswith("rundlet")]))
"""
    bare = subprocess.run(
        [sys.executable, "-c", "import sys; print(*sys.modules)"], capture_output=True, text=True, check=True
    )
    done = subprocess.run(
        [sys.executable, "-c", script, bare.stdout], capture_output=True, text=True, check=True, timeout=20
    )
    *heavy, count = done.stdout.split()
    assert heavy == []
    assert int(count) < 85


@given(value=VALUES)
def test_json_for_people_is_written_alike(value: Any) -> None:
    assert write_pretty(value) == json.dumps(value, indent=2, ensure_ascii=False)


def test_descriptors_travel_alike() -> None:
    module = lean._make_socket()
    ours, theirs = module.socketpair(module.AF_UNIX, module.SOCK_SEQPACKET)
    with ours, theirs:
        assert not os.get_inheritable(ours.fileno())
        read, write = os.pipe()
        assert module.send_fds(ours, [b"words"], [read, write]) == 5
        data, fds, _, _ = module.recv_fds(theirs, 100, 4, module.MSG_CMSG_CLOEXEC)
        assert data == b"words"
        assert [os.fstat(fd).st_ino for fd in fds] == [os.fstat(fd).st_ino for fd in (read, write)]
        for fd in (read, write, *fds):
            os.close(fd)
        assert module.send_fds(ours, [b"no"], []) == 2
        assert module.recv_fds(theirs, 100, 1)[:2] == (b"no", [])
    assert module.getaddrinfo is not None


def test_signals_are_numbers() -> None:
    module = lean._make_signal()
    assert module.SIGTERM == signal.SIGTERM
    assert module.valid_signals() == signal.valid_signals()
    assert module.Signals is signal.Signals


def test_a_protocol_adds_nothing_to_its_classes() -> None:
    """Modules that a cold start shares with others may have them (rundlet.step)."""
    protocol = lean._make_typing().Protocol
    described = types.new_class("Described", (protocol,))
    assert described.__mro__ == (described, object)


def test_a_module_left_out_comes_when_it_is_asked_for_something() -> None:
    script = (
        "import sys; from rundlet import lean; lean.leave_out('asyncio', 'calendar');"
        " import asyncio, calendar; assert 'asyncio.events' not in sys.modules;"
        " from asyncio.events import AbstractEventLoop;"
        " assert asyncio.AbstractEventLoop is AbstractEventLoop and type(sys.modules['calendar']) is not type(sys);"
        " assert calendar.isleap(2024) and type(sys.modules['calendar']) is type(sys)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
