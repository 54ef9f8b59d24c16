"""The files of a pod's directory, which all its containers see.

    <run_root>/pods/<id>/hosts        /etc/hosts
                         hostname     /etc/hostname
                         resolv.conf  /etc/resolv.conf
                         shm/         /dev/shm, a tmpfs of the pod (unless IPC is the node's)

They are written before the first container is made and go with the pod.
"""

import os
from collections.abc import Sequence

from rundlet.archive.tree import remove_tree
from rundlet.engine.mounts import PodFiles
from rundlet.engine.options import Dns, PodOptions
from rundlet.engine.selinux import relabel
from rundlet.kernel.failure import translating
from rundlet.kernel.mount import MNT_DETACH, MS_NODEV, MS_NOEXEC, MS_NOSUID, UMOUNT_NOFOLLOW, mount, umount
from rundlet.step import step

_LOCAL_HOSTS = """\
127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::0\tip6-localnet
ff00::0\tip6-mcastprefix
ff02::1\tip6-allnodes
ff02::2\tip6-allrouters
"""


_NEIGHBOURS = "# on the same networks\n"
_NEIGHBOURS_END = "# end of neighbours\n"


def format_resolv_conf(dns: Dns) -> str:
    """resolv.conf(5) of the options; "" when they say nothing."""
    lines = []
    if dns.searches:
        lines.append(f"search {' '.join(dns.searches)}")
    lines += [f"nameserver {server}" for server in dns.servers]
    if dns.options:
        lines.append(f"options {' '.join(dns.options)}")
    return "".join(f"{line}\n" for line in lines)


def format_hosts(hostname: str, ips: tuple[str, ...]) -> str:
    """hosts(5) of a pod with its own network."""
    return _LOCAL_HOSTS + "".join(f"{ip}\t{hostname}\n" for ip in ips)


def locate_files(directory: str, options: PodOptions) -> PodFiles:
    shm = "/dev/shm" if options.security.namespaces.ipc == "node" else f"{directory}/shm"  # noqa: S108
    return PodFiles(f"{directory}/hosts", f"{directory}/hostname", f"{directory}/resolv.conf", shm)


def write_files(
    directory: str, options: PodOptions, hostname: str, ips: tuple[str, ...], label: str = ""
) -> None:
    """Write hosts, hostname and resolv.conf into the existing `directory`, with the SELinux `label` if any."""
    if options.security.namespaces.network == "node":
        hosts = _read_host_file("/etc/hosts")
    else:
        hosts = format_hosts(hostname, ips)
    hosts += "".join(f"{ip}\t{name}\n" for ip, name in options.hosts)
    resolv_conf = format_resolv_conf(options.dns) or _read_host_file("/etc/resolv.conf")
    with translating(f"write the files of a pod in {directory}"), step("pod.files"):
        for name, text in (("hosts", hosts), ("hostname", f"{hostname}\n"), ("resolv.conf", resolv_conf)):
            _write_text(f"{directory}/{name}", text)
            if label:
                relabel(f"{directory}/{name}", label, "pod")


def format_neighbours(text: str, neighbours: Sequence[tuple[str, str]]) -> str:
    """hosts(5) `text` with its block of neighbours (address, name) replaced; what others wrote stays."""
    before, begin, rest = text.partition(_NEIGHBOURS)
    after = rest.partition(_NEIGHBOURS_END)[2] if begin else ""
    block = "".join(f"{ip}\t{name}\n" for ip, name in neighbours)
    return before + (f"{_NEIGHBOURS}{block}{_NEIGHBOURS_END}" if block else "") + after


def write_neighbours(path: str, neighbours: Sequence[tuple[str, str]]) -> None:
    """In place, for containers have the file bound: one write, then the rest of the longer one is cut off."""
    with translating(f"write {path}"), open(path, "r+", encoding="utf-8", errors="surrogateescape") as file:
        old = file.read()
        new = format_neighbours(old, neighbours)
        if new != old:
            raw = new.encode(errors="surrogateescape")
            size = len(old.encode(errors="surrogateescape"))
            os.pwrite(file.fileno(), raw.ljust(size, b"\n"), 0)
            os.ftruncate(file.fileno(), len(raw))


def _read_host_file(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except FileNotFoundError:
        return ""


def _write_text(path: str, text: str) -> None:
    # World-readable whatever the umask: processes of any user in the pod read it.
    with open(path, "w", encoding="utf-8", errors="surrogateescape") as file:
        os.fchmod(file.fileno(), 0o644)
        file.write(text)


def mount_shm(directory: str, size_bytes: int, label: str = "") -> None:
    """The pod's own /dev/shm (shm_overview(7)) at `directory`/shm, with the SELinux `label` if any."""
    target = f"{directory}/shm"
    context = f',context="{label}"' if label else ""
    with translating(f"mount the shared memory of a pod on {target}"), step("pod.shm"):
        os.mkdir(target, 0o1777)
        mount(
            "shm", target, "tmpfs", MS_NOSUID | MS_NOEXEC | MS_NODEV, f"mode=1777,size={size_bytes}{context}"
        )


def remove_files(directory: str) -> None:
    """Unmount and remove all of `directory`; nothing happens when it is gone."""
    try:
        umount(f"{directory}/shm", MNT_DETACH | UMOUNT_NOFOLLOW)
    except OSError:
        pass  # not mounted: the node's IPC, a reboot, or a first attempt that got this far
    remove_directory(directory)


def remove_directory(directory: str) -> None:
    """Remove it with all in it; nothing happens when it is gone."""
    with translating(f"remove {directory}"):
        remove_tree(directory)
