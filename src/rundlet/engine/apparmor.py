"""AppArmor profiles of containers, on a kernel that has AppArmor (apparmor.d(5), apparmor_parser(8)).

    /sys/kernel/security/apparmor/profiles    a line "name (mode)" for each loaded profile

The default profile is loaded when the first container needs it and stays until the next boot.  It takes
from a container what namespaces, capabilities and masked paths leave it of /proc and /sys, and mount(2).
"""

import shutil
import subprocess
from functools import cache

from rundlet.engine.options import Security
from rundlet.errors import FailedPrecondition, InvalidArgument

DEFAULT_NAME = "rundlet-default"
_PROFILES = "/sys/kernel/security/apparmor/profiles"
_PATH = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"
_TIMEOUT_S = 30.0

DEFAULT_PROFILE = f"""\
profile {DEFAULT_NAME} flags=(attach_disconnected,mediate_deleted) {{
  network,
  capability,
  file,
  umount,
  deny mount,

  signal (receive) peer=unconfined,
  signal (send,receive) peer={DEFAULT_NAME},
  ptrace (trace,read,tracedby,readby) peer={DEFAULT_NAME},

  deny /proc/* w,
  deny /proc/{{acpi,asound,bus,driver,fs,irq,scsi,sys,tty}}/** wklx,
  deny /proc/{{kcore,kallsyms,sysrq-trigger}} rwklx,
  deny /sys/{{block,bus,class,dev,devices,firmware,hypervisor,kernel,module,power}}/** wklx,
  deny /sys/fs/{{bpf,ext4,fuse,pstore,selinux,xfs}}/** wklx,
  deny /sys/firmware/** r,
  deny /sys/kernel/security/** r,
}}
"""


def choose_profile(security: Security, *, enabled: bool) -> str:
    """The profile that the first process is put under, loaded; "" for none.

    Raises InvalidArgument for a profile that is not loaded, or any on a kernel without AppArmor,
    FailedPrecondition when the default one is asked for and cannot be loaded.
    """
    wanted = security.apparmor
    if security.privileged:
        return ""
    if wanted is None:
        return _load_default() if enabled and find_parser() else ""
    if wanted.kind == "unconfined":
        return "unconfined" if enabled else ""
    if not enabled:
        name = wanted.path or wanted.kind
        raise InvalidArgument(f"security.apparmor: cannot load {name!r}: AppArmor is off on this host")
    if wanted.kind == "runtime-default":
        return _load_default()
    if wanted.path not in read_loaded():
        raise InvalidArgument(
            f"security.apparmor: profile {wanted.path!r} is not loaded", hint="load it with apparmor_parser"
        )
    return wanted.path


def read_loaded(path: str = _PROFILES) -> frozenset[str]:
    """The names of the loaded profiles; none when they cannot be read."""
    try:
        with open(path, encoding="utf-8") as file:
            return frozenset(line.rpartition(" (")[0] for line in file)
    except OSError:
        return frozenset()


@cache
def find_parser() -> str:
    return shutil.which("apparmor_parser", path=_PATH) or ""


def _load_default() -> str:
    if DEFAULT_NAME in read_loaded():
        return DEFAULT_NAME
    parser = find_parser()
    if not parser:
        raise FailedPrecondition(
            f"security.apparmor: cannot load {DEFAULT_NAME}: apparmor_parser is not on this host",
            hint="install the package apparmor",
        )
    done = subprocess.run(
        [parser, "--replace", "--skip-cache", "--quiet"],
        input=DEFAULT_PROFILE.encode(),
        capture_output=True,
        timeout=_TIMEOUT_S,
        check=False,
        env={"PATH": _PATH},
    )
    if done.returncode:
        said = " ".join(done.stderr.decode(errors="replace").split())
        raise FailedPrecondition(f"security.apparmor: apparmor_parser refused {DEFAULT_NAME}: {said}")
    return DEFAULT_NAME
