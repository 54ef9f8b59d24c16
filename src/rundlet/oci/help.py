"""What --help and --version print; read only by people, so never loaded for a container's start."""

from rundlet import __version__
from rundlet.oci.commands import COMMANDS, GLOBAL_FLAGS
from rundlet.oci.features import SPEC_VERSION

_ABOUT = {
    "additional-gids": "a further group for the process",
    "all": "to every process of the container's cgroup",
    "apparmor": "the AppArmor profile of the process",
    "auto-dedup": "let criu drop pages that a parent image holds",
    "blkio-weight": "block IO weight, 10 to 1000",
    "bundle": "the bundle's directory (the working directory)",
    "cap": "a capability to add, by name",
    "cgroup": "an existing cgroup below the container's, [controller:]path",
    "cgroup-manager": "cgroupfs or systemd",
    "config": "another file than the bundle's config.json",
    "console-socket": "unix socket that gets the terminal's master end",
    "cpu-burst": "CPU time that may be saved up, in µs",
    "cpu-idle": "1 for SCHED_IDLE, 0 for not",
    "cpu-period": "the period that the quota counts for, in µs",
    "cpu-quota": "CPU time in a period, in µs",
    "cpu-rt-period": "the same for real-time processes",
    "cpu-rt-runtime": "the same for real-time processes",
    "cpu-share": "weight against other containers",
    "cpuset-cpus": "CPUs to use, as 0-3,7",
    "cpuset-mems": "memory nodes to use",
    "criu": "the criu program",
    "cwd": "working directory of the process",
    "debug": "log more",
    "detach": "return when the process runs",
    "empty-ns": "a namespace that is made but not restored",
    "env": "NAME=value for the process",
    "ext-unix-sk": "allow unix sockets to the outside",
    "file-locks": "save and restore file locks",
    "force": "kill what still runs, and no error when there is nothing",
    "format": "table or json",
    "help": "this text",
    "ignore-paused": "also in a paused container",
    "image-path": "directory of criu's files",
    "interval": "time between statistics (5s)",
    "keep": "do not delete the container when it has ended",
    "kernel-memory": "accepted; newer kernels have no such limit",
    "kernel-memory-tcp": "kernel memory of TCP buffers, in bytes",
    "l3-cache-schema": "Intel RDT L3 cache schema",
    "lazy-pages": "restore memory on demand",
    "leave-running": "let the container run on",
    "link-remap": "let criu link files that were removed",
    "log": "file for log lines (stderr)",
    "log-format": "text or json",
    "log-level": "debug, info, warning or error",
    "lsm-mount-context": "LSM context of mounts at restore",
    "lsm-profile": "LSM profile at restore, TYPE:NAME",
    "manage-cgroups-mode": "soft, full or strict",
    "mem-bw-schema": "Intel RDT memory bandwidth schema",
    "memory": "memory limit in bytes",
    "memory-reservation": "soft memory limit in bytes",
    "memory-swap": "memory and swap together in bytes, -1 for no limit",
    "no-new-keyring": "keep the caller's session keyring",
    "no-new-privs": "set no_new_privs",
    "no-pivot": "refused: the root is always changed by pivot_root(2)",
    "no-subreaper": "do not reap what the container leaves behind",
    "page-server": "ADDRESS:PORT of criu's page server",
    "parent-path": "earlier images of a pre-dump",
    "pid-file": "file for the process's pid",
    "pidfd-socket": "unix socket that gets a pidfd of the process",
    "pids-limit": "how many processes",
    "pre-dump": "only the memory; the container runs on",
    "preserve-fds": "how many descriptors from 3 on to pass to the program",
    "process": "process.json instead of a command line",
    "process-label": "the SELinux label of the process",
    "quiet": "only ids",
    "resources": "file with the specification's resources, - for stdin",
    "root": "directory of the containers' states",
    "rootless": "for the user who calls: a user namespace, no cgroup limits",
    "rootless=text": "true, false or auto",
    "shell-job": "allow a shell's job with its terminal",
    "stats": "statistics once, then return",
    "status-fd": "criu writes \\0 there when lazy pages are ready",
    "systemd-cgroup": "cgroups by systemd; cgroupsPath is slice:prefix:name",
    "tcp-established": "allow open TCP connections",
    "tcp-skip-in-flight": "skip TCP connections that are being made",
    "tty": "with a terminal",
    "user": "UID[:GID]",
    "version": "print the version",
    "work-path": "directory of criu's logs",
}
_EXAMPLES = {
    "checkpoint": "checkpoint --image-path /srv/checkpoint web",
    "create": "create --bundle /srv/bundle web",
    "delete": "delete --force web",
    "events": "events --stats web",
    "exec": "exec --tty web sh",
    "features": "features",
    "kill": "kill web KILL",
    "list": "list --format json",
    "pause": "pause web",
    "ps": "ps web",
    "restore": "restore --bundle /srv/bundle --image-path /srv/checkpoint web",
    "resume": "resume web",
    "run": "run --bundle /srv/bundle web",
    "spec": "spec --bundle /srv/bundle",
    "start": "start web",
    "state": "state web",
    "update": "update --memory 128m --pids-limit 100 web",
}
_KINDS = {"": "", "text": " VALUE", "number": " N", "list": " VALUE …", "size": " BYTES", "duration": " TIME"}


def version() -> str:
    return f"rundlet-runtime version {__version__}\nspec: {SPEC_VERSION}\n"


def usage(name: str) -> str:
    """Of one command, or of the program when there is no such command."""
    command = COMMANDS.get(name)
    if command is None:
        lines = [f"  {key:<12}{item.about}" for key, item in COMMANDS.items()]
        return (
            "Usage: rundlet-runtime [global flags] COMMAND [flags] [arguments]\n\nCommands:\n"
            + "\n".join(lines)
            + f"\n\nGlobal flags:\n{_flags(GLOBAL_FLAGS)}"
            + f"\nExamples:\n  rundlet-runtime {_EXAMPLES['run']}\n  rundlet-runtime COMMAND --help\n"
        )
    text = f"Usage: rundlet-runtime {name} [flags] {command.words}".rstrip()
    flags = f"\nFlags:\n{_flags(command.flags)}" if command.flags else ""
    about = command.about[0].upper() + command.about[1:]
    return f"{text}\n\n{about}.\n{flags}\nExample:\n  rundlet-runtime {_EXAMPLES[name]}\n"


def _flags(table: str) -> str:
    lines = []
    for entry in sorted(table.split()):
        names, _, kind = entry.partition("=")
        name, _, short = names.partition(",")
        left = f"--{name}{_KINDS[kind]}" + (f", -{short}" if short else "")
        lines.append(f"  {left:<32}{_ABOUT.get(entry, _ABOUT[name])}\n")
    return "".join(lines)
