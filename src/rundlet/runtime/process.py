"""Turns the calling process into the planned one: identity, limits, seccomp, program.

Runs inside the container's namespaces, after its rootfs became the root.
"""

import base64
import os
import resource
import signal
from typing import NoReturn

from rundlet.errors import InvalidArgument, NotFound, PermissionDenied
from rundlet.kernel import capability, prctl
from rundlet.kernel.seccomp import load_filter
from rundlet.kernel.sigaction import reset_reserved_signals
from rundlet.plan.process import ProcessPlan

_PASSWD_MAX_BYTES = 1 << 20
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


def prepare_process(
    plan: ProcessPlan, machine: str, last_capability: int, *, make_cwd: bool, new_keyring: bool
) -> str:
    """Everything but the last step; the path of the program.

    `machine` and `last_capability` were read before the host's files went out of
    sight.  Raises OSError, or NotFound/PermissionDenied for the program.
    """
    for limit in plan.limits:
        resource.setrlimit(limit.resource, (limit.soft, limit.hard))
    if new_keyring:
        prctl.join_session_keyring(machine)
    os.umask(0o022 if plan.umask is None else plan.umask)
    enter_directory(plan.cwd, make=make_cwd)
    if plan.seccomp and not plan.no_new_privileges:
        # Loading a filter needs CAP_SYS_ADMIN unless no_new_privs is set, so it comes before that is given up.
        load_seccomp(plan)
    set_identity(plan, last_capability)
    if plan.no_new_privileges:
        prctl.set_no_new_privs()
    return find_program(plan)


def load_seccomp(plan: ProcessPlan) -> None:
    load_filter(base64.b64decode(plan.seccomp), plan.seccomp_flags)


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
    os.setgroups(list(plan.groups))
    os.setresgid(plan.gid, plan.gid, plan.gid)
    os.setresuid(plan.uid, plan.uid, plan.uid)
    if sets is not None:
        prctl.prctl(prctl.PR_SET_KEEPCAPS, 0)
        capability.set_sets(sets.effective, sets.permitted, sets.inheritable)
        capability.set_ambient(sets.ambient)


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


def find_program(plan: ProcessPlan) -> str:
    """The file to execute, as execvp(3) looks for it: by PATH of the planned environment unless it has a slash."""
    name = plan.args[0]
    if "/" in name:
        candidates = [name]
    else:
        path = next((entry[5:] for entry in plan.env if entry.startswith("PATH=")), "/bin:/usr/bin")
        candidates = [os.path.join(directory or ".", name) for directory in path.split(":")]
    found_other = False
    for candidate in candidates:
        if os.path.isfile(candidate):
            if os.access(candidate, os.X_OK, effective_ids=True):
                return candidate
            found_other = True
    if found_other:
        raise PermissionDenied(
            f"exec {name!r}: permission denied", hint="the file is there but not executable for this user"
        )
    where = "no such file or directory" if "/" in name else "executable file not found in $PATH"
    raise NotFound(f"exec {name!r}: {where}")


def execute_program(path: str, plan: ProcessPlan, environment: dict[str, str]) -> NoReturn:
    """execve(2); raises InvalidArgument or PermissionDenied naming the program."""
    try:
        os.execve(path, plan.args, environment)
    except PermissionError as error:
        raise PermissionDenied(f"exec {path!r}: permission denied") from error
    except OSError as error:
        hint = (
            "a script needs a #! line, a program must be of this machine's architecture"
            if error.errno == 8
            else ""
        )
        raise InvalidArgument(f"exec {path!r}: {os.strerror(error.errno or 0).lower()}", hint=hint) from error


def close_descriptors(extra_fds: int = 0) -> None:
    """Whatever is open beyond stdio closes at execve(2), but for `extra_fds` descriptors that are passed on."""
    for fd in range(_FIRST_FREE_FD, _FIRST_FREE_FD + extra_fds):
        os.set_inheritable(fd, True)
    prctl.close_on_exec_from(_FIRST_FREE_FD + extra_fds)
