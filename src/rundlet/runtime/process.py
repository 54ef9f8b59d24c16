"""Turns the calling process into the planned one: identity, limits, seccomp, program.

Runs inside the container's namespaces, after its rootfs became the root.
"""

import binascii
import errno
import os
import resource
import signal
import stat
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from rundlet.errors import (
    FailedPrecondition,
    InvalidArgument,
    PermissionDenied,
    ProgramNotExecutable,
    ProgramNotFound,
)
from rundlet.kernel import capability, prctl
from rundlet.kernel.seccomp import SECCOMP_FILTER_FLAG_NEW_LISTENER, load_filter
from rundlet.kernel.sigaction import reset_reserved_signals
from rundlet.plan.attributes import SetLimit
from rundlet.plan.process import ProcessPlan
from rundlet.runtime.guard import execute_by_descriptor
from rundlet.runtime.stdio import reopen_null

if TYPE_CHECKING:
    from rundlet.runtime.listener import Agent

_PASSWD_MAX_BYTES = 1 << 20
_DEFAULT_PATH = "/bin:/usr/bin"  # execvp(3)
_FIRST_FREE_FD = 3
_SIGNALS = tuple(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})


def reset_signals() -> None:
    """All dispositions and the mask as execve(2) should find them.

    Python ignores SIGPIPE and SIGXFSZ, and whoever started the keeper may have
    ignored others (a shell's background job: SIGINT and SIGQUIT).
    """
    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_DFL:
            signal.signal(number, signal.SIG_DFL)
    reset_reserved_signals()
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


class Machine(NamedTuple):
    """What must be known before the host's /proc goes out of sight."""

    architecture: str
    last_capability: int


class Prepared(NamedTuple):
    """What was opened while the host's files were in sight: label files, and the seccomp agent."""

    labels: tuple[tuple[int, str], ...] = ()
    agent: "Agent | None" = None


def load(plan: ProcessPlan) -> None:
    """Import what this process needs besides, while the host's files can be read."""
    if plan.listener is not None:
        import rundlet.runtime.listener  # noqa: F401


def open_before(plan: ProcessPlan, status: str) -> Prepared:
    """`status` is the container's, for the agent.  Raises FailedPrecondition or OSError."""
    labels = tuple((_open_label(name), text) for name, text in plan.labels)
    if plan.listener is None:
        return Prepared(labels)
    from rundlet.runtime.listener import connect_agent

    return Prepared(labels, connect_agent(plan.listener, status))


