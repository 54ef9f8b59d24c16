"""A QEMU guest made of this machine's own parts: Debian's cloud kernel, Python, busybox, rundlet.

    initramfs (cpio "newc")
      /init            binds / over itself, since the first root cannot be pivoted; then /start
      /start           mounts proc, sysfs, devtmpfs, tmpfs; runs the checks, or systemd which runs them
      /checks          tests/vm/checks; /src/rundlet; /usr/bin/python3.11 and its library; /bin/busybox
      /site            packages that rundletd imports, where a guest runs that

The checks print one line "RESULT {json}" on the serial console and power the machine off.
"""

import glob
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
CACHE = ROOT / ".cache" / "vm"
BOOT_TIMEOUT_S = 280
_MARK = "RESULT "
_PYTHON = "/usr/bin/python3.11"
_SYSTEMD = "/lib/systemd/systemd"
_LEFT_OUT = (
    "test", "tests", "idlelib", "lib2to3", "tkinter", "ensurepip", "pydoc_data", "turtledemo", "unittest",
    "distutils", "config-3.11-x86_64-linux-gnu", "lib-dynload",
)  # fmt: skip
_LARGE_MODULES = "_codecs _crypt _curses _dbm _gdbm _hashlib _lzma _sqlite3 _ssl _test _xx readline".split()
_MODULES = ("drivers/block/loop.ko", "block/bfq.ko")
_IPTABLES = "/usr/sbin/xtables-nft-multi"
_IPTABLES_NAMES = ("iptables-restore", "ip6tables-restore")
_IPTABLES_MODULES = [f"/usr/lib/x86_64-linux-gnu/xtables/libxt_{name}.so" for name in ("standard", "mark")]
_CRIU_MODULES = (  # in the order of their dependencies
    "net/ipv4/inet_diag.ko", "net/ipv4/tcp_diag.ko", "net/ipv4/udp_diag.ko", "net/ipv4/raw_diag.ko",
    "net/unix/unix_diag.ko", "net/netlink/netlink_diag.ko", "net/packet/af_packet_diag.ko",
    "lib/libcrc32c.ko", "net/netfilter/nfnetlink.ko", "net/netfilter/nf_tables.ko",
    "net/ipv4/netfilter/nf_defrag_ipv4.ko", "net/ipv6/netfilter/nf_defrag_ipv6.ko",
    "net/netfilter/nf_conntrack.ko", "net/netfilter/nf_conntrack_netlink.ko",
    "net/netfilter/x_tables.ko", "net/netfilter/nft_compat.ko", "net/netfilter/xt_mark.ko",
)  # fmt: skip
_ENGINE_MODULES = (
    "fs/overlayfs/overlay.ko",
    "drivers/net/veth.ko",
    "net/llc/llc.ko",
    "net/802/stp.ko",
    "net/bridge/bridge.ko",
)
_DIRECTORIES = "proc sys dev run tmp mnt root etc var var/tmp usr usr/bin usr/sbin bin sbin lib lib64".split()
_APPLETS = "sh mount cat sleep insmod chroot gzip".split()

_INIT = """#!/bin/busybox sh
busybox mount -o bind / /mnt
cd /mnt
busybox mount -o move . /
exec busybox chroot . /start
"""
_START = """#!/bin/busybox sh
export PATH=/usr/bin:/usr/sbin:/bin:/sbin HOME=/root
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t securityfs securityfs /sys/kernel/security
mount -t devtmpfs dev /dev
busybox mkdir /dev/pts
mount -t devpts devpts /dev/pts
mount -t tmpfs run /run
mount -t tmpfs tmp /tmp
busybox ip link set lo up
insmod /modules/loop.ko max_loop=1
for name in {modules}; do insmod /modules/$name; done
{run}
"""
_RUN_CHECKS = """mount -t cgroup2 cgroup2 /sys/fs/cgroup
exec /usr/bin/python3.11 /checks/runner.py {kind}
"""
_RUN_SYSTEMD = "exec /lib/systemd/systemd --unit=checks.service --log-level=warning --show-status=no\n"
_UNIT = """[Unit]
DefaultDependencies=no
[Service]
Type=oneshot
ExecStart=/usr/bin/python3.11 /checks/runner.py {kind}
Environment=PATH=/usr/bin:/usr/sbin:/bin:/sbin PYTHONPATH=/src:/site
StandardOutput=tty
StandardError=tty
TTYPath=/dev/ttyS0
"""


class Guest(NamedTuple):
    """What a kind of guest has besides Python, busybox and rundlet; `modules` are loaded at its start.

    With `has_daemon` it can run the engine and rundletd: all of Python's library, and the packages that it needs.
    """

    has_systemd: bool
    kernel_flags: str = ""
    programs: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    has_daemon: bool = False


