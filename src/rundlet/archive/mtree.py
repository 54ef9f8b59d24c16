r"""mtree(5) as go-mtree and umoci write it: what a bundle's rootfs looked like when it was unpacked.

    #mtree-like comments
    /set type=file nlink=1 mode=0664 uid=0 gid=0        defaults for what follows
    . size=60 type=dir mode=0755 nlink=3 tar_time=0.000000000
    etc type=dir mode=0755 …                            a directory: what follows is in it
        motd size=3 mode=0644 sha256digest=98ea…        "    " is for the eye only
        sp\040ace link=motd type=link …                 \ooo: a byte that would break a word
    ..                                                  end of the directory
    ..

Keywords: size, type, uid, gid, mode, link, nlink, tar_time (to the second), sha256digest,
xattr.NAME (base64).
"""

import base64
import hashlib
import os
import re
import stat
from collections.abc import Iterator, Mapping
from typing import Final

from rundlet.archive.walk import Found, open_file, read_xattrs, walk_tree
from rundlet.errors import InvalidArgument

KEYWORDS: Final = "size,type,uid,gid,mode,link,nlink,tar_time,sha256digest,xattr"
_UNSAFE: Final = re.compile(rb"[^!-Z^-~]")  # outside of printable ASCII, and space [ \ ]
_ESCAPED: Final = re.compile(rb"\\([0-7]{3})")
_READ_BYTES: Final = 1 << 20
_KINDS: Final = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "dir",
    stat.S_IFLNK: "link",
    stat.S_IFCHR: "char",
    stat.S_IFBLK: "block",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
}

Facts = Mapping[str, str]


def describe(found: Found) -> dict[str, str]:
    """The keywords of one path; reads a file to its end."""
    status = found.status
    kind = _KINDS[stat.S_IFMT(status.st_mode)]
    facts = {
        "type": kind,
        "mode": f"{stat.S_IMODE(status.st_mode):04o}",
        "uid": str(status.st_uid),
        "gid": str(status.st_gid),
        "nlink": str(status.st_nlink),
        "tar_time": f"{status.st_mtime_ns // 10**9}.000000000",
    }
    if kind in {"file", "dir", "link"}:
        facts["size"] = str(status.st_size)
    if kind == "link":
        facts["link"] = _escape(os.readlink(found.where))
    elif kind == "file":
        facts["sha256digest"] = _hash(found)
    for key, value in read_xattrs(found):
        facts[f"xattr.{_escape(os.fsencode(key))}"] = base64.b64encode(value).decode()
    return facts


def write_spec(root: str) -> Iterator[str]:
    """The lines of the specification of the tree at `root`, with line ends."""
    yield f"#      keywords: {KEYWORDS}\n"
    yield "/set type=file nlink=1 mode=0664 uid=0 gid=0\n"
    depth = 0
    by_parent: dict[bytes, list[tuple[bytes, str, bool]]] = {}
    for found in walk_tree(root):
        parent = found.path.rpartition(b"/")[0] if found.path else b"/"
        facts = " ".join(f"{key}={value}" for key, value in describe(found).items())
        by_parent.setdefault(parent, []).append((found.path, facts, found.is_directory()))
    pending: list[tuple[bytes, str, bool] | None] = list(reversed(by_parent[b"/"]))
    while pending:
        each = pending.pop()
        if each is None:
            depth -= 1
            yield f"{'    ' * depth}..\n"
            continue
        path, facts, is_directory = each
        yield f"{'    ' * depth}{_escape(path.rpartition(b'/')[2]) or '.'} {facts}\n"
        if is_directory:
            depth += 1
            pending += [None, *reversed(by_parent.get(path, []))]


def parse_spec(text: str, what: str) -> dict[bytes, Facts]:
    """Facts by path, b"" for the root; InvalidArgument with the line's number."""
    defaults: dict[str, str] = {}
    found: dict[bytes, Facts] = {}
    directories: list[bytes] = []
    for number, line in enumerate(text.replace("\\\n", " ").splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if words[0] == "/set":
            defaults.update(_parse_facts(words[1:]))
        elif words[0] == "/unset":
            for word in words[1:]:
                defaults.pop(word, None)
        elif words[0] == "..":
            if not directories:
                raise InvalidArgument(f"{what}: line {number}: .. above the root")
            directories.pop()
        else:
            facts = {**defaults, **_parse_facts(words[1:])}
            path = _find_path(words[0], directories, f"{what}: line {number}")
            found[path] = facts
            if facts.get("type") == "dir":
                directories.append(path)
    return found


def is_changed(old: Facts, new: Facts) -> bool:
    """Whether a path is another one now, by the keywords that both have.

    A directory's size and number of links say nothing of it; neither does a file's link count.
    """
    skipped = {"nlink", "size"} if new.get("type") == "dir" else {"nlink"}
    xattrs = [
        {key: value for key, value in facts.items() if key.startswith("xattr.")} for facts in (old, new)
    ]
    shared = (old.keys() & new.keys()) - skipped
    return xattrs[0] != xattrs[1] or any(_plain(key, old) != _plain(key, new) for key in shared)


def _plain(key: str, facts: Facts) -> str:
    """Modes have any number of zeros in front, times are compared by the second."""
    value = facts[key]
    if key == "mode":
        return value.lstrip("0")
    return value.partition(".")[0] if key == "tar_time" else value


def _find_path(word: str, directories: list[bytes], where: str) -> bytes:
    name = _ESCAPED.sub(lambda match: bytes((int(match[1], 8) & 0xFF,)), word.encode())
    if name == b"." and not directories:
        return b""
    if not directories or b"/" in name or name in {b".", b""}:
        raise InvalidArgument(f"{where}: {word!r} is no name in a directory")
    return b"/".join(part for part in (directories[-1], name) if part)


def _parse_facts(words: list[str]) -> dict[str, str]:
    return {key: value for key, _, value in (word.partition("=") for word in words)}


def _hash(found: Found) -> str:
    hasher = hashlib.sha256()
    with open(open_file(found), "rb", 0) as file:
        while data := file.read(_READ_BYTES):
            hasher.update(data)
    return hasher.hexdigest()


def _escape(text: bytes) -> str:
    return _UNSAFE.sub(lambda found: b"\\%03o" % found[0][0], text).decode("ascii")
