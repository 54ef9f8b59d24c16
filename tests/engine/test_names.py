import os
import subprocess
import sys

import pytest

from rundlet.engine.names import is_alive, is_id_prefix, new_id, pick_id, process_identity
from rundlet.errors import InvalidArgument, NotFound


def test_ids_are_64_hexadecimal_digits_and_differ():
    first, second = new_id(), new_id()
    assert first != second
    assert len(first) == 64
    assert is_id_prefix(first)
    assert is_id_prefix(first[:3])


@pytest.mark.parametrize("text", ["", "xyz", "ABC", "0" * 65, "a*", "a b"])
def test_no_prefixes(text):
    assert not is_id_prefix(text)


def test_pick_id():
    assert pick_id("ab", ["abc"], "pod") == "abc"
    assert pick_id("ab", ["ab", "abc"], "pod") == "ab"
    with pytest.raises(NotFound) as caught:
        pick_id("ab", [], "pod")
    assert "rundlet pods" in caught.value.hint
    with pytest.raises(InvalidArgument, match="ambiguous"):
        pick_id("ab", ["abc", "abd"], "pod")


def test_an_identity_lives_as_long_as_its_process():
    assert is_alive(process_identity(os.getpid()))
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        identity = process_identity(child.pid)
        assert is_alive(identity)
        child.communicate(b"\n")
    assert not is_alive(identity)
    assert not is_alive("")
    assert not is_alive("no/such")
