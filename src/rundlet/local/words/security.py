"""`--security-opt`, `--cap-add`, `--cap-drop`, and whose namespaces a container has."""

import os
import re
from collections.abc import Callable, Sequence

from msgspec.structs import replace

from rundlet.engine.options import SecurityProfile, SelinuxLabel
from rundlet.errors import InvalidArgument, NotFound
from rundlet.kernel.capability import NAMES as CAPABILITIES
from rundlet.kernel.personality import DOMAINS
from rundlet.local.options import Confinement
from rundlet.local.words.numbers import parse_switch, parse_whole, suggest

_KEYS = ("apparmor", "label", "mask", "no-new-privileges", "seccomp", "systempaths", "unmask")
# The type of processes that SELinux does not confine (container-selinux).
_UNCONFINED_TYPE = "spc_t"
_MAPPING_WORDS = 3
_ID_MAX = 2**32 - 2


def parse_capability(text: str) -> str:
    """CAP_NET_ADMIN for "net_admin" or "CAP_NET_ADMIN"; ALL stays."""
    name = text.strip().upper()
    if name == "ALL":
        return name
    name = name if name.startswith("CAP_") else f"CAP_{name}"
    if name not in CAPABILITIES:
        raise InvalidArgument(f"unknown capability {text!r}", hint=suggest(name, CAPABILITIES))
    return name


def parse_security(texts: Sequence[str], start: Confinement, folder: str) -> Confinement:
    """`start` as the options change it; profiles' paths are below `folder`."""
    for text in texts:
        key, value = _split_option(text)
        if key not in _READERS:
            raise InvalidArgument(f"--security-opt {text}: unknown option {key!r}", hint=suggest(key, _KEYS))
        try:
            start = _READERS[key](start, value, folder)
        except InvalidArgument as error:
            raise InvalidArgument(f"--security-opt {text}: {error.message}", hint=error.hint) from error
    return start


def _split_option(text: str) -> tuple[str, str]:
    """KEY=VALUE; Docker's older KEY:VALUE is taken too."""
    found = re.match(r"([a-z-]+)(?:[=:](.*))?$", text, re.DOTALL)
    return (found[1], found[2] or "") if found else (text, "")


def _read_apparmor(start: Confinement, value: str, folder: str) -> Confinement:  # noqa: ARG001
    if not value:
        raise InvalidArgument("names no profile")
    if value == "unconfined":
        return replace(start, apparmor=SecurityProfile("unconfined"))
    return replace(start, apparmor=SecurityProfile("localhost", value))


def _read_seccomp(start: Confinement, value: str, folder: str) -> Confinement:
    if not value:
        raise InvalidArgument("names no profile", hint="seccomp=unconfined or seccomp=FILE")
    if value == "unconfined":
        return replace(start, seccomp=SecurityProfile("unconfined"))
    path = os.path.join(folder, value)
    if not os.path.exists(path):
        raise NotFound(f"--security-opt seccomp={value}: there is no such file")
    return replace(start, seccomp=SecurityProfile("localhost", path))


def _read_label(start: Confinement, value: str, folder: str) -> Confinement:  # noqa: ARG001
    if value == "disable":
        return replace(start, selinux=SelinuxLabel(type=_UNCONFINED_TYPE))
    key, _, part = value.partition(":")
    if key not in ("user", "role", "type", "level"):
        raise InvalidArgument(f"unknown part {key!r}", hint="disable, user:, role:, type: or level:")
    return replace(start, selinux=replace(start.selinux, **{key: part}))


def _read_no_new_privileges(start: Confinement, value: str, folder: str) -> Confinement:  # noqa: ARG001
    return replace(start, no_new_privileges=value == "" or parse_switch(value))


def _read_mask(start: Confinement, value: str, folder: str) -> Confinement:  # noqa: ARG001
    return replace(start, mask=(*start.mask, *_split_paths(value)))


def _read_unmask(start: Confinement, value: str, folder: str) -> Confinement:  # noqa: ARG001
    paths = ("ALL",) if value.upper() == "ALL" else _split_paths(value)
    return replace(start, unmask=(*start.unmask, *paths))


def _read_systempaths(start: Confinement, value: str, folder: str) -> Confinement:
    if value != "unconfined":
        raise InvalidArgument("expected systempaths=unconfined")
    return _read_unmask(start, "ALL", folder)


def _split_paths(value: str) -> tuple[str, ...]:
    paths = tuple(value.split(":"))
    if not all(path.startswith("/") for path in paths):
        raise InvalidArgument("expected absolute paths with colons between")
    return paths


_READERS: dict[str, Callable[[Confinement, str, str], Confinement]] = {
    "apparmor": _read_apparmor,
    "label": _read_label,
    "mask": _read_mask,
    "no-new-privileges": _read_no_new_privileges,
    "seccomp": _read_seccomp,
    "systempaths": _read_systempaths,
    "unmask": _read_unmask,
}


def parse_namespace(text: str, *more: str) -> str:
    """A word of `local.options.Namespaces`; `more` are those that this kind has besides."""
    mode, colon, name = text.partition(":")
    if text in ("", "private", "shareable"):
        return ""
    if mode == "container" and name:
        return text
    if (text == "host") or (mode in more and (not colon or name)):
        return text
    known = ("host", "private", "container:NAME", *more)
    raise InvalidArgument(f"unknown namespace {text!r}", hint=f"known are {', '.join(known)}")


def parse_own_or_host(text: str) -> str:
    """host, or private as ""."""
    if text not in ("", "private", "host"):
        raise InvalidArgument(f"unknown namespace {text!r}", hint="private or host")
    return "host" if text == "host" else ""


def parse_personality(text: str) -> str:
    name = text.upper().removeprefix("PER_")
    if name not in DOMAINS:
        raise InvalidArgument(f"unknown personality {text!r}", hint=f"known are {', '.join(DOMAINS)}")
    return name


def parse_id_map(text: str) -> tuple[int, int, int]:
    """CONTAINER:HOST[:LENGTH]."""
    words = text.split(":")
    if not 2 <= len(words) <= _MAPPING_WORDS:
        raise InvalidArgument("expected CONTAINER:HOST[:LENGTH]")
    inside, outside = (parse_whole(word, "id") for word in words[:2])
    length = parse_whole(words[2], "length", 1) if len(words) == _MAPPING_WORDS else 1
    if max(inside, outside) + length - 1 > _ID_MAX:
        raise InvalidArgument(f"ids end at {_ID_MAX}")
    return inside, outside, length
