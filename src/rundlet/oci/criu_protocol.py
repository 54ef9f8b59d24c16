"""What `criu swrk FD` hears and says: protobuf messages of criu's rpc.proto, each one packet of a SOCK_SEQPACKET.

    runtime                                   criu
    -------                                   ----
    Request {type 1, opts 2} ───────────────▶
             ◀── Answer {type 1 = NOTIFY, success 2, notify 5 {script 1, pid 2}}   as often as it likes;
                                              "orphan-pts-master" brings a descriptor by SCM_RIGHTS
    Request {type 1 = NOTIFY, notify_success 3} ─▶
             ◀── Answer {type 1, success 2, restore 4 {pid 1}, cr_errno 7, features 8, cr_errmsg 9}

A field is a varint of (number << 3 | kind), then for kind 0 a varint and for kind 2 a length and as many
bytes; negative numbers are varints of 64 bits (protobuf's "Encoding").
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from rundlet.errors import DataLoss

TYPES = {"dump": 1, "restore": 2, "pre-dump": 4, "notify": 6, "feature-check": 9}
CGROUP_MODES = {"ignore": 0, "soft": 3, "full": 4, "strict": 5, "": 6}

# criu_opts; a value may be a number, a switch, text, a tuple (a message's fields from 1 on) or a list of these
_OPTIONS = {
    "images_dir_fd": 1, "pid": 2, "leave_running": 3, "ext_unix_sk": 4, "tcp_established": 5,
    "evasive_devices": 6, "shell_job": 7, "file_locks": 8, "log_level": 9, "log_file": 10, "page_server": 11,
    "notify_scripts": 12, "root": 13, "parent_img": 14, "track_mem": 15, "auto_dedup": 16, "work_dir_fd": 17,
    "link_remap": 18, "manage_cgroups": 24, "cg_root": 25, "rst_sibling": 26, "inherit_fd": 27,
    "manage_cgroups_mode": 34, "external": 37, "empty_ns": 38, "join_ns": 39, "freeze_cgroup": 44,
    "tcp_skip_in_flight": 46, "lazy_pages": 48, "orphan_pts_master": 50, "config_file": 51, "lsm_profile": 53,
    "lsm_mount_context": 63,
}  # fmt: skip
_FEATURES = {"mem_track": 1, "lazy_pages": 2}
_VARINT, _BYTES = 0, 2
_FIXED_SIZES = {1: 8, 5: 4}


class Answer(NamedTuple):
    """`kind` is a name of TYPES; `script` and `pid` are a notification's, or `pid` the restored process's."""

    kind: str
    success: bool
    script: str = ""
    pid: int = 0
    errno: int = 0
    message: str = ""
    features: frozenset[str] = frozenset()


def encode_request(kind: str, options: dict[str, Any]) -> bytes:
    """A request of TYPES with criu_opts by name; for a feature check the names are those of features."""
    numbers = _FEATURES if kind == "feature-check" else _OPTIONS
    body = b"".join(_encode_field(numbers[name], value) for name, value in options.items())
    return _encode_field(1, TYPES[kind]) + _encode_field(5 if kind == "feature-check" else 2, body)


def encode_consent() -> bytes:
    """The answer to a notification."""
    return _encode_field(1, TYPES["notify"]) + _encode_field(3, True)


def _encode_field(number: int, value: Any) -> bytes:
    if isinstance(value, list):
        return b"".join(_encode_field(number, item) for item in value)
    if isinstance(value, int):
        return _encode_varint(number << 3 | _VARINT) + _encode_varint(value)
    if isinstance(value, tuple):
        value = b"".join(_encode_field(index, item) for index, item in enumerate(value, 1))
    raw = value.encode() if isinstance(value, str) else value
    return _encode_varint(number << 3 | _BYTES) + _encode_varint(len(raw)) + raw


def _encode_varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def decode_answer(raw: bytes) -> Answer:
    """Raises DataLoss for what is no such message."""
    try:
        return _read_answer(raw)
    except (IndexError, ValueError, TypeError, AttributeError) as error:
        raise DataLoss(f"criu: an answer that cannot be read ({len(raw)} bytes)") from error


def _read_answer(raw: bytes) -> Answer:
    fields = dict(_decode_fields(raw))
    notify, restored, features = (dict(_decode_fields(fields.get(number, b""))) for number in (5, 4, 8))
    return Answer(
        kind={number: name for name, number in TYPES.items()}.get(fields.get(1, 0), ""),
        success=bool(fields.get(2, 0)),
        script=notify.get(1, b"").decode(),
        pid=notify.get(2, 0) or restored.get(1, 0),
        errno=fields.get(7, 0),
        message=fields.get(9, b"").decode(),
        features=frozenset(name for name, number in _FEATURES.items() if features.get(number)),
    )


def _decode_fields(raw: bytes) -> Iterator[tuple[int, Any]]:
    """(number, int or bytes) of each field; IndexError or ValueError when it ends too early."""
    at = 0
    while at < len(raw):
        tag, at = _decode_varint(raw, at)
        value, at = _decode_value(raw, at, tag & 7)
        yield tag >> 3, value


def _decode_value(raw: bytes, at: int, kind: int) -> tuple[int | bytes, int]:
    if kind == _VARINT:
        return _decode_varint(raw, at)
    size, at = _decode_varint(raw, at) if kind == _BYTES else (_FIXED_SIZES.get(kind, -1), at)
    if size < 0 or at + size > len(raw):
        raise ValueError("a field that does not end")
    return raw[at : at + size], at + size


def _decode_varint(raw: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while raw[at] & 0x80:
        value |= (raw[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
    return value | raw[at] << shift, at + 1
