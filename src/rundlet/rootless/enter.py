"""How a process of an ordinary user gets rights: it enters the user's namespaces, or makes them.

    flock(<run root>/rootless/lock)
    somebody lives there?   setns(2) into the user and mount namespace of that process
    nobody?                 unshare(2) both; newuidmap and newgidmap, started before from outside,
                            write the mapping, or this process writes the only row that it may
    note this process as a member

All processes of one user and run root share the two namespaces, since what pins a pod's
namespaces, and /dev/shm of the pods, are mounts there.  Inside, the user is root: with all
capabilities over what belongs to these namespaces, and with no right over the host that
the user did not have before.
"""

import atexit
import errno
import fcntl
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rundlet.errors import Error, FailedPrecondition, PermissionDenied
from rundlet.kernel import namespace, overlay, prctl
from rundlet.kernel.failure import translating
from rundlet.plan.steps import IdMap
from rundlet.rootless import members
from rundlet.rootless.mapping import Mapping, plan_mapping
from rundlet.rootless.places import claim_run_root
from rundlet.rootless.subid import SUBGID_FILE, SUBUID_FILE, find_name, read_ranges
from rundlet.step import step

_FLAGS = namespace.CLONE_NEWUSER | namespace.CLONE_NEWNS
_HELPERS = ("newuidmap", "newgidmap")
_REPORT_MAX_BYTES = 1024


def must_enter() -> bool:
    """Whether this process has no rights that a user namespace would give it; false inside one, too."""
    return os.geteuid() != 0


def enter(run_root: str) -> None:
    """Become root in the namespaces of this user and run root; the directory must be the user's own.

    Only for a process with one thread (unshare(2)); the working directory stays what it is,
    os.getuid() is 0 from now on.
    Raises PermissionDenied where the kernel lets ordinary users make no user namespace and for a run
    root that others can write to, FailedPrecondition with threads and when the ids cannot be mapped.
    """
    with translating(f"enter the namespaces of {run_root}"):
        claim_run_root(run_root)
        _enter(run_root)


def _enter(run_root: str) -> None:
    with _locked(run_root):
        directory, home = _note_directory(), os.path.expanduser("~")  # inside the user's number is 0
        with step("rootless.find-member"):
            member = members.open_member(run_root)
        if member >= 0:
            with step("rootless.join"):
                _join(member)
        else:
            with step("rootless.make"):
                _make(choose_mapping())
        _return_to(directory)
        overlay.forget()
        members.note_member(run_root)
    atexit.register(_leave, run_root, os.getpid())
    os.environ.setdefault("HOME", home)


def _leave(run_root: str, pid: int) -> None:
    """A child that ends as this process would is no reason to forget it."""
    if os.getpid() == pid:
        members.forget_member(run_root, pid)


@contextmanager
def _locked(run_root: str) -> Iterator[None]:
    directory = members.rootless_dir(run_root)
    os.makedirs(directory, mode=0o700, exist_ok=True)
    fd = os.open(f"{directory}/lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def choose_mapping() -> Mapping:
    """The mapping that this user can have here and now."""
    uid = os.geteuid()
    name = find_name(uid)
    has_helpers = all(map(shutil.which, _HELPERS)) and not prctl.get_no_new_privs()
    return plan_mapping(
        uid,
        os.getegid(),
        read_ranges(SUBUID_FILE, name, uid),
        read_ranges(SUBGID_FILE, name, uid),
        has_helpers=has_helpers,
    )


def _join(member: int) -> None:
    try:
        namespace.setns(member, _FLAGS)
    except OSError as error:
        if error.errno == errno.EINVAL:
            raise _refuse_threads() from error
        raise PermissionDenied(
            f"cannot enter the user's namespaces: {os.strerror(error.errno or 0).lower()}",
            hint="another user's processes have this run root, or one of them began with more rights",
        ) from error
    finally:
        os.close(member)


def _make(mapping: Mapping) -> None:
    helper = None if mapping.is_single else _Helper(mapping)
    try:
        namespace.unshare(_FLAGS)
    except OSError as error:
        if helper:
            helper.dismiss()
        raise explain_refusal(error) from error
    if helper is None:
        _write_single(mapping)
    else:
        helper.work()


def explain_refusal(error: OSError) -> Error:
    """What to do about a kernel that makes no user namespace."""
    if error.errno == errno.EINVAL:
        return _refuse_threads()
    if error.errno in (errno.ENOSPC, errno.EUSERS):
        hint = "raise user.max_user_namespaces (sysctl), or leave the namespaces that this process is in"
    else:
        hint = (
            "the host forbids it: see sysctl kernel.unprivileged_userns_clone, "
            "kernel.apparmor_restrict_unprivileged_userns, or the container that this is in"
        )
    reason = os.strerror(error.errno or 0).lower()
    return PermissionDenied(f"cannot make a user namespace: {reason}", hint=hint)


def _refuse_threads() -> FailedPrecondition:
    return FailedPrecondition(
        "cannot enter a user namespace: this process has several threads",
        hint="open the machine before the first thread is started, or run as root",
    )


def _write_single(mapping: Mapping) -> None:
    _write("setgroups", "deny")
    _write("uid_map", _format(mapping.uid_map))
    _write("gid_map", _format(mapping.gid_map))


def _write(name: str, text: str) -> None:
    fd = os.open(f"/proc/self/{name}", os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def _format(mapping: IdMap) -> str:
    return "".join(f"{inside} {outside} {count}\n" for inside, outside, count in mapping)


class _Helper:
    """A child that stays outside, where newuidmap and newgidmap have the rights that their owner gives them."""

    def __init__(self, mapping: Mapping) -> None:
        go_read, self._go = os.pipe2(os.O_CLOEXEC)
        self._report, report_write = os.pipe2(os.O_CLOEXEC)
        parent = os.getpid()
        sys.stdout.flush()
        sys.stderr.flush()
        self._pid = os.fork()
        if self._pid == 0:
            os.close(self._go)
            try:
                if os.read(go_read, 1):
                    os.write(report_write, _run_helpers(parent, mapping).encode()[:_REPORT_MAX_BYTES])
            finally:
                os._exit(0)
        os.close(go_read)
        os.close(report_write)

    def work(self) -> None:
        """Have the mapping of this process's namespace written; FailedPrecondition with the program's own words."""
        os.write(self._go, b"1")
        problem = os.read(self._report, _REPORT_MAX_BYTES).decode(errors="replace")
        self.dismiss()
        if problem != "ok":
            raise FailedPrecondition(
                f"cannot map the user's ids: {problem or 'no answer'}",
                hint=f"see {SUBUID_FILE} and {SUBGID_FILE}; without the user's lines there one id is mapped",
            )

    def dismiss(self) -> None:
        os.close(self._go)
        os.close(self._report)
        os.waitpid(self._pid, 0)


def _run_helpers(pid: int, mapping: Mapping) -> str:
    """ "ok", or what went wrong."""
    import subprocess

    for program, rows in zip(_HELPERS, (mapping.uid_map, mapping.gid_map), strict=True):
        words = [str(number) for row in rows for number in row]
        done = subprocess.run([program, str(pid), *words], capture_output=True, text=True, check=False)
        if done.returncode:
            return " ".join(done.stderr.split()) or f"{program} failed with {done.returncode}"
    return "ok"


def _note_directory() -> str:
    try:
        return os.getcwd()
    except OSError:
        return "/"


def _return_to(directory: str) -> None:
    """The same place by the mounts of the namespace that was entered."""
    try:
        os.chdir(directory)
    except OSError:
        os.chdir("/")
