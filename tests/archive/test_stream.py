import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rundlet.archive.stream import ByteStream, ReadAhead
from rundlet.errors import InvalidArgument, ResourceExhausted

CHUNKS = st.lists(st.binary(min_size=1, max_size=20), max_size=10)


@given(chunks=CHUNKS, sizes=st.lists(st.tuples(st.sampled_from("rps"), st.integers(0, 40)), max_size=15))
def test_reads_pieces_and_skips_walk_the_same_bytes(chunks, sizes):
    data = b"".join(chunks)
    stream = ByteStream(iter(chunks), 1 << 20)
    at = 0
    for how, size in sizes:
        wanted = data[at : at + size]
        try:
            if how == "r":
                assert stream.read(size) == wanted
            elif how == "p":
                assert b"".join(stream.pieces(size)) == wanted
            else:
                stream.skip(size)
        except InvalidArgument:
            assert how != "r"
            assert len(wanted) < size
            return
        assert how == "r" or len(wanted) == size
        at += len(wanted)


def test_the_limit_counts_what_comes_not_what_is_read():
    stream = ByteStream(iter([b"x" * 10] * 10), 55)
    with pytest.raises(ResourceExhausted):
        stream.drain()


def test_read_ahead_passes_chunks_on_in_order():
    with ReadAhead(iter([b"%d" % number for number in range(100)])) as chunks:
        assert list(chunks) == [b"%d" % number for number in range(100)]


def test_read_ahead_raises_where_the_iterator_did():
    def broken():
        yield b"first"
        raise InvalidArgument("here")

    with ReadAhead(broken()) as chunks:
        assert next(chunks) == b"first"
        with pytest.raises(InvalidArgument, match="here"):
            next(chunks)


def test_leaving_early_ends_the_thread():
    before = threading.active_count()

    def endless():
        while True:
            yield b"x"

    with ReadAhead(endless()) as chunks:
        assert next(chunks) == b"x"
    assert threading.active_count() == before
