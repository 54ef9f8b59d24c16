"""The default seccomp profile: what an ordinary container may ask of the kernel.

The facts are those that the profiles of moby, containerd and containers/common
agree on: calls that change the whole machine are refused, unless the container
holds the capability that the kernel itself demands for them.  Names that an
architecture lacks do no harm.  Minimum kernel: ptrace could slip past a filter
before Linux 4.8; rundlet needs newer kernels for other reasons, so it is allowed.

Refused calls give EPERM; calls newer than this list give ENOSYS (see
`plan.seccomp`), as do clone3 and its like where a C library falls back.
"""

import errno
import os
from collections.abc import Collection, Iterator
from functools import lru_cache

from rundlet.spec.runtime import Seccomp, SeccompArg, SeccompSyscall

_ALLOW = "SCMP_ACT_ALLOW"

ALWAYS = """
accept accept4 access adjtimex alarm bind brk cachestat capget capset chdir chmod chown chown32
clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64
clock_nanosleep clock_nanosleep_time64 close close_range connect copy_file_range creat dup dup2 dup3
epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old
eventfd eventfd2 execve execveat exit exit_group faccessat faccessat2 fadvise64 fadvise64_64 fallocate
fanotify_mark fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl fcntl64 fdatasync fgetxattr
flistxattr flock fork fremovexattr fsetxattr fstat fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate
ftruncate64 futex futex_requeue futex_time64 futex_wait futex_waitv futex_wake futimesat get_robust_list
get_thread_area getcpu getcwd getdents getdents64 getegid getegid32 geteuid geteuid32 getgid getgid32
getgroups getgroups32 getitimer getpeername getpgid getpgrp getpid getppid getpriority getrandom getresgid
getresgid32 getresuid getresuid32 getrlimit getrusage getsid getsockname getsockopt gettid gettimeofday
getuid getuid32 getxattr getxattrat inotify_add_watch inotify_init inotify_init1 inotify_rm_watch
io_cancel io_destroy io_getevents io_pgetevents io_pgetevents_time64 io_setup io_submit ioctl ioprio_get
ioprio_set ipc kill landlock_add_rule landlock_create_ruleset landlock_restrict_self lchown lchown32
lgetxattr link linkat listen listmount listxattr listxattrat llistxattr _llseek lremovexattr lseek
lsetxattr lstat lstat64 madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mkdir
mkdirat mknod mknodat mlock mlock2 mlockall mmap mmap2 mprotect mq_getsetattr mq_notify mq_open
mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 mq_unlink mremap mseal msgctl
msgget msgrcv msgsnd msync munlock munlockall munmap name_to_handle_at nanosleep newfstatat _newselect
open openat openat2 pause pidfd_open pidfd_send_signal pipe pipe2 pkey_alloc pkey_free pkey_mprotect poll
ppoll ppoll_time64 prctl pread64 preadv preadv2 prlimit64 process_mrelease process_vm_readv
process_vm_writev pselect6 pselect6_time64 ptrace pwrite64 pwritev pwritev2 read readahead readlink
readlinkat readv recv recvfrom recvmmsg recvmmsg_time64 recvmsg remap_file_pages removexattr removexattrat
rename renameat renameat2 restart_syscall rmdir rseq rt_sigaction rt_sigpending rt_sigprocmask
rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo
sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getattr sched_getparam
sched_getscheduler sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity sched_setattr
sched_setparam sched_setscheduler sched_yield seccomp select semctl semget semop semtimedop
semtimedop_time64 send sendfile sendfile64 sendmmsg sendmsg sendto set_robust_list set_thread_area
set_tid_address setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32 setgroups setgroups32 setitimer
setpgid setpriority setregid setregid32 setresgid setresgid32 setresuid setresuid32 setreuid setreuid32
setrlimit setsid setsockopt setuid setuid32 setxattr setxattrat shmat shmctl shmdt shmget shutdown
sigaltstack signalfd signalfd4 sigprocmask sigreturn socketcall socketpair splice stat stat64 statfs
statfs64 statmount statx symlink symlinkat sync sync_file_range syncfs sysinfo tee tgkill time
timer_create timer_delete timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64
timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64 times tkill truncate
truncate64 ugetrlimit umask uname unlink unlinkat uretprobe utime utimensat utimensat_time64 utimes vfork
vmsplice wait4 waitid waitpid write writev
"""

BY_MACHINE = {
    "x86_64": "arch_prctl modify_ldt",
    "aarch64": "arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls",
}

