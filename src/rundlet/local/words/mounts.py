"""`--volume`, `--mount` and `--tmpfs`.

-v      [SOURCE:]TARGET[:OPTION,…]     SOURCE is a path (begins with / or .) or a volume's name
--mount type=T,src=…,dst=…[,OPTION…]   T is bind, volume (when left out), tmpfs, ramfs or image
--tmpfs TARGET[:OPTION,…]
"""

import os
import re
from collections.abc import Iterable, Sequence
from typing import Any, Literal

from rundlet.errors import InvalidArgument
from rundlet.local.options import VolumeMount
from rundlet.local.words.numbers import parse_size, parse_switch, split_comma, split_options, suggest

Kind = Literal["bind", "volume", "tmpfs", "image"]

VOLUME_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")
_PROPAGATION = {
    **dict.fromkeys(("private", "rprivate"), "private"),
    **dict.fromkeys(("slave", "rslave"), "host-to-container"),
    **dict.fromkeys(("shared", "rshared"), "bidirectional"),
}
# What mount(8) knows is passed on as it is.
_MOUNT_WORDS = frozenset(
    {"exec", "noexec", "dev", "nodev", "suid", "nosuid", "atime", "noatime", "diratime", "nodiratime"}
    | {"relatime", "norelatime", "strictatime", "sync", "async"}
)
_VOLUME_WORDS = frozenset({"rw", "ro", "z", "Z", "U", "bind", "rbind", "copy", "nocopy", "O", "idmap"})
_TMPFS_WORDS = frozenset(
    {"rw", "ro", "size", "mode", "nr_inodes", "nr_blocks", "tmpcopyup", "notmpcopyup", "U"}
)
_SOURCE, _TARGET = ("src", "source"), ("dst", "dest", "destination", "target")
_READONLY = ("ro", "readonly")
_MOUNT_KEYS: dict[str, frozenset[str]] = {
    "bind": frozenset({"bind-propagation", "bind-nonrecursive", "relabel", "U", "chown", "rw"}),
    "volume": frozenset({"relabel", "U", "chown", "rw", "subpath", "volume-nocopy", "nocopy"}),
    "tmpfs": frozenset({"tmpfs-size", "tmpfs-mode", "tmpcopyup", "notmpcopyup", "rw", "U", "chown"}),
    "image": frozenset({"rw", "readwrite", "subpath"}),
}
_COMMON_KEYS = frozenset({*_SOURCE, *_TARGET, *_READONLY, "type", "consistency"})


def parse_volume(text: str, folder: str) -> VolumeMount:
    """`-v`; a relative source is below `folder`."""
    parts = text.split(":")
    if len(parts) == 1:
        return VolumeMount("volume", _check_target(parts[0]))
    if len(parts) > 3:
        raise InvalidArgument("more than SOURCE:TARGET:OPTIONS", hint="a colon cannot be part of a path here")
    source, target = parts[0], _check_target(parts[1])
    words = parts[2].split(",") if len(parts) == 3 and parts[2] else []
    kind: Kind = "bind" if source.startswith(("/", ".")) else "volume"
    settings = _read_volume_words(words)
    return VolumeMount(kind, target, _check_source(kind, source, folder), **settings)


def parse_mount(text: str, folder: str) -> VolumeMount:
    """`--mount`; a relative source is below `folder`."""
    pairs = split_comma(text)
    kind = next((pair[5:] for pair in pairs if pair.startswith("type=")), "volume")
    kind = "tmpfs" if kind == "ramfs" else kind
    if kind not in _MOUNT_KEYS:
        raise InvalidArgument(f"unknown type {kind!r}", hint=suggest(kind, _MOUNT_KEYS))
    known = _COMMON_KEYS | _MOUNT_KEYS[kind] | (_MOUNT_WORDS if kind != "image" else set())
    given = split_options(pairs, known)
    target = _pick(given, _TARGET)
    if not target:
        raise InvalidArgument("the target is missing", hint="add dst=/path/in/the/container")
    source = _pick(given, _SOURCE)
    if kind == "tmpfs" and source:
        raise InvalidArgument("a tmpfs has no source")
    if kind in ("bind", "image") and not source:
        raise InvalidArgument(f"the source is missing: a {kind} mount needs src=")
    if kind == "bind":
        source = os.path.join(folder, source)
    settings = _read_mount_keys(kind, given)
    return VolumeMount(
        _known_kind(kind), _check_target(target), _check_source(kind, source, folder), **settings
    )


