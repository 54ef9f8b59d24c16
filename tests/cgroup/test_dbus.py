import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rundlet.cgroup.dbus import (
    CALL,
    Malformed,
    Message,
    Variant,
    decode_message,
    encode_message,
    marshal,
    message_length,
    split_signature,
    unmarshal,
)

RANGES = {"y": (0, 8), "n": (1, 15), "q": (0, 16), "i": (1, 31), "u": (0, 32), "x": (1, 63), "t": (0, 64)}
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=12)


def number(code):
    signed, bits = RANGES[code]
    return st.integers(-(1 << bits) if signed else 0, (1 << bits) - 1)


LEAVES = st.one_of(
    *(st.tuples(st.just(code), number(code)) for code in RANGES),
    st.tuples(st.just("b"), st.booleans()),
    st.tuples(st.just("d"), st.floats(allow_nan=False)),
    st.tuples(st.sampled_from("so"), TEXT),
)


def grow(inner):
    """(signature, value) of arrays, structs, dicts and variants of `inner`."""
    return st.one_of(
        st.tuples(inner, st.integers(0, 3)).map(lambda pair: (f"a{pair[0][0]}", [pair[0][1]] * pair[1])),
        st.lists(inner, min_size=1, max_size=4).map(
            lambda items: (f"({''.join(kind for kind, _ in items)})", tuple(value for _, value in items))
        ),
        inner.map(lambda item: (f"a{{s{item[0]}}}", {"key": item[1]})),
        inner.map(lambda item: ("v", Variant(*item))),
    )


VALUES = st.recursive(LEAVES, grow, max_leaves=8)


@given(st.lists(VALUES, max_size=4))
def test_values_come_back(items):
    signature = "".join(kind for kind, _ in items)
    values = tuple(value for _, value in items)
    assert unmarshal(signature, marshal(signature, values)) == values


@given(st.lists(VALUES, max_size=3), TEXT, st.integers(1, (1 << 32) - 1))
def test_messages_come_back_and_know_their_length(items, member, serial):
    message = Message(
        CALL,
        serial,
        path="/org/freedesktop/systemd1",
        member=member,
        signature="".join(kind for kind, _ in items),
        body=tuple(value for _, value in items),
    )
    raw = encode_message(message)
    assert message_length(raw + b"next") == len(raw)
    assert decode_message(raw) == message


def test_a_message_byte_by_byte():
    """Hello, as every bus client sends it first."""
    raw = encode_message(
        Message(CALL, 1, "/org/freedesktop/DBus", "org.freedesktop.DBus", "Hello", destination="a.b")
    )
    assert raw == (
        b"l\x01\0\x01\0\0\0\0\x01\0\0\0" + struct.pack("<I", 92)
        + b"\x01\x01o\0\x15\0\0\0/org/freedesktop/DBus\0\0\0"
        + b"\x02\x01s\0\x14\0\0\0org.freedesktop.DBus\0\0\0\0"
        + b"\x03\x01s\0\x05\0\0\0Hello\0\0\0"
        + b"\x06\x01s\0\x03\0\0\0a.b\0"
        + bytes(4)
    )  # fmt: skip


def test_big_endian_peers_are_read():
    raw = bytearray(b"B\x04\0\x01" + struct.pack(">II", 8, 9) + struct.pack(">I", 8))
    raw += b"\x08\x01g\0\x02us\0" + struct.pack(">II", 7, 0)
    raw = raw[:-4] + b"\0\0\0\0"
    with pytest.raises(Malformed):
        decode_message(bytes(raw))  # the string lacks its end
    raw[4:8] = struct.pack(">I", 9)
    found = decode_message(bytes(raw) + b"\0")
    assert (found.kind, found.serial, found.body) == (4, 9, (7, ""))


@pytest.mark.parametrize(
    ("signature", "types"), [("", []), ("sa(sv)u", ["s", "a(sv)", "u"]), ("a{sa{sv}}b", ["a{sa{sv}}", "b"])]
)
def test_signatures(signature, types):
    assert split_signature(signature) == types


@pytest.mark.parametrize(
    "signature", ["a", "(s", "z", "(", "a{s", ")", "()", "a{}", "a{vs}", "a{sss}", "{ass}", "a" * 40 + "s"]
)
def test_bad_signatures(signature):
    with pytest.raises(Malformed):
        split_signature(signature)


@pytest.mark.parametrize(
    ("signature", "values"), [("u", (-1,)), ("y", (256,)), ("s", ("a\0b",)), ("u", ()), ("u", ("5",))]
)
def test_values_that_are_not_of_their_type(signature, values):
    with pytest.raises(Malformed):
        marshal(signature, values)


@given(st.binary(max_size=96))
def test_no_bytes_break_the_reader(data):
    for raw in (data, b"l\x02\0\x01" + data):
        try:
            if len(raw) >= 16 and message_length(raw) <= len(raw):
                decode_message(raw[: message_length(raw)])
        except Malformed:
            continue


@given(st.data())
def test_no_damage_to_a_real_message_breaks_the_reader(data):
    raw = bytearray(
        encode_message(
            Message(CALL, 5, "/a", member="M", signature="sa(sv)", body=("x", [("y", Variant("au", [1, 2]))]))
        )
    )
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        decode_message(bytes(raw[: message_length(bytes(raw))]))
    except Malformed:
        pass