BY_CAPABILITY = {
    "CAP_BPF": "bpf",
    "CAP_DAC_READ_SEARCH": "open_by_handle_at",
    "CAP_PERFMON": "perf_event_open",
    "CAP_SYSLOG": "syslog",
    "CAP_SYS_ADMIN": """
        bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie lsm_get_self_attr
        lsm_list_modules lsm_set_self_attr mount mount_setattr move_mount open_tree open_tree_attr
        perf_event_open quotactl quotactl_fd setdomainname sethostname setns syslog umount umount2 unshare
        """,
    "CAP_SYS_BOOT": "reboot",
    "CAP_SYS_CHROOT": "chroot",
    "CAP_SYS_MODULE": "delete_module finit_module init_module",
    "CAP_SYS_NICE": "get_mempolicy mbind set_mempolicy set_mempolicy_home_node",
    "CAP_SYS_PACCT": "acct",
    "CAP_SYS_PTRACE": "kcmp pidfd_getfd process_madvise",
    "CAP_SYS_RAWIO": "ioperm iopl",
    "CAP_SYS_TIME": "clock_settime clock_settime64 settimeofday stime",
    "CAP_SYS_TTY_CONFIG": "vhangup",
}

# Its flags are behind a pointer, where a filter cannot see CLONE_NEWUSER and
# the like; glibc 2.34 and newer falls back to clone on ENOSYS, never on EPERM.
NO_SUCH_CALL_WITHOUT_ADMIN = "clone3"

# CLONE_NEWNS | NEWCGROUP | NEWUTS | NEWIPC | NEWUSER | NEWPID | NEWNET
_NEW_NAMESPACES = 0x7E02_0000

# PER_LINUX, PER_LINUX32, UNAME26 with each, and "tell me mine" (personality(2)).
_PERSONALITIES = (0x0, 0x8, 0x2_0000, 0x2_0008, 0xFFFF_FFFF)

# AF_ALG (38) and AF_VSOCK (40) reach kernel crypto and the host's hypervisor
# sockets past every network namespace.  The kernel takes the family as 32 bits
# and the filter sees 64, so "not 40" would let 2**32 + 40 through: what is
# allowed is named, from below and one by one (KCM, QIPCRTR, SMC, XDP, MCTP).
_FAMILIES_BELOW = 38
_FAMILIES = (39, 41, 42, 43, 44, 45)

_ARCHITECTURES = {
    "x86_64": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
    "aarch64": ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"],
}


def default_seccomp(capabilities: Collection[str], machine: str = os.uname().machine) -> Seccomp:
    """The default profile for a container whose bounding set is `capabilities` ("CAP_SYS_ADMIN", …).

    The same object each time for the same set.
    """
    return _make_profile(frozenset(capabilities), machine)


@lru_cache(maxsize=16)
def _make_profile(capabilities: frozenset[str], machine: str) -> Seccomp:
    return Seccomp(
        default_action="SCMP_ACT_ERRNO",
        default_errno_ret=errno.EPERM,
        architectures=_ARCHITECTURES.get(machine),
        syscalls=list(_list_rules(capabilities, machine)),
    )


def _list_rules(capabilities: frozenset[str], machine: str) -> Iterator[SeccompSyscall]:
    names = [ALWAYS, BY_MACHINE.get(machine, "")]
    names += [calls for capability, calls in BY_CAPABILITY.items() if capability in capabilities]
    yield SeccompSyscall(names=sorted({name for text in names for name in text.split()}), action=_ALLOW)
    if "CAP_SYS_ADMIN" not in capabilities:
        yield _allow("clone", 0, "SCMP_CMP_MASKED_EQ", _NEW_NAMESPACES)
        yield SeccompSyscall(
            names=NO_SUCH_CALL_WITHOUT_ADMIN.split(), action="SCMP_ACT_ERRNO", errno_ret=errno.ENOSYS
        )
    for value in _PERSONALITIES:
        yield _allow("personality", 0, "SCMP_CMP_EQ", value)
    yield _allow("socket", 0, "SCMP_CMP_LT", _FAMILIES_BELOW)
    for value in _FAMILIES:
        yield _allow("socket", 0, "SCMP_CMP_EQ", value)


def _allow(name: str, index: int, op: str, value: int) -> SeccompSyscall:
    return SeccompSyscall(names=[name], action=_ALLOW, args=[SeccompArg(index=index, value=value, op=op)])
