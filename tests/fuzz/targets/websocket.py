"""WebSocket: frames of any kind to the ends of exec and port-forward, in every dialect."""

import json
import struct
from collections.abc import Iterator
from typing import Any

from rundlet.errors import InvalidArgument
from rundlet.streaming import channels, portforward
from rundlet.streaming.command import CommandClient, CommandServer, Input, Wanted
from rundlet.streaming.lanes import WebSocketLanes
from rundlet.streaming.portforward import SpdyForwardServer, TunnelWire, WebSocketForwardServer
from tests.fuzz.mutation import of_json
from tests.fuzz.script import read_script, to_bytes, to_number

_EXEC = [
    ["frame", 2, True, True, "\x00hello"], ["frame", 2, True, True, '\x04{"Width":1,"Height":2}'], ["frame", 9, True, True, "ping"],
    ["frame", 2, False, True, "\x00par"], ["frame", 0, True, True, "t"], ["frame", 2, True, True, "\xff\x00"],
    ["frame", 8, True, True, "\x03\xe8"],
]  # fmt: skip
_BASE64 = [["frame", 1, True, True, "0aGVsbG8="], ["frame", 1, True, True, "4eyJXaWR0aCI6MX0="]]
_ANSWER = [
    ["frame", 2, True, False, "\x01out"],
    ["frame", 2, True, False, '\x03{"status":"Success"}'],
    ["frame", 8, True, False, ""],
]
_RAW = [["raw", "\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff"], ["raw", "\x80"]]
SEEDS = tuple(json.dumps(script).encode() for script in (_EXEC, _BASE64, _ANSWER, _RAW))
MUTATE = of_json("frame raw 0aGVsbG8= 3eA== 255 \x00 \x01 \x02 \x03 \x04 \xff NonZeroExitCode Failure")


def check(data: bytes) -> None:
    wire = b"".join(_encode(read_script(data)))
    wanted = Wanted(stdin=True, stdout=True, terminal=True)
    for dialect in channels.WEBSOCKET_DIALECTS.values():
        _feed(CommandServer(WebSocketLanes(dialect, is_client=False), wanted, dialect), wire)
        _feed(CommandClient(WebSocketLanes(dialect, is_client=True), dialect), wire)
    for dialect in portforward.WEBSOCKET_DIALECTS.values():
        _feed(WebSocketForwardServer((80, 443), dialect), wire)
    _feed(SpdyForwardServer(TunnelWire(is_client=False)), wire)


def _feed(end: Any, wire: bytes) -> None:
    lanes = getattr(end, "lanes", end)
    try:
        for event in [*end.receive(wire[:7]), *end.receive(wire[7:])]:
            if isinstance(event, Input):
                end.consume_input(len(event.data))
    except InvalidArgument:
        pass
    lanes.close()
    assert len(lanes.take_output()) <= 4096 + 2 * len(wire)


def _encode(script: list[list[Any]]) -> Iterator[bytes]:
    for step in script:
        word, kind, fin, masked, payload = (*step, 0, 0, 0, "")[:5]
        if word == "frame":
            yield _frame(to_number(kind, 0x7F), bool(fin), bool(masked), to_bytes(payload))
        else:
            yield to_bytes(kind)


def _frame(kind: int, fin: bool, masked: bool, payload: bytes) -> bytes:
    """RFC 6455, section 5.2; the mask is zeros, which masks nothing."""
    size = len(payload)
    short = size if size < 126 else 126 if size < 65536 else 127
    head = bytes((0x80 * fin | kind, 0x80 * masked | short))
    head += b"" if short < 126 else struct.pack(">H" if short == 126 else ">Q", size)
    return head + (bytes(4) if masked else b"") + payload
