"""SPDY/3.1 frames, both directions.  State: what of a frame has come; nothing of what frames mean.

    control  1|version=3 (15) | type (16)      flags (8) | length (24)    payload
    data     0|stream id (31)                  flags (8) | length (24)    data

    type              payload                                            flags
    1 SYN_STREAM      id(4) associated(4) priority(3 bits) slot  block   1 FIN, 2 UNIDIRECTIONAL
    2 SYN_REPLY       id(4) block                                        1 FIN
    3 RST_STREAM      id(4) status(4)
    4 SETTINGS        count(4) then count × ( flags(1) key(3) value(4) )
    6 PING            id(4)
    7 GOAWAY          last id(4) status(4)
    8 HEADERS         id(4) block                                        1 FIN
    9 WINDOW_UPDATE   id(4) delta(4)

Numbers are big endian, "block" is headerblock.py's.  Data frames may be 16 MiB long, so a
piece is handed on as it comes and no frame is ever held whole; control frames are small.
Source: SPDY Protocol, Draft 3.1, section 2.
"""

import struct
from typing import NamedTuple

from rundlet.errors import InvalidArgument
from rundlet.streaming.headerblock import HeaderPacker, HeaderUnpacker

VERSION = 3
CONTROL_MAX_BYTES = 16 * 1024
DATA_MAX_BYTES = 32 * 1024  # of the data frames we make: small enough for other streams to get a turn

_FIN = 1
_UNIDIRECTIONAL = 2
_ID_MASK = 0x7FFFFFFF
_HEAD = struct.Struct(">II")
_PAIR = struct.Struct(">II")
_SYN_STREAM = struct.Struct(">IIBB")
_NUMBER = struct.Struct(">I")


class SynStream(NamedTuple):
    stream_id: int
    headers: dict[str, str]
    fin: bool = False
    unidirectional: bool = False
    associated_id: int = 0
    priority: int = 0


class SynReply(NamedTuple):
    stream_id: int
    headers: dict[str, str]
    fin: bool = False


class RstStream(NamedTuple):
    stream_id: int
    status: int


class Settings(NamedTuple):
    values: dict[int, int]


class Ping(NamedTuple):
    ping_id: int


class GoAway(NamedTuple):
    last_stream_id: int
    status: int


class Headers(NamedTuple):
    stream_id: int
    headers: dict[str, str]
    fin: bool = False


class WindowUpdate(NamedTuple):
    stream_id: int
    delta: int


class Data(NamedTuple):
    """Of a frame that was read: one piece; `fin` comes with the last."""

    stream_id: int
    data: bytes
    fin: bool = False


Frame = SynStream | SynReply | RstStream | Settings | Ping | GoAway | Headers | WindowUpdate | Data


_PAIR_BY_KIND: dict[int, type[RstStream | GoAway | WindowUpdate]] = {3: RstStream, 7: GoAway, 9: WindowUpdate}
_KIND_OF_PAIR = {made: kind for kind, made in _PAIR_BY_KIND.items()}


class FrameWriter:
    """Frames to bytes; the order of the calls is the order on the wire, as headers are compressed together."""

    def __init__(self) -> None:
        self._packer = HeaderPacker()

    def encode(self, frame: Frame) -> bytes:
        match frame:
            case Data(stream_id, data, fin):
                return _HEAD.pack(stream_id, _FIN * fin << 24 | len(data)) + data
            case SynStream():
                return self._encode_syn_stream(frame)
            case SynReply(stream_id, headers, fin) | Headers(stream_id, headers, fin):
                kind = 2 if isinstance(frame, SynReply) else 8
                return _control(kind, _NUMBER.pack(stream_id) + self._packer.pack(headers), _FIN * fin)
            case Settings(values):
                pairs = b"".join(_PAIR.pack(key, value) for key, value in values.items())
                return _control(4, _NUMBER.pack(len(values)) + pairs)
            case Ping(ping_id):
                return _control(6, _NUMBER.pack(ping_id))
            case RstStream() | GoAway() | WindowUpdate():
                return _control(_KIND_OF_PAIR[type(frame)], _PAIR.pack(*frame))

    def _encode_syn_stream(self, frame: SynStream) -> bytes:
        flags = _FIN * frame.fin | _UNIDIRECTIONAL * frame.unidirectional
        head = _SYN_STREAM.pack(frame.stream_id, frame.associated_id, frame.priority << 5, 0)
        return _control(1, head + self._packer.pack(frame.headers), flags)


