"""A registry's refusal as one of our errors (distribution-spec, error codes)."""

from collections.abc import Mapping

from msgspec import Struct

from rundlet.errors import (
    Error,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
    Unimplemented,
)
from rundlet.registry.message import Interrupted, Response
from rundlet.registry.retry import RETRY_AFTER_MAX_S, parse_retry_after
from rundlet.spec.document import parse_document

_TRANSIENT = frozenset({408, 429, 500, 502, 503, 504})
_KINDS: Mapping[int, type[Error]] = {
    400: InvalidArgument,
    401: Unauthenticated,
    403: PermissionDenied,
    404: NotFound,
    405: Unimplemented,
    413: ResourceExhausted,
    429: ResourceExhausted,
}
_HINTS = {
    401: "check the image's name and the credentials",
    403: "check the image's name and what the account may do",
    404: "check the image's name and tag",
    429: "the registry limits how often it is asked: try again later or log in",
}
# What registries say of manifests whose type they do not know, where they do not say 415.
_NOT_TAKEN = "MANIFEST_INVALID"
_TEXT_LENGTH_MAX = 200


class Unacceptable(InvalidArgument):
    """The registry takes no content of this kind, whatever else is right about it."""


class _Fault(Struct, frozen=True):
    code: str = ""
    message: str = ""


class _Faults(Struct, frozen=True):
    errors: tuple[_Fault, ...] = ()


def make_refusal(response: Response, what: str, now_s: float) -> Error:
    """The error for an answer that is not a success; Interrupted when it may pass.

    `what` names host and object: "registry quay.io: manifest crio/redis:alpine".
    """
    faults = _read_faults(response.body)
    reason = _shorten(faults)
    kind = _find_kind(response.status, faults)
    text = f"{what}: HTTP status {response.status}{f': {reason}' if reason else ''}"
    verdict = kind(text, hint=_HINTS.get(response.status, ""))
    retry_after_s = parse_retry_after(response.headers.get("Retry-After", ""), now_s)
    if response.status in _TRANSIENT and retry_after_s <= RETRY_AFTER_MAX_S:
        return Interrupted(text, retry_after_s=retry_after_s, verdict=verdict)
    return verdict


def _find_kind(status: int, faults: tuple[_Fault, ...]) -> type[Error]:
    if status == 415 or (status == 400 and any(fault.code == _NOT_TAKEN for fault in faults)):
        return Unacceptable
    return _KINDS.get(status, Unavailable)


def _read_faults(body: bytes) -> tuple[_Fault, ...]:
    try:
        return parse_document(body, _Faults, "error").errors
    except InvalidArgument:
        return ()


def _shorten(faults: tuple[_Fault, ...]) -> str:
    """The first fault as one short printable line, "" when there is none."""
    if not faults:
        return ""
    text = ": ".join(part for part in (faults[0].code, faults[0].message) if part)
    printable = "".join(letter if letter.isprintable() else " " for letter in text)
    return " ".join(printable.split())[:_TEXT_LENGTH_MAX]
