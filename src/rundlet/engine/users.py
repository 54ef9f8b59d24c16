"""Who a container's first process is: passwd(5) and group(5) of the image, read as data.

Pure: the bytes of both files come in, numbers go out.  Lines that do not parse are
skipped, as the C library does; duplicate names keep their first line.
"""

from typing import NamedTuple

from rundlet.engine.options import Security
from rundlet.errors import InvalidArgument

_MAX_ID = 0xFFFFFFFE  # (uid_t)-1 means "no change" to setresuid(2)
_PASSWD_FIELDS = 7
_GROUP_FIELDS = 4


class PasswdEntry(NamedTuple):
    name: str
    uid: int
    gid: int
    home: str


class GroupEntry(NamedTuple):
    name: str
    gid: int
    members: tuple[str, ...]


class Identity(NamedTuple):
    """Numbers for setresuid, setresgid and setgroups; `groups` begins with the primary group.

    The primary group stands in `groups` too, or a group-denied file would open for a
    process that drops to another group (CVE-2022-36109).
    """

    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str


def _parse_id(text: str) -> int | None:
    if not text.isdecimal() or not text.isascii():
        return None
    number = int(text)
    return number if number <= _MAX_ID else None


def _split_lines(raw: bytes, fields: int) -> list[list[str]]:
    lines = raw.decode("utf-8", "surrogateescape").split("\n")
    split = (line.split(":") for line in lines if line and not line.startswith("#"))
    return [parts for parts in split if len(parts) >= fields and parts[0]]


def parse_passwd(raw: bytes) -> tuple[PasswdEntry, ...]:
    entries = []
    for parts in _split_lines(raw, _PASSWD_FIELDS):
        uid, gid = _parse_id(parts[2]), _parse_id(parts[3])
        if uid is not None and gid is not None:
            entries.append(PasswdEntry(parts[0], uid, gid, parts[5]))
    return tuple(entries)


def parse_group(raw: bytes) -> tuple[GroupEntry, ...]:
    entries = []
    for parts in _split_lines(raw, _GROUP_FIELDS):
        gid = _parse_id(parts[2])
        if gid is not None:
            members = tuple(name for name in parts[3].split(",") if name)
            entries.append(GroupEntry(parts[0], gid, members))
    return tuple(entries)


def check_user(security: Security, path: str) -> None:
    """CRI: user and name exclude each other, and a group alone is an error."""
    if security.user_id is not None and security.user_name:
        raise InvalidArgument(f"{path}.user_name: user_id and user_name exclude each other")
    if security.group_id is not None and security.user_id is None and not security.user_name:
        raise InvalidArgument(f"{path}.group_id: needs user_id or user_name beside it")
    numbers = {"user_id": security.user_id, "group_id": security.group_id}
    numbers |= {f"supplemental_groups[{i}]": gid for i, gid in enumerate(security.supplemental_groups)}
    for name, number in numbers.items():
        if number is not None and not 0 <= number <= _MAX_ID:
            raise InvalidArgument(f"{path}.{name}: {number} is not an id between 0 and {_MAX_ID}")


def needs_files(security: Security, image_user: str) -> bool:
    """False when `resolve_identity` would not look at passwd and group: root by default."""
    wanted = security.user_name or image_user or security.supplemental_group_names
    return bool(security.user_id is not None or wanted)


def resolve_identity(security: Security, image_user: str, passwd: bytes, group: bytes) -> Identity:
    """The options win over the image's `User` ("user", "uid", "user:group", "uid:gid").

    Raises InvalidArgument for a name that the image's files do not have.
    """
    users, groups = parse_passwd(passwd), parse_group(group)
    user_text, group_text = _choose_user(security, image_user)
    entry = _find_user(user_text, users)
    uid = entry.uid if entry else _number_or_fail(user_text, "user", "/etc/passwd")
    gid = _choose_gid(security, group_text, entry, groups)
    merged = _memberships(entry, groups) if security.supplemental_groups_policy == "merge" else ()
    named = (_find_gid(name, groups) for name in security.supplemental_group_names)
    everyone = dict.fromkeys((gid, *merged, *security.supplemental_groups, *named))
    return Identity(uid, gid, tuple(everyone), entry.home if entry and entry.home else "/")


def _choose_user(security: Security, image_user: str) -> tuple[str, str]:
    if security.user_id is not None:
        return str(security.user_id), ""
    user, _, group = (security.user_name or image_user).partition(":")
    return user or "0", group


def _find_user(text: str, users: tuple[PasswdEntry, ...]) -> PasswdEntry | None:
    by_name = next((user for user in users if user.name == text), None)
    number = _parse_id(text)
    return by_name or next((user for user in users if user.uid == number), None)


def _number_or_fail(text: str, what: str, file: str) -> int:
    number = _parse_id(text)
    if number is None:
        raise InvalidArgument(f"{what} {text!r} is not in the image's {file}")
    return number


def _choose_gid(
    security: Security, text: str, entry: PasswdEntry | None, groups: tuple[GroupEntry, ...]
) -> int:
    if security.group_id is not None:
        return security.group_id
    if not text:
        return entry.gid if entry else 0
    return _find_gid(text, groups)


def _find_gid(text: str, groups: tuple[GroupEntry, ...]) -> int:
    named = next((group for group in groups if group.name == text), None)
    return named.gid if named else _number_or_fail(text, "group", "/etc/group")


def add_user(passwd: bytes, identity: Identity) -> bytes:
    """passwd(5) with a line for that user, named by its number; b"" where the file has one already, or is not there.

    Without it getpwuid(3) fails, and with it programs that ask who they are (ssh, git, initdb).
    """
    if not passwd or any(user.uid == identity.uid for user in parse_passwd(passwd)):
        return b""
    uid, home = identity.uid, identity.home
    line = f"{uid}:*:{uid}:{identity.gid}:{uid} user:{home}:/bin/sh\n".encode()
    return passwd + (b"" if passwd.endswith(b"\n") else b"\n") + line


def _memberships(entry: PasswdEntry | None, groups: tuple[GroupEntry, ...]) -> tuple[int, ...]:
    return tuple(group.gid for group in groups if entry and entry.name in group.members)