def _control(kind: int, payload: bytes, flags: int = 0) -> bytes:
    return _HEAD.pack(0x80000000 | VERSION << 16 | kind, flags << 24 | len(payload)) + payload


class FrameReader:
    """Bytes to frames, however the bytes are cut."""

    def __init__(self) -> None:
        self._unpacker = HeaderUnpacker()
        self._buffer = bytearray()
        self._data_stream = 0  # of the data frame under way; 0 between frames
        self._data_left = 0
        self._data_fin = False

    def feed(self, data: bytes) -> None:
        self._buffer += data

    def next_frame(self) -> Frame | None:
        """The next frame, or piece of a data frame; None when more bytes are needed.

        Frames of unknown types are passed over.  Raises InvalidArgument for what
        cannot be a frame; the reader is of no use after that.
        """
        while True:
            if self._data_stream:
                return self._take_data()
            if len(self._buffer) < _HEAD.size:
                return None
            first, second = _HEAD.unpack_from(self._buffer)
            flags, size = second >> 24, second & 0xFFFFFF
            if not first & 0x80000000:
                self._begin_data(first, size, bool(flags & _FIN))
                continue
            _check_control(first >> 16 & 0x7FFF, size)
            if len(self._buffer) < _HEAD.size + size:
                return None
            frame = self._parse_control(first & 0xFFFF, flags, self._take(_HEAD.size + size)[_HEAD.size :])
            if frame is not None:
                return frame

    def _take(self, size: int) -> bytes:
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken

    def _begin_data(self, stream_id: int, size: int, fin: bool) -> None:
        if not stream_id:
            raise InvalidArgument("SPDY: a data frame names stream 0")
        self._take(_HEAD.size)
        self._data_stream, self._data_left, self._data_fin = stream_id, size, fin

    def _take_data(self) -> Data | None:
        if self._data_left and not self._buffer:
            return None
        piece = self._take(min(self._data_left, len(self._buffer)))
        self._data_left -= len(piece)
        frame = Data(self._data_stream, piece, self._data_fin and not self._data_left)
        if not self._data_left:
            self._data_stream = 0
        return frame

    def _parse_control(self, kind: int, flags: int, payload: bytes) -> Frame | None:
        try:
            return self._parse_known(kind, flags, payload)
        except struct.error as error:
            raise InvalidArgument(f"SPDY: a frame of type {kind} has a wrong length") from error

    def _parse_known(self, kind: int, flags: int, payload: bytes) -> Frame | None:
        match kind:
            case 1:
                return self._parse_syn_stream(flags, payload)
            case 2 | 8:
                make = SynReply if kind == 2 else Headers
                return make(_stream_id(payload), self._unpacker.unpack(payload[4:]), bool(flags & _FIN))
            case 3 | 7 | 9:
                first, second = _PAIR.unpack(payload)
                return _PAIR_BY_KIND[kind](first & _ID_MASK, second)
            case 4:
                return _parse_settings(payload)
            case 6:
                return Ping(*_NUMBER.unpack(payload))
        return None

    def _parse_syn_stream(self, flags: int, payload: bytes) -> SynStream:
        stream_id, associated_id, priority, _ = _SYN_STREAM.unpack_from(payload)
        return SynStream(
            stream_id & _ID_MASK,
            self._unpacker.unpack(payload[_SYN_STREAM.size :]),
            fin=bool(flags & _FIN),
            unidirectional=bool(flags & _UNIDIRECTIONAL),
            associated_id=associated_id & _ID_MASK,
            priority=priority >> 5,
        )


def _check_control(version: int, size: int) -> None:
    if version != VERSION:
        raise InvalidArgument(f"SPDY: a control frame of version {version}, only {VERSION} is spoken")
    if size > CONTROL_MAX_BYTES:
        raise InvalidArgument(f"SPDY: a control frame of {size} bytes, at most {CONTROL_MAX_BYTES} are read")


def _stream_id(payload: bytes) -> int:
    (stream_id,) = _NUMBER.unpack_from(payload)
    return int(stream_id) & _ID_MASK


def _parse_settings(payload: bytes) -> Settings:
    (count,) = _NUMBER.unpack_from(payload)
    if len(payload) != 4 + count * _PAIR.size:
        raise InvalidArgument(f"SPDY: SETTINGS with {count} entries in {len(payload)} bytes")
    pairs = _PAIR.iter_unpack(payload[4:])
    return Settings({key & 0xFFFFFF: value for key, value in pairs})