def parse_tmpfs(text: str) -> VolumeMount:
    target, _, rest = text.partition(":")
    given = split_options([word for word in rest.split(",") if word], _TMPFS_WORDS | _MOUNT_WORDS)
    return VolumeMount(
        "tmpfs",
        _check_target(target),
        readonly="ro" in given,
        options=_pass_on(given, "nr_inodes", "nr_blocks"),
        copy_up="notmpcopyup" not in given,
        change_owner="U" in given,
        size_bytes=_read_tmpfs_size(given.get("size", "")),
        mode=_read_mode(given["mode"]) if given.get("mode") else 0,
    )


def _known_kind(kind: str) -> Kind:
    return next(known for known in ("bind", "volume", "tmpfs", "image") if known == kind)


def _check_target(target: str) -> str:
    if not target.startswith("/"):
        raise InvalidArgument(f"the target must be an absolute path, got {target!r}")
    return os.path.normpath(target) if target.strip("/") else _refuse_root()


def _refuse_root() -> str:
    raise InvalidArgument("the target must not be the root of the container")


def _check_source(kind: str, source: str, folder: str) -> str:
    if kind == "bind":
        return os.path.normpath(os.path.join(folder, source))
    if kind == "volume" and source and not VOLUME_NAME.fullmatch(source):
        raise InvalidArgument(
            f"not a volume's name: {source!r}", hint="a path of the host begins with / or with ./"
        )
    return source


def _read_volume_words(words: Sequence[str]) -> dict[str, Any]:
    given = split_options(words, _VOLUME_WORDS | _MOUNT_WORDS | _PROPAGATION.keys())
    for word in ("O", "idmap"):
        if word in given:
            raise InvalidArgument(f"option {word!r} is not supported")
    _refuse_both(given, "ro", "rw")
    return {
        "readonly": "ro" in given,
        "propagation": next((_PROPAGATION[word] for word in given if word in _PROPAGATION), "private"),
        "options": (*_pass_on(given), *(("bind",) if "bind" in given else ())),
        "selinux_relabel": "z" in given or "Z" in given,
        "change_owner": "U" in given,
        "copy_up": "nocopy" not in given,
    }


def _read_mount_keys(kind: str, given: dict[str, str]) -> dict[str, Any]:
    writable = {"rw", "readwrite"} & given.keys()
    readonly = any(name in given and _is_on(given[name]) for name in _READONLY)
    if readonly and writable and kind != "image":
        _refuse_both({**given, "ro": ""}, "ro", "rw")
    if kind == "image" and any(_is_on(given[name]) for name in writable):
        raise InvalidArgument("an image's files are read-only here")
    nonrecursive = ("bind",) if _is_on(given.get("bind-nonrecursive", "false")) else ()
    return {
        "readonly": readonly or kind == "image",
        "propagation": _read_propagation(given.get("bind-propagation", "private")),
        "options": (*_pass_on(given), *nonrecursive),
        "selinux_relabel": bool(given.get("relabel")),
        "change_owner": any(_is_on(given.get(name, "false")) for name in ("U", "chown")),
        "copy_up": not {"notmpcopyup", "nocopy", "volume-nocopy"} & given.keys(),
        "size_bytes": _read_tmpfs_size(given.get("tmpfs-size", "")),
        "mode": _read_mode(given["tmpfs-mode"]) if "tmpfs-mode" in given else 0,
        "sub_path": given.get("subpath", ""),
    }


def _pick(given: dict[str, str], names: Iterable[str]) -> str:
    return next((given[name] for name in names if name in given), "")


def _is_on(value: str) -> bool:
    return value == "" or parse_switch(value)


def _pass_on(given: dict[str, str], *valued: str) -> tuple[str, ...]:
    """The words for mount(2), in the order given; `valued` are those that have a value."""
    plain = (name for name in given if name in _MOUNT_WORDS)
    return (*plain, *(f"{name}={given[name]}" for name in valued if name in given))


def _refuse_both(given: dict[str, str], one: str, other: str) -> None:
    if one in given and other in given:
        raise InvalidArgument(f"{one!r} and {other!r} exclude each other")


def _read_propagation(word: str) -> str:
    if word not in _PROPAGATION:
        raise InvalidArgument(f"unknown propagation {word!r}", hint=suggest(word, _PROPAGATION))
    return _PROPAGATION[word]


def _read_mode(text: str) -> int:
    if not re.fullmatch(r"0?[0-7]{1,4}", text):
        raise InvalidArgument(f"mode: not octal: {text!r}", hint="write it as 1777")
    return int(text, 8)


def _read_tmpfs_size(text: str) -> int:
    return parse_size(text) if text else 0