GUESTS = {
    "unified": Guest(False),
    "systemd": Guest(True),
    "hybrid": Guest(True, "systemd.unified_cgroup_hierarchy=0"),
    "checkpoint": Guest(False, "", ("criu", "ip", "tar", _IPTABLES), _CRIU_MODULES),
    "engine": Guest(
        False,
        "",
        ("criu", "ip", "tar", "apparmor_parser", _IPTABLES),
        (*_CRIU_MODULES, *_ENGINE_MODULES),
        has_daemon=True,
    ),
    "selinux": Guest(False, "security=selinux", ("checkpolicy", "ip"), _ENGINE_MODULES, has_daemon=True),
    "kubelet": Guest(True, "", ("runc",), ("fs/overlayfs/overlay.ko",), has_daemon=True),
}


class Entry(NamedTuple):
    """A file, directory or link of the archive."""

    path: str
    mode: int
    data: bytes = b""
    modified_s: int = 0  # what Python has compiled counts only beside a source of the same time


def missing(kind: str) -> str:
    """What the host lacks for a guest, "" when nothing."""
    guest = GUESTS[kind]
    systemd = [_SYSTEMD] if guest.has_systemd else []
    for name in ("qemu-system-x86_64", "busybox", _PYTHON, *systemd, *guest.programs):
        if shutil.which(name) is None:
            return name
    if guest.has_daemon and sys.version_info[:2] != (3, 11):
        return "Python 3.11 with the engine's requirements"
    return "" if kernel_image() else "Debian's cloud kernel image"


def kernel_image() -> str:
    """Of RUNDLET_VM_KERNEL, or what tools/setup.sh debian-vm unpacked."""
    found = glob.glob(str(CACHE / "root/boot/vmlinuz-*"))
    return os.environ.get("RUNDLET_VM_KERNEL", "") or max(found, default="")


# -- the archive ---------------------------------------------------------------------


def _file(path: str, source: str | Path) -> Entry:
    source = Path(source)
    info = source.stat()
    return Entry(path, 0o100000 | info.st_mode & 0o777, source.read_bytes(), int(info.st_mtime))


def _script(path: str, text: str) -> Entry:
    return Entry(path, 0o100755, text.encode())


def _link(path: str, to: str) -> Entry:
    return Entry(path, 0o120777, to.encode())


def _tree(target: str, source: Path, *, leave_out: Iterable[str] = ()) -> Iterator[Entry]:
    for directory, names, files in os.walk(source):
        names[:] = sorted(name for name in names if name not in leave_out)
        below = Path(directory).relative_to(source)
        yield Entry(os.path.normpath(f"{target}/{below}"), 0o40755)
        for name in sorted(files):
            path = Path(directory, name)
            if path.is_file():
                yield _file(os.path.normpath(f"{target}/{below}/{name}"), path)


def _program(path: str, *modules: str) -> Iterator[Entry]:
    """A program with the libraries that it and its modules load."""
    for needed in dict.fromkeys((path, *modules, *_libraries(path, *modules))):
        yield _file(needed.lstrip("/"), needed)


def _libraries(*paths: str) -> list[str]:
    done = subprocess.run(["ldd", *paths], capture_output=True, text=True, check=True)
    return [word for word in done.stdout.split() if word.startswith("/") and not word.endswith(":")]


def _python(*, whole: bool) -> Iterator[Entry]:
    library = Path("/usr/lib/python3.11")
    left_out = [name for name in _LEFT_OUT if name != "unittest"] if whole else _LEFT_OUT
    yield from _tree("usr/lib/python3.11", library, leave_out=left_out)
    yield from _program(_PYTHON, *_dynamic_modules(library, leave_out=() if whole else _LARGE_MODULES))


def _dynamic_modules(library: Path, *, leave_out: Iterable[str]) -> list[str]:
    """Modules in C, mostly without those that bring large libraries."""
    paths = sorted(glob.glob(f"{library}/lib-dynload/*.so"))
    return [path for path in paths if not any(f"/{name}" in path for name in leave_out)]


def _packages() -> Iterator[Entry]:
    """What the runtime's lock names, as this interpreter has it installed, with what is compiled of it."""
    lock = (ROOT / "requirements/runtime.txt").read_text().splitlines()
    names = [line.partition("==")[0] for line in lock if "==" in line and line[0] not in " #"]
    files = [file for name in names for file in importlib.metadata.files(name) or ()]
    home = Path(sysconfig.get_path("purelib"))
    for top in sorted({file.parts[0] for file in files} - {".."}):
        if (home / top).is_dir():
            yield from _tree(f"site/{top}", home / top)
        else:
            yield _file(f"site/{top}", home / top)
    modules = [str(home / file) for file in files if file.suffix == ".so"]
    yield from (_file(path.lstrip("/"), path) for path in dict.fromkeys(_libraries(*modules)))