def _open_label(name: str) -> int:
    """A file below /proc/self/attr; before Linux 5.8 all modules shared those at its top."""
    try:
        return os.open(f"/proc/self/attr/{name}", os.O_WRONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return os.open(f"/proc/self/attr/{os.path.basename(name)}", os.O_WRONLY | os.O_CLOEXEC)


def prepare_process(
    plan: ProcessPlan, machine: Machine, prepared: Prepared, *, is_first: bool, new_keyring: bool
) -> None:
    """Everything but the program itself; raises OSError.

    Without `new_keyring` the session keyring stays the caller's.
    """
    if is_first:
        reopen_null()
    set_limits(plan.limits)
    if new_keyring:
        prctl.join_session_keyring(machine.architecture)
    os.umask(0o022 if plan.umask is None else plan.umask)
    enter_directory(plan.cwd, make=is_first)
    if plan.seccomp and not plan.no_new_privileges:
        # Loading a filter needs CAP_SYS_ADMIN unless no_new_privs is set, so it comes before that is given up.
        load_seccomp(plan, prepared)
    _take_identity(plan, machine.last_capability)
    if plan.no_new_privileges:
        prctl.set_no_new_privs()


def _take_identity(plan: ProcessPlan, last_capability: int) -> None:
    try:
        set_identity(plan, last_capability)
    except OSError as error:
        is_unmapped = error.errno == errno.EINVAL or (error.errno == errno.EPERM and _denies_groups())
        hint = "a user namespace maps only some ids (/etc/subuid)" if is_unmapped else ""
        raise FailedPrecondition(
            f"process.user {plan.uid}:{plan.gid}: {os.strerror(error.errno or 0).lower()}", hint=hint
        ) from error


def set_limits(limits: Iterable[SetLimit]) -> None:
    """setrlimit(2); raises PermissionDenied where a hard limit cannot be raised."""
    for limit in limits:
        try:
            resource.setrlimit(limit.resource, (limit.soft, limit.hard))
        except ValueError as error:  # what the module makes of EPERM and EINVAL
            raise PermissionDenied(
                f"{limit.describe()}: {error}", hint="a higher hard limit needs CAP_SYS_RESOURCE"
            ) from error


def load_seccomp(plan: ProcessPlan, prepared: Prepared) -> None:
    """The filter; where it notifies of calls, its listener goes to the agent at once."""
    result = load_filter(binascii.a2b_base64(plan.seccomp), plan.seccomp_flags)
    if prepared.agent is not None and plan.seccomp_flags & SECCOMP_FILTER_FLAG_NEW_LISTENER:
        prepared.agent.send(result)


def write_labels(prepared: Prepared) -> None:
    """What the security modules are to make of the program (execve(2))."""
    for fd, text in prepared.labels:
        os.write(fd, text.encode())


def enter_directory(path: str, *, make: bool) -> None:
    """chdir(2), and proof that the directory lies inside the root (CVE-2024-21626: a leaked host descriptor)."""
    if make:
        os.makedirs(path, exist_ok=True)
    os.chdir(path)
    if not os.getcwd().startswith("/"):
        raise PermissionDenied(f"working directory {path} lies outside the container's root")


def set_identity(plan: ProcessPlan, last: int) -> None:
    """Groups, user and the five capability sets, in the order that loses none too early (capabilities(7))."""
    sets = plan.capabilities
    if sets is not None:
        capability.limit_bounding(sets.bounding, last)
        prctl.prctl(prctl.PR_SET_KEEPCAPS, 1)
    _set_groups(plan)
    os.setresgid(plan.gid, plan.gid, plan.gid)
    os.setresuid(plan.uid, plan.uid, plan.uid)
    if sets is not None:
        prctl.prctl(prctl.PR_SET_KEEPCAPS, 0)
        capability.set_sets(sets.effective, sets.permitted, sets.inheritable)
        capability.set_ambient(sets.ambient)


def _set_groups(plan: ProcessPlan) -> None:
    """A user namespace whose mapping its own root wrote, as bubblewrap's, denies setgroups(2) for ever.

    There a process can have no group beside its own, and needs none set.
    """
    try:
        os.setgroups(list(plan.groups))
    except PermissionError:
        if set(plan.groups) - {plan.gid} or not _denies_groups():
            raise


def _denies_groups() -> bool:
    try:
        with open("/proc/self/setgroups", "rb") as file:
            return file.read().strip() == b"deny"
    except OSError:
        return False


def build_environment(plan: ProcessPlan) -> dict[str, str]:
    """`env` as a mapping, the last of equal names winning; HOME from the container's passwd when not given."""
    env = dict(entry.split("=", 1) for entry in plan.env if "=" in entry)
    if not env.get("HOME"):
        env["HOME"] = _find_home(plan.uid)
    return env


def _find_home(uid: int) -> str:
    """The home of `uid` in the container's passwd(5), else /."""
    try:
        with open("/etc/passwd", "rb") as file:
            lines = file.read(_PASSWD_MAX_BYTES).split(b"\n")
    except OSError:
        return "/"
    for line in lines:
        fields = line.split(b":")
        if len(fields) >= 6 and fields[2] == b"%d" % uid and fields[5].startswith(b"/"):
            return os.fsdecode(fields[5])
    return "/"


def find_program(plan: ProcessPlan, environment: dict[str, str]) -> str:
    """The file to execute, with the user's own rights, as execvp(3) looks for it: by PATH unless it has a slash.

    Raises NotFound, or PermissionDenied when there is a file that cannot be executed.
    """
    name = plan.args[0]
    if "/" in name:
        candidates = [name]
    else:
        path = environment.get("PATH", _DEFAULT_PATH)
        candidates = [os.path.join(directory or ".", name) for directory in path.split(":")] if name else []
    refused = ""
    for candidate in candidates:
        reason = _why_not(candidate)
        if reason is None:
            return candidate
        refused = refused or reason
    if refused:
        raise ProgramNotExecutable(
            f"exec {name!r}: {refused}", hint="it is there but not executable for this user"
        )
    where = "no such file or directory" if "/" in name else "executable file not found in $PATH"
    raise ProgramNotFound(f"exec {name!r}: {where}")


def _why_not(path: str) -> str | None:
    """None for a file to execute, empty where there is nothing, else what is wrong with it."""
    try:
        found = os.stat(path)
    except PermissionError:
        return "permission denied"
    except (OSError, ValueError):
        return ""
    if stat.S_ISDIR(found.st_mode):
        return "is a directory"
    return None if os.access(path, os.X_OK, effective_ids=True) else "permission denied"


def execute_program(
    path: str, plan: ProcessPlan, environment: dict[str, str], *, is_guarded: bool = False
) -> NoReturn:
    """execve(2); raises InvalidArgument or PermissionDenied naming the program."""
    try:
        if is_guarded:
            execute_by_descriptor(path, plan.args, environment)
        os.execve(path, plan.args, environment)
    except PermissionError as error:
        raise ProgramNotExecutable(f"exec {path!r}: permission denied") from error
    except OSError as error:
        hint = (
            "a script needs a #! line, a program must be of this machine's architecture"
            if error.errno == errno.ENOEXEC
            else ""
        )
        raise InvalidArgument(f"exec {path!r}: {os.strerror(error.errno or 0).lower()}", hint=hint) from error


def close_descriptors(extra_fds: int = 0) -> None:
    """Whatever is open beyond stdio closes at execve(2), but for `extra_fds` descriptors that are passed on."""
    for fd in range(_FIRST_FREE_FD, _FIRST_FREE_FD + extra_fds):
        os.set_inheritable(fd, True)
    prctl.close_on_exec_from(_FIRST_FREE_FD + extra_fds)
