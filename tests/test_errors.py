"""The taxonomy's own promises."""

import pytest

from rundlet.errors import InvalidArgument


@pytest.mark.parametrize("name", ["a\nb", "a\x1b[2Jb", "a\0b", "a\ud800b", "a\u2028b", "a\u202eb"])
def test_a_strangers_name_neither_ends_the_line_nor_moves_the_cursor(name: str) -> None:
    error = InvalidArgument(f"{name}: no", hint=f"not {name}")
    assert error.message.isprintable()
    assert error.hint.isprintable()
    assert str(error).encode().isascii()


def test_what_people_write_stays_as_it_is() -> None:
    assert InvalidArgument("köln: 容器 – no").message == "köln: 容器 – no"
