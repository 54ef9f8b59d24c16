"""The options of `run` and `create`, as podman has them."""

from rundlet.cli.local.flags import LIST, MANY, NUMBER, SWITCH, TEXT, Flag

LIMITS = (
    Flag("--cpu-period", NUMBER, "US", "Period of the CPU limit in microseconds."),
    Flag("--cpu-quota", NUMBER, "US", "CPU time in a period in microseconds."),
    Flag("-c --cpu-shares", NUMBER, "N", "Weight among others that want the CPU."),
    Flag("--cpus", TEXT, "N", "So many processors at most: 1.5."),
    Flag("--cpuset-cpus", TEXT, "LIST", "Only on these processors: 0-3,5."),
    Flag("--cpuset-mems", TEXT, "LIST", "Only memory of these NUMA nodes."),
    Flag("-m --memory", TEXT, "SIZE", "Memory limit: 512m, 2g."),
    Flag("--memory-swap", TEXT, "SIZE", "Limit of memory and swap together; -1 is none."),
    Flag("--pids-limit", NUMBER, "N", "Processes and threads at most; -1 is no limit."),
)
PROCESS = (
    Flag("-e --env", MANY, "NAME[=VALUE]", "Set a variable; without a value it is this shell's."),
    Flag("--env-file", MANY, "FILE", "Variables from a file, NAME=VALUE a line."),
    Flag("--env-host", SWITCH, "", "All variables of this shell."),
    Flag("-u --user", TEXT, "USER[:GROUP]", "Run as this user, by name or id."),
    Flag("-w --workdir", TEXT, "DIR", "Working directory."),
)
IDENTITY = (
    Flag("--name", TEXT, "NAME", "Name of the container; one is made up otherwise."),
    Flag("--replace", SWITCH, "", "Remove a container of that name first."),
    Flag("--annotation", LIST, "KEY=VALUE", "Annotation for runtimes and hooks."),
    Flag("-l --label", MANY, "KEY=VALUE", "Label to find it by."),
    Flag("--label-file", LIST, "FILE", "Labels from a file, KEY=VALUE a line."),
    Flag("--pod", TEXT, "POD", "Run in this pod; new:NAME makes it."),
    Flag("--pod-id-file", TEXT, "FILE", "Run in the pod whose id is in FILE."),
    Flag("--requires", LIST, "CONTAINER", "Start these first."),
    Flag("--cidfile", TEXT, "FILE", "Write the container's id to FILE."),
    Flag("--pidfile", TEXT, "FILE", "Write the first process's id to FILE."),
)
IMAGE = (
    Flag("--entrypoint", TEXT, "PROGRAM", "Instead of the image's; a JSON array for several words."),
    Flag("--pull", TEXT, "POLICY", "missing (default), always, newer or never."),
    Flag("--platform", TEXT, "OS/ARCH", "Image for another platform."),
    Flag("--arch", TEXT, "ARCH", "Image for another architecture."),
    Flag("--os", TEXT, "OS", "Image for another operating system."),
    Flag("--variant", TEXT, "VARIANT", "Image for another variant of the architecture."),
    Flag("-q --quiet", SWITCH, "", "Say nothing while pulling."),
)
LIFE = (
    Flag("-i --interactive", SWITCH, "", "Keep stdin open and pass it on."),
    Flag("-t --tty", SWITCH, "", "With a terminal."),
    Flag("--rm", SWITCH, "", "Remove the container when it ends."),
    Flag("--init", SWITCH, "", "An init as process 1, which reaps orphans and passes signals on."),
    Flag("--restart", TEXT, "POLICY", "no, on-failure[:N], always or unless-stopped."),
    Flag("--stop-signal", TEXT, "SIGNAL", "What `stop` sends first."),
    Flag("--stop-timeout", NUMBER, "SECONDS", "Patience of `stop` before it kills (10)."),
    Flag("--timeout", NUMBER, "SECONDS", "Kill it after this time."),
    Flag(
        "--health-cmd", TEXT, "COMMAND", "Check of its health: a shell line or a JSON array; none for none."
    ),
    Flag("--health-interval", TEXT, "TIME", "Between checks (30s); disable for no timer."),
    Flag("--health-timeout", TEXT, "TIME", "A check takes at most this long (30s)."),
    Flag("--health-retries", NUMBER, "N", "Failures in a row until it is unhealthy (3)."),
    Flag("--health-start-period", TEXT, "TIME", "Failures do not count in this time (0s)."),
    Flag("--health-on-failure", TEXT, "ACTION", "none, kill, restart or stop when unhealthy."),
    Flag("--no-healthcheck", SWITCH, "", "Without the image's check."),
    Flag("--log-driver", TEXT, "DRIVER", "k8s-file or none.", "k8s-file"),
    Flag("--log-opt", LIST, "NAME=VALUE", "max-size=SIZE rotates the log."),
    Flag("--runtime", TEXT, "HANDLER", "Another runtime handler of the configuration."),
)
FILES = (
    Flag("-v --volume", MANY, "[SOURCE:]TARGET[:OPTIONS]", "Mount a host path (/… or ./…) or a volume."),
    Flag("--mount", MANY, "type=T,src=S,dst=D", "Mount a bind, volume, tmpfs or image."),
    Flag("--tmpfs", MANY, "TARGET[:OPTIONS]", "Mount a file system in memory."),
    Flag("--volumes-from", LIST, "CONTAINER", "The mounts of other containers."),
    Flag("--read-only", SWITCH, "", "The root file system is read-only."),
    Flag(
        "--read-only-tmpfs", SWITCH, "", "With --read-only: /run, /tmp, /var/tmp are writable (true).", True
    ),
    Flag("--secret", MANY, "NAME[,OPTIONS]", "Show a secret as a file or, with type=env, as a variable."),
    Flag("--device", LIST, "HOST[:TARGET[:rwm]]", "Give a device of the host, or one by its CDI name."),
    Flag("--shm-size", TEXT, "SIZE", "Size of /dev/shm."),
    Flag("--tz", TEXT, "ZONE", "Time zone: Europe/Paris, or local."),
)
NETWORK = (
    Flag("-p --publish", LIST, "[[IP:]HOST:]PORT[/udp]", "Reach a port of the container from the host."),
    Flag("-P --publish-all", SWITCH, "", "Publish all ports that the image exposes."),
    Flag("--network --net", MANY, "NETWORK", "bridge, none, host, container:NAME or a network's name."),
    Flag("--network-alias", LIST, "NAME", "Another name on its networks."),
    Flag("--ip", TEXT, "ADDRESS", "This IPv4 address."),
    Flag("--ip6", TEXT, "ADDRESS", "This IPv6 address."),
    Flag("--mac-address", TEXT, "ADDRESS", "This MAC address."),
    Flag("-h --hostname", TEXT, "NAME", "Host name."),
    Flag("--add-host", LIST, "NAME:ADDRESS", "A line for /etc/hosts."),
    Flag("--dns", LIST, "ADDRESS", "Name server."),
    Flag("--dns-option", LIST, "OPTION", "Option of resolv.conf."),
    Flag("--dns-search", LIST, "DOMAIN", "Search domain."),
)
CONFINEMENT = (
    Flag("--cap-add", LIST, "CAPABILITY", "Allow this: NET_ADMIN, or ALL."),
    Flag("--cap-drop", LIST, "CAPABILITY", "Forbid this: CHOWN, or ALL."),
    Flag("--privileged", SWITCH, "", "All capabilities and devices, no confinement."),
    Flag("--security-opt", MANY, "OPTION", "seccomp=, apparmor=, label=, mask=, unmask=, no-new-privileges."),
    Flag("--group-add", LIST, "GROUP", "A further group of the user."),
    Flag("--ulimit", LIST, "NAME=SOFT[:HARD]", "Limit of a process: nofile=1024:4096."),
    Flag("--sysctl", LIST, "NAME=VALUE", "Kernel parameter of its namespaces."),
    Flag("--oom-score-adj", NUMBER, "N", "How ready the kernel kills it when memory is out (-1000 to 1000)."),
    Flag("--cgroup-parent", TEXT, "CGROUP", "Its cgroup is below this one."),
    Flag("--userns", TEXT, "MODE", "User namespace: host, keep-id, auto, nomap."),
    Flag("--uidmap", LIST, "INSIDE:HOST:COUNT", "User ids of its user namespace."),
    Flag("--gidmap", LIST, "INSIDE:HOST:COUNT", "Group ids of its user namespace."),
    Flag("--ipc", TEXT, "MODE", "IPC namespace: private, host, container:NAME."),
    Flag("--pid", TEXT, "MODE", "Process namespace: private, host, container:NAME."),
    Flag("--uts", TEXT, "MODE", "Host name's namespace: private, host, container:NAME."),
    Flag("--cgroupns", TEXT, "MODE", "Cgroup namespace: private, host, container:NAME."),
)
CREATE = (*IDENTITY, *IMAGE, *PROCESS, *LIFE, *FILES, *NETWORK, *LIMITS, *CONFINEMENT)
RUN = (
    Flag("--explain", SWITCH, "", "Print every step that would be taken, and take none."),
    Flag("-d --detach", SWITCH, "", "Run it in the background and print its id."),
    Flag("-a --attach", LIST, "STREAM", "Only stdin, stdout or stderr."),
    Flag("--detach-keys", TEXT, "KEYS", "Keys that leave the container running.", "ctrl-p,ctrl-q"),
    Flag("--sig-proxy", SWITCH, "", "Pass signals on to the container (true).", True),
    *CREATE,
)
