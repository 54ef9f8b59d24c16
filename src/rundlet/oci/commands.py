"""Every command of `rundlet-runtime`: its words and flags, and the module that does it.

A flag is written as  name[,short][=kind]:

    detach,d              a switch; --detach=false turns it off
    bundle,b=text         takes a value: --bundle DIR, --bundle=DIR, -b DIR
    env,e=list            may be given more than once
    preserve-fds=number   an integer
    interval=duration     seconds, as number or with a unit (500ms, 5s, 1m)

One dash or two are the same, as for Go's flag package, which engines expect.
"""

from typing import NamedTuple


class Command(NamedTuple):
    """`words` names the positional arguments for the usage line; `module` is a room-mate's name."""

    module: str
    words: str
    about: str
    flags: str = ""
    words_min: int = 1
    words_max: int = 1
    flags_first: bool = False


GLOBAL_FLAGS = """
    debug log=text log-format=text log-level=text root=text criu=text systemd-cgroup rootless=text
    cgroup-manager=text help,h version,v
"""

_CREATION = """
    bundle,b=text config,f=text console-socket=text pid-file=text pidfd-socket=text
    no-pivot no-new-keyring preserve-fds=number
"""
_LIMITS = """
    resources,r=text blkio-weight=number cpu-period=number cpu-quota=number cpu-burst=number cpu-share=number
    cpu-idle=number cpu-rt-period=number cpu-rt-runtime=number cpuset-cpus=text cpuset-mems=text memory=size
    memory-reservation=size memory-swap=size kernel-memory=size kernel-memory-tcp=size pids-limit=number
    l3-cache-schema=text mem-bw-schema=text
"""
_IMAGES = """
    image-path=text work-path=text tcp-established tcp-skip-in-flight link-remap ext-unix-sk shell-job lazy-pages
    file-locks manage-cgroups-mode=text empty-ns=list auto-dedup
"""

COMMANDS: dict[str, Command] = {
    "checkpoint": Command(
        "checkpoint",
        "ID",
        "write a running container's state to files, by criu",
        f"{_IMAGES} parent-path=text leave-running status-fd=number page-server=text pre-dump",
    ),
    "create": Command("create", "ID", "create a container", _CREATION),
    "delete": Command("delete", "ID", "remove what a container holds", "force,f"),
    "events": Command("events", "ID", "show statistics and out-of-memory events", "interval=duration stats"),
    "exec": Command(
        "exec",
        "ID COMMAND …",
        "run a further process in a container",
        """
        console-socket=text pidfd-socket=text cwd=text env,e=list tty,t user,u=text additional-gids,g=list
        process,p=text detach,d pid-file=text process-label=text apparmor=text no-new-privs cap,c=list
        preserve-fds=number cgroup=list ignore-paused
        """,
        words_max=1 << 30,
        flags_first=True,
    ),
    "features": Command("features", "", "show what this runtime can do", words_min=0, words_max=0),
    "kill": Command("kill", "ID [SIGNAL]", "send a signal, SIGTERM by default", "all,a", words_max=2),
    "list": Command("list", "", "list containers", "format,f=text quiet,q", words_min=0, words_max=0),
    "pause": Command("pause", "ID", "stop all processes of a container for a while"),
    "ps": Command(
        "ps",
        "ID [PS OPTION …]",
        "list a container's processes",
        "format,f=text",
        1,
        1 << 30,
        flags_first=True,
    ),
    "restore": Command(
        "restore",
        "ID",
        "start a container from a checkpoint, by criu",
        f"""
        {_IMAGES} bundle,b=text console-socket=text detach,d pid-file=text no-subreaper no-pivot
        lsm-profile=text lsm-mount-context=text
        """,
    ),
    "resume": Command("pause", "ID", "let a paused container's processes run on"),
    "run": Command("run", "ID", "create and start a container", f"{_CREATION} detach,d keep no-subreaper"),
    "spec": Command(
        "spec", "", "write an example config.json", "bundle,b=text rootless", words_min=0, words_max=0
    ),
    "start": Command("start", "ID", "run the program of a created container"),
    "state": Command("state", "ID", "show a container's state"),
    "update": Command("update", "ID", "change a container's resource limits", _LIMITS),
}
