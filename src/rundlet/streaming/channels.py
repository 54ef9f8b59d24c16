"""The words of the remote command protocol, whatever carries them: channels, dialects, outcomes, sizes.

A dialect is what a negotiated name stands for:

    name                     outcome on the error channel   resize   end of stdin (WebSocket)
    "", channel.k8s.io       text, only for a failure       no       –
    v2.channel.k8s.io        text, only for a failure       no       –
    v3.channel.k8s.io        text, only for a failure       yes      –
    v4.channel.k8s.io        metav1.Status as JSON          yes      –
    v5.channel.k8s.io        metav1.Status as JSON          yes      message 255, channel
    base64.channel.k8s.io, v4.base64.channel.k8s.io: WebSocket only, text messages "0<base64>"

Over SPDY a stream's own end is the end of stdin, so v5 adds nothing there.
Facts: Kubernetes' remotecommand constants and its CRI streaming server.
"""

import json
from collections.abc import Iterable, Sequence
from enum import IntEnum
from typing import Any, NamedTuple

from rundlet.errors import InvalidArgument


class Channel(IntEnum):
    """A WebSocket message's first byte; over SPDY the stream's "streamtype" header holds the name."""

    STDIN = 0
    STDOUT = 1
    STDERR = 2
    ERROR = 3
    RESIZE = 4


CHANNEL_BY_TYPE = {channel.name.lower(): channel for channel in Channel}

CLOSE_SIGNAL = 255


class Dialect(NamedTuple):
    json_outcome: bool = False
    resize: bool = False
    close_signal: bool = False
    base64: bool = False


SPDY_DIALECTS = {
    "v4.channel.k8s.io": Dialect(json_outcome=True, resize=True),
    "v3.channel.k8s.io": Dialect(resize=True),
    "v2.channel.k8s.io": Dialect(),
    "channel.k8s.io": Dialect(),
}
WEBSOCKET_DIALECTS = {
    "v5.channel.k8s.io": Dialect(json_outcome=True, resize=True, close_signal=True),
    **SPDY_DIALECTS,
    "": Dialect(),
    "v4.base64.channel.k8s.io": Dialect(json_outcome=True, resize=True, base64=True),
    "base64.channel.k8s.io": Dialect(base64=True),
}


def choose_protocol(offered: Sequence[str], known: Iterable[str]) -> str | None:
    """The client's first choice that the server knows; "" when it offers none and that is known."""
    names = set(known)
    return next((name for name in offered or ("",) if name in names), None)


class Outcome(NamedTuple):
    """How a session ended: with an exit code, or because of a failure (`message`) on the way."""

    exit_code: int = 0
    message: str = ""


def encode_outcome(outcome: Outcome, dialect: Dialect) -> bytes:
    if dialect.json_outcome:
        return json.dumps(_status(outcome)).encode()
    return _describe(outcome).encode()


def _describe(outcome: Outcome) -> str:
    if outcome.message or not outcome.exit_code:
        return outcome.message
    return f"command terminated with exit code {outcome.exit_code}"


def _status(outcome: Outcome) -> dict[str, Any]:
    status: dict[str, Any] = {"metadata": {}, "status": "Failure", "message": _describe(outcome)}
    if outcome.message:
        return status | {"reason": "InternalError", "code": 500}
    if not outcome.exit_code:
        return {"metadata": {}, "status": "Success"}
    causes = [{"reason": "ExitCode", "message": str(outcome.exit_code)}]
    return status | {"reason": "NonZeroExitCode", "details": {"causes": causes}}


def decode_outcome(raw: bytes, dialect: Dialect) -> Outcome:
    """What the error channel said; nothing is a success.  Raises InvalidArgument for JSON that is no Status."""
    if not raw:
        return Outcome()
    if not dialect.json_outcome:
        return Outcome(message=raw.decode(errors="replace"))
    try:
        return _read_status(json.loads(raw))
    except (ValueError, AttributeError, TypeError, KeyError, RecursionError) as error:
        raise InvalidArgument(f"not a status on the error channel: {raw[:200]!r}") from error


def _read_status(status: Any) -> Outcome:
    if status.get("status") == "Success":
        return Outcome()
    if status.get("reason") == "NonZeroExitCode":
        for cause in (status.get("details") or {}).get("causes") or []:
            if cause.get("reason") == "ExitCode":
                return Outcome(int(cause["message"]) & 0xFF)
    return Outcome(message=str(status.get("message") or status.get("reason") or "it failed without a word"))


class Size(NamedTuple):
    """A terminal's, in characters."""

    width: int
    height: int


SIZE_LIMIT = 0xFFFF  # a terminal's fields have 16 bits
_RESIZE_MAX_BYTES = 1024


def encode_size(size: Size) -> bytes:
    return json.dumps({"Width": size.width, "Height": size.height}).encode()


class SizeReader:
    """JSON objects one after the other on the resize channel, however they are cut."""

    def __init__(self) -> None:
        self._text = ""

    def feed(self, data: bytes) -> list[Size]:
        """Sizes that are whole now; raises InvalidArgument for what cannot be one."""
        self._text += data.decode("ascii", errors="replace")
        sizes = []
        while self._text.lstrip():
            try:
                value, end = json.JSONDecoder().raw_decode(self._text.lstrip())
            except (ValueError, RecursionError) as error:
                if "}" in self._text or len(self._text) > _RESIZE_MAX_BYTES:
                    raise InvalidArgument(f"not a terminal size: {self._text[:80]!r}") from error
                break
            self._text = self._text.lstrip()[end:]
            sizes.append(_read_size(value))
        return sizes


def _read_size(value: Any) -> Size:
    """Names in any case, as Go reads them; a field that is missing is 0."""
    fields = {key.lower(): field for key, field in value.items()} if isinstance(value, dict) else None
    size = Size(fields.get("width", 0), fields.get("height", 0)) if fields is not None else None
    if size is None or not all(type(field) is int and 0 <= field <= SIZE_LIMIT for field in size):
        raise InvalidArgument(f"not a terminal size: {str(value)[:80]}")
    return size
