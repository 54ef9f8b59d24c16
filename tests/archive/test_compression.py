import gzip
import io
import zlib

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from rundlet.archive.compression import open_decompressed
from rundlet.errors import InvalidArgument

CHUNK_BYTES_MAX = 512 << 10


class Dribble:
    """A source that gives a few bytes at a time, as a slow network does."""

    def __init__(self, data, step):
        self._file = io.BytesIO(data)
        self._step = step

    def read(self, size):
        return self._file.read(min(size, self._step))


def decompress(data, step=1 << 20):
    return b"".join(open_decompressed(Dribble(data, step)))


ENCODERS = {"plain": bytes, "gzip": gzip.compress, "zstd": zstandard.ZstdCompressor().compress}


@pytest.mark.parametrize("encode", ENCODERS.values(), ids=ENCODERS)
@given(data=st.binary(min_size=5, max_size=5000), step=st.integers(1, 400))
def test_the_content_comes_back_however_it_arrives(encode, data, step):
    if encode is bytes:
        data = b"plain" + data  # what begins like gzip or zstd is taken for it
    assert decompress(encode(data), step) == data


@given(parts=st.lists(st.binary(max_size=300), min_size=1, max_size=4), step=st.integers(1, 300))
def test_gzip_members_are_one_stream(parts, step):
    assert decompress(b"".join(map(gzip.compress, parts)), step) == b"".join(parts)


def test_zstd_frames_are_one_stream_and_skippable_ones_are_skipped():
    frame = zstandard.ZstdCompressor().compress(b"data")
    skippable = b"\x5a\x2a\x4d\x18\x03\x00\x00\x00abc"
    assert decompress(skippable + frame + frame + skippable) == b"datadata"


def test_zero_padding_after_gzip_is_allowed():
    assert decompress(gzip.compress(b"data") + bytes(1000), 7) == b"data"


def test_an_empty_stream_is_empty():
    assert decompress(b"") == b""


@pytest.mark.parametrize(
    "data",
    [
        gzip.compress(b"data" * 100)[:-3],
        gzip.compress(b"data" * 100)[:12],
        gzip.compress(b"data") + b"rubbish",
        gzip.compress(b"data")[:-8] + bytes(8),
        b"\x1f\x8b\x08\x00" + b"\xff" * 50,
        b"\x28\xb5\x2f\xfd" + b"\xff" * 50,
    ],
    ids=["cut in the trailer", "cut in the data", "rubbish after", "wrong sum", "no deflate", "no zstd"],
)
def test_broken_data_is_refused(data):
    with pytest.raises(InvalidArgument):
        decompress(data)


def test_a_bomb_comes_in_small_chunks():
    bomb = gzip.compress(bytes(64 << 20))
    assert len(bomb) < 100_000
    assert max(map(len, open_decompressed(io.BytesIO(bomb)))) <= CHUNK_BYTES_MAX


def test_a_zstd_bomb_comes_in_small_chunks():
    bomb = zstandard.ZstdCompressor().compress(bytes(64 << 20))
    assert len(bomb) < 100_000
    assert max(map(len, open_decompressed(io.BytesIO(bomb)))) <= CHUNK_BYTES_MAX


def test_a_window_beyond_reason_is_refused():
    parameters = zstandard.ZstdCompressionParameters(window_log=30, compression_level=1)
    compressor = zstandard.ZstdCompressor(compression_params=parameters)
    stream = compressor.compressobj()
    data = stream.compress(b"x" * 100) + stream.flush()
    with pytest.raises(InvalidArgument):
        decompress(data)


@given(data=st.binary(max_size=400), prefix=st.sampled_from([b"", b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd"]))
def test_any_bytes_give_bytes_or_a_clear_error(data, prefix):
    try:
        decompress(prefix + data, 50)
    except InvalidArgument as error:
        assert str(error)


def test_gzip_with_every_optional_field():
    # RFC 1952: FEXTRA, FNAME, FCOMMENT, FHCRC
    head = b"\x1f\x8b\x08\x1e" + bytes(6) + b"\x04\x00abcd" + b"name\0" + b"comment\0"
    head += (zlib.crc32(head) & 0xFFFF).to_bytes(2, "little")
    packer = zlib.compressobj(wbits=-15)
    body = packer.compress(b"data") + packer.flush()
    tail = zlib.crc32(b"data").to_bytes(4, "little") + (4).to_bytes(4, "little")
    assert decompress(head + body + tail, 3) == b"data"
