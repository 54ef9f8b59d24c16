"""`--secret` and `--device`."""

import re

from rundlet.engine.options import Device
from rundlet.errors import InvalidArgument
from rundlet.local.options import SecretUse
from rundlet.local.words.numbers import parse_whole, split_options

_CDI_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*=[\w.:-]+")
_SECRET_KEYS = ("type", "target", "uid", "gid", "mode")
_PERMISSIONS = re.compile(r"[rwm]{1,3}")


def parse_secret(text: str) -> SecretUse:
    """NAME[,type=mount|env][,target=…][,uid=…][,gid=…][,mode=0…]."""
    name, *rest = text.split(",")
    name = name.removeprefix("source=")
    if not name:
        raise InvalidArgument("names no secret")
    given = split_options(rest, _SECRET_KEYS)
    kind = given.get("type", "mount")
    if kind not in ("mount", "env"):
        raise InvalidArgument(f"unknown type {kind!r}", hint="mount or env")
    if kind == "env" and {"uid", "gid", "mode"} & given.keys():
        raise InvalidArgument("a variable has no uid, gid or mode")
    mode = given.get("mode", "0444")
    if not re.fullmatch(r"0?[0-7]{1,4}", mode):
        raise InvalidArgument(f"mode: not octal: {mode!r}", hint="write it as 0400")
    return SecretUse(
        name,
        given.get("target", ""),
        "env" if kind == "env" else "mount",
        parse_whole(given.get("uid", "0"), "uid"),
        parse_whole(given.get("gid", "0"), "gid"),
        int(mode, 8),
    )


def is_cdi_device(text: str) -> bool:
    """VENDOR/CLASS=NAME of the Container Device Interface."""
    return _CDI_NAME.fullmatch(text) is not None


def parse_device(text: str) -> Device:
    """HOST-PATH[:CONTAINER-PATH][:PERMISSIONS]."""
    host, *rest = text.split(":")
    permissions = "rwm"
    if rest and _PERMISSIONS.fullmatch(rest[-1]):
        permissions = rest.pop()
    if len(rest) > 1:
        raise InvalidArgument("expected HOST-PATH[:CONTAINER-PATH][:PERMISSIONS]")
    target = rest[0] if rest else host
    if not host.startswith("/") or not target.startswith("/"):
        raise InvalidArgument("expected absolute paths", hint="permissions are of r, w and m")
    return Device(host, target, permissions)
