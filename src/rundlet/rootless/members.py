"""Who lives in a user's namespaces: files that lead the next process there.

    <run root>/rootless/            mode 0700, the user's own
        lock                        held by who joins or makes the namespaces, so that two make them once
        members/PID                 "BOOT-ID START-TIME" of a process inside (proc(5), field 22 of stat)

The namespaces last as long as any process in them does; there is none that does nothing else.
A file may be left behind by a process that was killed: pid, start time and boot id name one process
for ever, and the next to come removes it.

Standard library only, and little of it: the keeper's processes are members, too.
"""

import os

_READ_MAX_BYTES = 4096


def rootless_dir(run_root: str) -> str:
    return f"{run_root}/rootless"


def _members_dir(run_root: str) -> str:
    return f"{run_root}/rootless/members"


def note_member(run_root: str) -> None:
    """This process lives there."""
    directory = _members_dir(run_root)
    os.makedirs(directory, mode=0o700, exist_ok=True)
    pid = os.getpid()
    fd = os.open(f"{directory}/.{pid}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    os.write(fd, _identify(pid))
    os.close(fd)
    os.rename(f"{directory}/.{pid}", f"{directory}/{pid}")


def forget_member(run_root: str, pid: int) -> None:
    """Process `pid` leaves, or has gone; nothing happens when it was not noted."""
    try:
        os.unlink(f"{_members_dir(run_root)}/{pid}")
    except FileNotFoundError:
        pass


def note_keeper(run_root: str) -> None:
    """This process of the keeper lives there, where its starter did."""
    if os.path.isdir(_members_dir(run_root)):
        note_member(run_root)


def open_member(run_root: str) -> int:
    """A pidfd of any process that lives there; -1 when there is none.  Files of dead ones are removed."""
    try:
        names = os.listdir(_members_dir(run_root))
    except FileNotFoundError:
        return -1
    for name in names:
        fd = _open_live(run_root, int(name)) if name.isdecimal() else -1
        if fd >= 0:
            return fd
        forget_member(run_root, int(name)) if name.isdecimal() else None
    return -1


def _open_live(run_root: str, pid: int) -> int:
    try:
        fd = os.pidfd_open(pid)
    except OSError:
        return -1
    if _identify(pid) == _read(f"{_members_dir(run_root)}/{pid}") != b"":
        return fd
    os.close(fd)
    return -1


def _identify(pid: int) -> bytes:
    """Empty when there is no such process, or it has ended and waits for its parent."""
    fields = _read(f"/proc/{pid}/stat").rpartition(b")")[2].split()
    if len(fields) < 20 or fields[0] in (b"Z", b"X"):
        return b""
    return b"%s %s\n" % (_read("/proc/sys/kernel/random/boot_id").strip(), fields[19])


def _read(path: str) -> bytes:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return os.read(fd, _READ_MAX_BYTES)
    except OSError:
        return b""
    finally:
        os.close(fd)