def _systemd(kind: str) -> Iterator[Entry]:
    private = sorted(glob.glob("/usr/lib/x86_64-linux-gnu/systemd/*.so"))
    yield from _program(_SYSTEMD, *private)
    yield from _tree("usr/lib/systemd/system", Path("/usr/lib/systemd/system"))
    yield Entry("etc/systemd/system/checks.service", 0o100644, _UNIT.format(kind=kind).encode())
    yield Entry("etc/machine-id", 0o100644, b"0123456789abcdef0123456789abcdef\n")
    yield Entry("etc/os-release", 0o100644, b"ID=guest\n")


def _entries(kind: str) -> Iterator[Entry]:
    yield from (Entry(name, 0o40755) for name in _DIRECTORIES)
    yield _script("init", _INIT)
    guest = GUESTS[kind]
    run = _RUN_SYSTEMD if guest.has_systemd else _RUN_CHECKS.format(kind=kind)
    yield _script("start", _START.format(run=run, modules=" ".join(map(os.path.basename, guest.modules))))
    yield _file("bin/busybox", shutil.which("busybox") or "")
    yield from (_link(f"bin/{name}", "busybox") for name in _APPLETS)
    kernel = next((CACHE / "root/lib/modules").iterdir()) / "kernel"
    yield from (
        _file(f"modules/{os.path.basename(name)}", kernel / name) for name in (*_MODULES, *guest.modules)
    )
    for name in guest.programs:
        yield from _program(os.path.realpath(shutil.which(name) or name))
    if _IPTABLES in guest.programs:
        yield from (_file(path.lstrip("/"), path) for path in _IPTABLES_MODULES)
        yield from (_link(f"usr/sbin/{name}", _IPTABLES) for name in _IPTABLES_NAMES)
    yield from _python(whole=guest.has_daemon)
    yield from _tree("src/rundlet", ROOT / "src/rundlet", leave_out=() if guest.has_daemon else ("proto",))
    if guest.has_daemon:
        yield from _packages()
        yield _file("checks/node.py", ROOT / "tests/cri/node.py")
    yield from _tree("checks", Path(__file__).parent / "checks", leave_out=("__pycache__",))
    yield Entry("etc/passwd", 0o100644, b"root:x:0:0:root:/root:/bin/sh\n")
    yield Entry("etc/group", 0o100644, b"root:x:0:\n")
    if guest.has_systemd:
        yield from _systemd(kind)


def write_archive(path: Path, kind: str) -> None:
    """The initramfs, in the kernel's initramfs buffer format, with every parent before its children."""
    entries: dict[str, Entry] = {}
    for entry in _entries(kind):
        for parent in reversed(Path(entry.path).parents):
            if str(parent) != ".":
                entries.setdefault(str(parent), Entry(str(parent), 0o40755))
        entries[entry.path] = entry
    with path.open("wb") as file:
        for number, entry in enumerate((*entries.values(), Entry("TRAILER!!!", 0)), 1):
            _write_entry(file.write, entry, number)


def _write_entry(write: Callable[[bytes], object], entry: Entry, number: int) -> None:
    name = entry.path.encode() + b"\0"
    fields = (number, entry.mode, 0, 0, 1, entry.modified_s, len(entry.data), 0, 0, 0, 0, len(name), 0)
    header = b"070701" + b"".join(b"%08x" % field for field in fields)
    write(header + name + bytes(-(len(header) + len(name)) % 4))
    write(entry.data + bytes(-len(entry.data) % 4))


# -- the machine ---------------------------------------------------------------------


def boot(archive: Path, log: Path, kind: str) -> dict[str, str]:
    """Boot, and what the checks found: {name: "ok" or what went wrong}; the console goes to `log`."""
    command = [
        "qemu-system-x86_64", "-machine", "pc,accel=tcg", "-cpu", "max",
        "-m", "768", "-smp", "1", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
        "-serial", "stdio", "-kernel", kernel_image(), "-initrd", str(archive),
        "-append", "console=ttyS0 quiet loglevel=3 panic=-1 rdinit=/init reboot=t random.trust_cpu=on "
        + GUESTS[kind].kernel_flags,
    ]  # fmt: skip
    with log.open("wb") as console:
        subprocess.run(command, stdin=subprocess.DEVNULL, stdout=console, timeout=BOOT_TIMEOUT_S, check=True)
    lines = log.read_text(errors="replace").splitlines()
    results = [line.partition(_MARK)[2] for line in lines if _MARK in line]
    if not results:
        raise AssertionError("the guest gave no result; its console ends with:\n" + "\n".join(lines[-40:]))
    return json.loads(results[-1])
