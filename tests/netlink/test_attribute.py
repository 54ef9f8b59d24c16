import pytest
from hypothesis import given
from hypothesis import strategies as st

from rundlet.errors import DataLoss
from rundlet.netlink import attribute

KINDS = st.integers(min_value=0, max_value=0x3FFF)


@given(st.dictionaries(KINDS, st.binary(max_size=40), max_size=8))
def test_packed_attributes_parse_back(attributes):
    packed = b"".join(attribute.pack(kind, payload) for kind, payload in attributes.items())

    assert len(packed) % 4 == 0
    assert attribute.parse(packed) == attributes


@given(st.binary(max_size=64))
def test_any_bytes_parse_or_are_refused(data):
    try:
        found = attribute.parse(data)
    except DataLoss:
        return
    assert sum(len(payload) + 4 for payload in found.values()) <= len(data)


@given(st.binary(min_size=1, max_size=40), st.data())
def test_cut_attribute_is_refused(payload, data):
    packed = attribute.pack(7, payload)[: 4 + len(payload)]
    cut = packed[: data.draw(st.integers(min_value=4, max_value=len(packed) - 1))]

    with pytest.raises(DataLoss, match="length"):
        attribute.parse(cut)


def test_nested_flag_is_taken_off():
    packed = attribute.pack_nested(3, attribute.pack_u32(1, 77), attribute.pack_text(2, "cni0"))

    inner = attribute.parse(attribute.parse(packed)[3])

    assert attribute.read_u32(inner[1]) == 77
    assert attribute.read_text(inner[2]) == "cni0"


def test_last_of_one_kind_counts():
    assert attribute.parse(attribute.pack(1, b"a") + attribute.pack(1, b"b")) == {1: b"b"}


def test_absent_values_are_empty():
    assert attribute.read_u32(None) == 0
    assert attribute.read_text(None) == ""


def test_short_number_is_refused():
    with pytest.raises(DataLoss):
        attribute.read_u32(b"\1\2")


def test_length_below_the_header_is_refused():
    with pytest.raises(DataLoss):
        attribute.parse(b"\3\0\1\0")
