"""SPDY: a peer that sends anything to the ends of exec and port-forward; what is open and waits stays bounded."""

import json
from collections.abc import Callable, Iterator
from typing import Any

from rundlet.errors import InvalidArgument
from rundlet.streaming import channels, frame
from rundlet.streaming.command import CommandClient, CommandServer, Input, Wanted
from rundlet.streaming.lanes import SpdyLanes
from rundlet.streaming.portforward import ForwardData, PlainWire, SpdyForwardClient, SpdyForwardServer
from tests.fuzz.mutation import of_json
from tests.fuzz.script import read_script, to_bytes, to_headers, to_number

_EXEC = [
    ["syn", 1, {"streamtype": "error"}, False], ["syn", 3, {"streamtype": "stdin"}, False], ["syn", 5, {"streamtype": "stdout"}, False],
    ["syn", 7, {"streamtype": "resize"}, False], ["data", 3, "hello", False], ["data", 7, '{"Width":80,"Height":24}', False],
    ["window", 3, 65536], ["data", 3, "", True], ["settings", {"4": 100, "7": 1000}], ["ping", 1], ["away", 0, 0],
]  # fmt: skip
_FORWARD = [
    ["syn", 1, {"streamtype": "error", "port": "80", "requestid": "0"}, True],
    ["syn", 3, {"streamtype": "data", "port": "80", "requestid": "0"}, False],
    ["data", 3, "GET", True], ["reset", 3, 5], ["headers", 3, {"a": "b"}, False],
]  # fmt: skip
_ANSWER = [
    ["reply", 1, {}, False],
    ["reply", 3, {}, False],
    ["data", 3, "out", False],
    ["data", 1, '{"status":"Success"}', True],
]
_RAW = [["raw", "\x80\x03\x00\x01\x00\x00\x00\x0a"], ["raw", "\x00\x00\x00\x03\x00\xff\xff\xff"]]
SEEDS = tuple(json.dumps(script).encode() for script in (_EXEC, _FORWARD, _ANSWER, _RAW))
MUTATE = of_json(
    "syn reply headers data window settings ping away reset raw stdin stdout stderr error resize data port requestid"
)
_ID = 0x7FFFFFFF
_WORD = 0xFFFFFFFF


def check(data: bytes) -> None:
    wire = list(_encode(read_script(data)))
    dialect = channels.SPDY_DIALECTS["v4.channel.k8s.io"]
    wanted = Wanted(stdin=True, stdout=True, terminal=True)
    server = CommandServer(SpdyLanes(wanted.lanes(dialect), is_client=False), wanted, dialect)
    client = CommandClient(SpdyLanes(wanted.lanes(dialect), is_client=True), dialect)
    forward = SpdyForwardServer(PlainWire())
    forward_client = SpdyForwardClient(PlainWire())
    forward_client.open(80)
    for end in (server, client, forward, forward_client):
        _feed(end, wire)
    assert len(forward.half_open) <= 256


def _feed(end: Any, wire: list[bytes]) -> None:
    """Whole frames, until it refuses; the answers are as large as what came at the most."""
    lanes = getattr(end, "lanes", end)
    try:
        for piece in wire:
            for event in end.receive(piece):
                _use(end, event)
    except InvalidArgument:
        pass
    assert lanes.output_bytes <= 4096 + 64 * sum(map(len, wire))
    lanes.close()
    assert isinstance(lanes.take_output(), bytes)


def _use(end: Any, event: object) -> None:
    if isinstance(event, Input):
        end.consume_input(len(event.data))
    elif isinstance(event, ForwardData):
        end.consume(event.key, len(event.data))


_FRAMES: dict[str, Callable[[Any, Any, Any], frame.Frame]] = {
    "syn": lambda stream, headers, fin: frame.SynStream(
        to_number(stream, _ID), to_headers(headers), fin=bool(fin)
    ),
    "reply": lambda stream, headers, fin: frame.SynReply(
        to_number(stream, _ID), to_headers(headers), bool(fin)
    ),
    "headers": lambda stream, headers, fin: frame.Headers(
        to_number(stream, _ID), to_headers(headers), bool(fin)
    ),
    "data": lambda stream, data, fin: frame.Data(to_number(stream, _ID), to_bytes(data), bool(fin)),
    "window": lambda stream, size, _: frame.WindowUpdate(to_number(stream, _ID), to_number(size, _WORD)),
    "reset": lambda stream, status, _: frame.RstStream(to_number(stream, _ID), to_number(status, _WORD)),
    "away": lambda stream, status, _: frame.GoAway(to_number(stream, _ID), to_number(status, _WORD)),
    "ping": lambda stream, *_: frame.Ping(to_number(stream, _WORD)),
    "settings": lambda values, *_: frame.Settings(_settings(values)),
}


def _settings(values: Any) -> dict[int, int]:
    pairs = values.items() if isinstance(values, dict) else ()
    return {to_number(key, 0xFFFFFF): to_number(value, _WORD) for key, value in pairs}


def _encode(script: list[list[Any]]) -> Iterator[bytes]:
    writer = frame.FrameWriter()
    for step in script:
        word, first, second, third = (*step, 0, 0, 0)[:4]
        make = _FRAMES.get(word) if isinstance(word, str) else None
        yield writer.encode(make(first, second, third)) if make else to_bytes(first)
