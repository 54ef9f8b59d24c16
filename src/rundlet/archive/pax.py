r"""Extended headers: PAX records (POSIX.1-2017, pax "Extended Header") and sparse maps.

    "%d %s=%s\n"    length of the whole record in decimal, keyword, value

Sparse files come in four shapes (GNU tar manual, "Storing Sparse Files"):

    old GNU   type S, map in the header and in 512-byte extension blocks
    PAX 0.0   GNU.sparse.offset / GNU.sparse.numbytes repeated
    PAX 0.1   GNU.sparse.map = "offset,length,offset,length,…"
    PAX 1.0   GNU.sparse.major=1: map in decimal lines before the data
"""

from collections.abc import Callable
from typing import Final, NamedTuple

from rundlet.errors import InvalidArgument

SEGMENTS_MAX: Final = 1 << 20
_DECIMAL_DIGITS_MAX: Final = 20

Segments = tuple[tuple[int, int], ...]


class PaxRecords(NamedTuple):
    """`values` by keyword, the last of each; `sparse` are the 0.0 pairs in their order."""

    values: dict[bytes, bytes]
    sparse: tuple[bytes, ...] = ()


def parse_records(raw: bytes) -> PaxRecords:
    """The records of one extended header; InvalidArgument when malformed."""
    values: dict[bytes, bytes] = {}
    sparse: list[bytes] = []
    at = 0
    while at < len(raw):
        keyword, value, at = _parse_record(raw, at)
        if keyword in {b"GNU.sparse.offset", b"GNU.sparse.numbytes"}:
            sparse.append(value)
        else:
            values[keyword] = value
    return PaxRecords(values, tuple(sparse))


def _parse_record(raw: bytes, at: int) -> tuple[bytes, bytes, int]:
    space = raw.find(b" ", at, at + _DECIMAL_DIGITS_MAX)
    end = at + parse_decimal(raw[at:space], "PAX record length") if space > at else at
    if not at <= space < end <= len(raw) or raw[end - 1] != ord("\n"):
        raise InvalidArgument(f"PAX record at byte {at} is malformed")
    keyword, equals, value = raw[space + 1 : end - 1].partition(b"=")
    if not equals or not keyword:
        raise InvalidArgument(f"PAX record at byte {at} has no keyword")
    return keyword, value, end


def parse_decimal(text: bytes, what: str) -> int:
    """Digits only, no sign; InvalidArgument names `what`."""
    if not text.isdigit() or len(text) > _DECIMAL_DIGITS_MAX:
        raise InvalidArgument(f"{what} {text[:40]!r} is not a number")
    return int(text)


def parse_time_ns(text: bytes) -> int:
    """ "1700000000.25" as nanoseconds; a minus sign and any number of decimals are allowed."""
    sign = -1 if text.startswith(b"-") else 1
    whole, _, fraction = text.lstrip(b"-").partition(b".")
    nanoseconds = parse_decimal(whole, "PAX time") * 10**9
    if fraction:
        nanoseconds += parse_decimal(fraction[:9].ljust(9, b"0"), "PAX time")
    return sign * nanoseconds


def pair_segments(numbers: list[int], size_bytes: int) -> Segments:
    """offset, length, offset, length, … as ordered segments inside a file of `size_bytes`."""
    if len(numbers) % 2:
        raise InvalidArgument("sparse map has an odd number of entries")
    segments = tuple(zip(numbers[::2], numbers[1::2], strict=True))
    end = 0
    for offset, length in segments:
        if offset < end or offset + length > size_bytes:
            raise InvalidArgument(f"sparse map segment {offset}+{length} overlaps or leaves the file")
        end = offset + length
    return segments


def sparse_from_records(records: PaxRecords, size_bytes: int) -> Segments | None:
    """The map of PAX 0.0 and 0.1; None when the records hold none."""
    if b"GNU.sparse.map" in records.values:
        texts = (
            tuple(records.values[b"GNU.sparse.map"].split(b",")) if records.values[b"GNU.sparse.map"] else ()
        )
    elif records.sparse:
        texts = records.sparse
    else:
        return None
    return pair_segments([parse_decimal(text, "sparse map entry") for text in texts], size_bytes)


def read_sparse_1_0(read: Callable[[int], bytes], size_bytes: int) -> tuple[Segments, int]:
    """The map before the data of a PAX 1.0 sparse file, and how many bytes (whole blocks) it took."""
    lines = _BlockLines(read)
    count = lines.next()
    if count > SEGMENTS_MAX:
        raise InvalidArgument(f"sparse map has {count} segments")
    numbers = [lines.next() for _ in range(2 * count)]
    return pair_segments(numbers, size_bytes), lines.taken_bytes


class _BlockLines:
    """Decimal numbers, a line each, read by the block."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read
        self._text = b""
        self.taken_bytes = 0

    def next(self) -> int:
        while b"\n" not in self._text:
            block = self._read(512)
            if len(block) < 512 or len(self._text) > _DECIMAL_DIGITS_MAX:
                raise InvalidArgument("sparse map is malformed")
            self.taken_bytes += 512
            self._text += block
        line, _, self._text = self._text.partition(b"\n")
        return parse_decimal(line, "sparse map entry")
