"""Outcomes and terminal sizes as JSON, and the choice of a protocol."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rundlet.errors import InvalidArgument
from rundlet.streaming.channels import (
    SPDY_DIALECTS,
    WEBSOCKET_DIALECTS,
    Dialect,
    Outcome,
    Size,
    SizeReader,
    choose_protocol,
    decode_outcome,
    encode_outcome,
    encode_size,
)

JSON = Dialect(json_outcome=True)
PLAIN = Dialect()


def test_a_success_is_a_status():
    assert json.loads(encode_outcome(Outcome(), JSON)) == {"metadata": {}, "status": "Success"}
    assert encode_outcome(Outcome(), PLAIN) == b""


def test_an_exit_code_is_a_cause():
    assert json.loads(encode_outcome(Outcome(3), JSON)) == {
        "metadata": {},
        "status": "Failure",
        "message": "command terminated with exit code 3",
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": "3"}]},
    }
    assert encode_outcome(Outcome(3), PLAIN) == b"command terminated with exit code 3"


@given(
    st.one_of(
        st.builds(Outcome, st.integers(0, 255), st.just("")),
        st.builds(Outcome, st.just(0), st.text(min_size=1)),
    )
)
def test_outcomes_come_back(outcome):
    assert decode_outcome(encode_outcome(outcome, JSON), JSON) == outcome


@given(st.binary(max_size=100))
def test_an_outcome_from_a_stranger_is_read_or_refused(raw):
    try:
        decode_outcome(raw, JSON)
    except InvalidArgument:
        pass


@pytest.mark.parametrize("raw", [b"[]", b"3", b'{"reason": "NonZeroExitCode", "details": {"causes": [3]}}'])
def test_json_that_is_no_status_is_refused(raw):
    with pytest.raises(InvalidArgument):
        decode_outcome(raw, JSON)


def test_sizes_come_back_however_they_are_cut():
    sizes = [Size(80, 24), Size(200, 60)]
    raw = b"\n".join(map(encode_size, sizes)) + b"\n"
    for step in range(1, len(raw)):
        reader = SizeReader()
        pieces = [raw[index : index + step] for index in range(0, len(raw), step)]
        assert [size for piece in pieces for size in reader.feed(piece)] == sizes


def test_sizes_as_go_writes_them():
    assert SizeReader().feed(b'{"Width":77,"Height":33}\n') == [Size(77, 33)]


@pytest.mark.parametrize(
    "raw", [b"{}}", b'{"Width":-1}', b'{"Width":70000}', b'{"Width":true}', b"[1]", b"[" * 5000, b"x" * 2000]
)
def test_what_cannot_be_a_size_is_refused(raw):
    with pytest.raises(InvalidArgument):
        SizeReader().feed(raw)


@given(st.lists(st.binary(max_size=30), max_size=5))
def test_any_bytes_for_a_size_end_cleanly(pieces):
    reader = SizeReader()
    try:
        for piece in pieces:
            reader.feed(piece)
    except InvalidArgument:
        pass


@pytest.mark.parametrize(
    ("offered", "known", "chosen"),
    [
        (["v5.channel.k8s.io", "v4.channel.k8s.io"], SPDY_DIALECTS, "v4.channel.k8s.io"),
        (["v5.channel.k8s.io", "v4.channel.k8s.io"], WEBSOCKET_DIALECTS, "v5.channel.k8s.io"),
        ([], WEBSOCKET_DIALECTS, ""),
        ([], SPDY_DIALECTS, None),
        (["v9"], WEBSOCKET_DIALECTS, None),
    ],
)
def test_the_clients_first_known_choice_wins(offered, known, chosen):
    assert choose_protocol(offered, known) == chosen


@pytest.mark.parametrize(
    "said",
    [
        b"[" * 5000,
        b"[]",
        b'{"reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode"}]}}',
        b'{"reason":"NonZeroExitCode","details":7}',
    ],
)
def test_what_is_no_status_ends_the_session_by_an_error(said):
    with pytest.raises(InvalidArgument):
        decode_outcome(said, Dialect(json_outcome=True))
