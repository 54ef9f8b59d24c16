"""SPDY frames: what goes out comes in again, however it is cut; anything else is a clean error."""

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rundlet.errors import InvalidArgument
from rundlet.streaming import frame
from rundlet.streaming.headerblock import BLOCK_MAX_BYTES, DICTIONARY, HeaderPacker, HeaderUnpacker

IDS = st.integers(1, 2**31 - 1)
NUMBERS = st.integers(0, 2**31 - 1)
TEXT = st.text(st.characters(min_codepoint=0, max_codepoint=255), max_size=40)
NAMES = st.text("abcdefghijklmnopqrstuvwxyz-0123456789:", min_size=1, max_size=20)
HEADERS = st.dictionaries(NAMES, TEXT, max_size=6)

FRAMES = st.one_of(
    st.builds(
        frame.SynStream,
        IDS,
        HEADERS,
        st.booleans(),
        st.booleans(),
        st.integers(0, 2**31 - 1),
        st.integers(0, 7),
    ),
    st.builds(frame.SynReply, IDS, HEADERS, st.booleans()),
    st.builds(frame.Headers, IDS, HEADERS, st.booleans()),
    st.builds(frame.RstStream, IDS, NUMBERS),
    st.builds(frame.Settings, st.dictionaries(st.integers(0, 2**24 - 1), NUMBERS, max_size=8)),
    st.builds(frame.Ping, NUMBERS),
    st.builds(frame.GoAway, NUMBERS, NUMBERS),
    st.builds(frame.WindowUpdate, NUMBERS, NUMBERS),
    st.builds(frame.Data, IDS, st.binary(max_size=200), st.booleans()),
)


def read_all(reader, data):
    reader.feed(data)
    frames = []
    while (item := reader.next_frame()) is not None:
        frames.append(item)
    return frames


def join_data(frames):
    """Pieces of data frames put together; the same for any cutting."""
    joined = []
    for item in frames:
        last = joined[-1] if joined else None
        is_more = isinstance(item, frame.Data) and isinstance(last, frame.Data) and not last.fin
        if is_more and last.stream_id == item.stream_id:
            joined[-1] = frame.Data(item.stream_id, last.data + item.data, item.fin)
            continue
        joined.append(item)
    return joined


def test_the_dictionary_is_the_one_of_the_draft():
    """Its Adler-32 is what every SPDY/3 header block begins with after two bytes."""
    assert zlib.adler32(DICTIONARY) == 0xE3C6A7C2
    assert HeaderPacker().pack({})[2:6] == bytes.fromhex("e3c6a7c2")


@given(st.lists(FRAMES, max_size=8), st.data())
def test_frames_come_back_however_they_are_cut(frames, data):
    writer, reader = frame.FrameWriter(), frame.FrameReader()
    raw = b"".join(map(writer.encode, frames))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=6)))
    pieces = [raw[a:b] for a, b in zip([0, *cuts], [*cuts, len(raw)], strict=True)]
    assert join_data(item for piece in pieces for item in read_all(reader, piece)) == join_data(frames)


def test_frames_come_back_byte_by_byte():
    writer, reader = frame.FrameWriter(), frame.FrameReader()
    frames = [
        frame.SynStream(1, {"streamtype": "error", "port": "80"}),
        frame.SynReply(1, {}),
        frame.Data(1, b"hello", fin=True),
        frame.Settings({4: 100}),
        frame.GoAway(1, 0),
    ]
    raw = b"".join(map(writer.encode, frames))
    found = [item for index in range(len(raw)) for item in read_all(reader, raw[index : index + 1])]
    assert join_data(found) == frames


@given(st.binary(max_size=300))
def test_any_bytes_are_frames_or_a_clean_error(data):
    try:
        read_all(frame.FrameReader(), data)
    except InvalidArgument as error:
        assert "SPDY" in error.message


@given(st.binary(max_size=60), st.integers(0, 12), st.integers(0, 255))
def test_any_control_payload_is_a_frame_or_a_clean_error(payload, kind, flags):
    head = (0x80030000 | kind).to_bytes(4, "big") + bytes([flags]) + len(payload).to_bytes(3, "big")
    try:
        read_all(frame.FrameReader(), head + payload)
    except InvalidArgument as error:
        assert "SPDY" in error.message


def test_unknown_control_frames_are_passed_over():
    raw = bytes.fromhex("8003 000a 00000002 ffff".replace(" ", ""))
    assert read_all(frame.FrameReader(), raw + frame.FrameWriter().encode(frame.Ping(3))) == [frame.Ping(3)]


@pytest.mark.parametrize(
    "head",
    [
        bytes.fromhex("8002000600000004") + b"\0\0\0\1",  # another version
        bytes.fromhex("800300060000000300") + b"\0\0",  # a ping of three bytes
        bytes.fromhex("8003000600ffffff"),  # a control frame of 16 MiB
        bytes.fromhex("0000000000000001") + b"x",  # data for stream 0
    ],
)
def test_what_cannot_be_a_frame_is_refused(head):
    with pytest.raises(InvalidArgument, match=r"^SPDY: "):
        read_all(frame.FrameReader(), head)


def test_a_data_frame_of_16_mib_is_never_held():
    reader = frame.FrameReader()
    assert read_all(reader, bytes.fromhex("00000001 00ffffff".replace(" ", ""))) == []
    assert read_all(reader, b"x" * 1000) == [frame.Data(1, b"x" * 1000)]
    assert not reader._buffer


# -- header blocks ------------------------------------------------------------------------


@given(st.lists(HEADERS, max_size=6))
def test_header_blocks_come_back_in_order(blocks):
    packer, unpacker = HeaderPacker(), HeaderUnpacker()
    assert [unpacker.unpack(packer.pack(headers)) for headers in blocks] == blocks


def pack_plain(plain):
    packer = zlib.compressobj(zdict=DICTIONARY)
    return packer.compress(plain) + packer.flush(zlib.Z_SYNC_FLUSH)


@pytest.mark.parametrize(
    "plain",
    [
        b"",
        b"\0\0\0\1",
        b"\0\0\0\1" + b"\0\0\0\2ab" + b"\0\0\0\5cd",
        b"\0\0\0\1" + b"\0\0\0\2AB" + b"\0\0\0\0",
        b"\0\0\0\1" + b"\0\0\0\0" + b"\0\0\0\0",
        b"\0\0\0\2" + b"\0\0\0\1a\0\0\0\1b" * 2,
        b"\0\0\0\0x",
        b"\xff\xff\xff\xff",
        b"\0" * (BLOCK_MAX_BYTES + 1),
    ],
)
def test_bad_header_blocks_are_clean_errors(plain):
    with pytest.raises(InvalidArgument, match=r"^SPDY: "):
        HeaderUnpacker().unpack(pack_plain(plain))


def test_a_header_block_that_expands_a_thousandfold_is_cut_off():
    block = pack_plain(b"\0" * (20 << 20))
    assert len(block) < 30_000
    with pytest.raises(InvalidArgument, match="header block is over"):
        HeaderUnpacker().unpack(block)
