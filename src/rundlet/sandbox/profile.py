"""The seccomp profile of sandboxes: the default one, less what only attacks and debuggers need.

Beyond the default profile, which refuses whatever needs a capability, these are refused (EPERM):
looking into other processes, keys, new namespaces, io_uring, page faults by descriptor, and sockets
but those of unix, IPv4, IPv6 and the routing table that C libraries read.  Each was the door of
kernel exploits of the last years, and none is needed by compilers, interpreters or data tools.
"""

import socket
from functools import lru_cache

from rundlet.plan.seccomp_default import default_seccomp
from rundlet.spec.runtime import Seccomp, SeccompArg, SeccompSyscall

_REFUSED = frozenset(
    """
    ptrace process_vm_readv process_vm_writev process_madvise kcmp pidfd_getfd
    keyctl add_key request_key
    io_uring_setup io_uring_enter io_uring_register io_setup io_submit io_cancel io_getevents
    io_pgetevents io_destroy userfaultfd vmsplice remap_file_pages modify_ldt
    name_to_handle_at open_by_handle_at memfd_secret landlock_create_ruleset landlock_add_rule
    fanotify_mark fanotify_init quotactl acct swapon swapoff
    """.split()
)
_FAMILIES = (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK)
_NETLINK_ROUTE = 0


@lru_cache(maxsize=2)
def make_profile(machine: str) -> Seccomp:
    """For `machine` as uname(2) has it; one object each, so that its compiled form is found again."""
    default = default_seccomp([], machine)
    kept = [_without(rule) for rule in default.syscalls or []]
    # The calls of 32-bit programs take their arguments by pointer, where a filter cannot see them.
    native = (default.architectures or [])[:1]
    return default.replace(
        architectures=native, syscalls=[rule for rule in kept if rule.names] + _socket_rules()
    )


def _without(rule: SeccompSyscall) -> SeccompSyscall:
    if rule.action != "SCMP_ACT_ALLOW":
        return rule
    return rule.replace(names=[name for name in rule.names if name not in _REFUSED and name != "socket"])


def _socket_rules() -> list[SeccompSyscall]:
    """socket(2) by family; of netlink only the routing table."""
    plain = [
        SeccompSyscall(
            names=["socket"],
            action="SCMP_ACT_ALLOW",
            args=[SeccompArg(index=0, value=int(family), op="SCMP_CMP_EQ")],
        )
        for family in _FAMILIES
        if family != socket.AF_NETLINK
    ]
    route = SeccompSyscall(
        names=["socket"],
        action="SCMP_ACT_ALLOW",
        args=[
            SeccompArg(index=0, value=int(socket.AF_NETLINK), op="SCMP_CMP_EQ"),
            SeccompArg(index=2, value=_NETLINK_ROUTE, op="SCMP_CMP_EQ"),
        ],
    )
    return [*plain, route]
