"""Rare fields of config.json beside runc and crun; those that a peer of this host's version lacks name it not."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.oci.runtime import Change, Runtime, make_config, make_rootfs
from tests.oci.test_differential import Case, both, capabilities, linux, mount, process, run, runtimes, user
from tests.runtime.configs import own_tree

__all__ = ["runtimes"]

pytestmark = [pytest.mark.kernel, pytest.mark.differential]

ROOT_ID = 200_000
MAP = [{"containerID": 0, "hostID": ROOT_ID, "size": 65536}]
EVERY = ["CAP_SYS_ADMIN", "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_SETUID", "CAP_NET_ADMIN", "CAP_MKNOD"]
FULL = capabilities(bounding=EVERY, effective=EVERY, permitted=EVERY)
OPTIONAL = "sed 's/ - .*//' /proc/self/mountinfo | awk '$5 == \"/\"' | cut -d' ' -f7- | sed 's/:[0-9]*//g'"


def namespaces(*kinds: str) -> Change:
    return linux(namespaces=[{"type": kind} for kind in ("mount", "pid", "ipc", "uts", "network", *kinds)])


def idmapped(config: dict[str, Any]) -> None:
    mapping = [{"containerID": 0, "hostID": 1000, "size": 100}]
    config["mounts"].append(
        {"destination": "/mnt", "type": "bind", "source": "/usr/share/doc", "options": ["bind", "idmap"],
         "uidMappings": mapping, "gidMappings": mapping}
    )  # fmt: skip


PLAIN = [
    Case("recursive read-only", "touch /mnt/below/x 2>&1; touch /mnt/x 2>&1", mount("/mnt", "bind", "tree", "rbind", "rro")),
    Case("top read-only", "touch /mnt/below/x && rm /mnt/below/x; touch /mnt/x 2>&1", mount("/mnt", "bind", "tree", "rbind", "ro")),
    Case("copy up", "cat /data/file; echo x >/data/new; ls /data", mount("/data", "tmpfs", "tmpfs", "tmpcopyup"), ("crun",)),
    Case("a tmpfs without a mode", "stat -c %a /data; stat -c %a /tmp", both(
        mount("/data", "tmpfs", "tmpfs"), mount("/tmp", "tmpfs", "tmpfs")), ("runc",)),
    Case("idmapped bind", "stat -c %u:%g /mnt", idmapped, ("crun",)),
    Case("personality", "uname -m", linux(personality={"domain": "LINUX32"}), ("crun",)),
    Case("shared root", OPTIONAL, linux(rootfsPropagation="shared"), ("crun",)),
    Case("slave root", OPTIONAL, linux(rootfsPropagation="slave"), ("runc",)),
    Case("private root", OPTIONAL, linux(rootfsPropagation="private")),
    Case("domain name", "cat /proc/sys/kernel/domainname", lambda config: config.update(domainname="example.org"), ("crun",)),
    Case("terminal device", "test -e /dev/console && echo there"),
    Case("PATH of the configuration", "tool", process(env=["PATH=/data:/bin"])),
    Case("cgroup file systems", "ls /sys/fs/cgroup | grep -v -e unified -e rdma | sort", namespaces("cgroup"), ("runc",)),
]  # fmt: skip

IN_USER_NAMESPACE = [
    Case("ids", "id -u; id -g; cat /proc/self/uid_map /proc/self/gid_map"),
    Case("another user", "id -u; id -G; echo x >/dev/stdout", user(uid=1000, gid=1000, additionalGids=[7]), ("crun",)),
    Case("status", "grep -E '^(Cap|Uid|Gid|Groups|NoNewPrivs)' /proc/self/status"),
    Case("status of a user", "grep -E '^(Cap|Uid|Gid|Groups)' /proc/self/status", user(uid=1000, gid=1000)),
    Case("mounts", "cut -d' ' -f5 /proc/self/mountinfo | grep -v cgroup | sort"),
    Case("devices", "cd /dev; stat -c '%n %t %T' null zero full random urandom tty; echo x >null; head -c 3 zero | wc -c"),
    Case("rights", "mknod /tmp/x c 1 3 2>&1; mount -t tmpfs x /mnt 2>&1; ls /mnt; chown 5 /data/file; stat -c %u /data/file; chown 0 /data/file", FULL),
    Case("sysctl", "cat /proc/sys/net/ipv4/ip_forward; echo 0 >/proc/sys/net/ipv4/ip_forward 2>&1", linux(sysctl={"net.ipv4.ip_forward": "1"})),
    Case("a bind", "stat -c %u /mnt/file; cat /mnt/file", mount("/mnt", "bind", "rootfs/data", "rbind", "ro"), ("crun",)),
    Case("hostname", "hostname", lambda config: config.update(hostname="some-name")),
    Case("oom score", "cat /proc/self/oom_score_adj", process(oomScoreAdj=321)),
]  # fmt: skip


@pytest.fixture(scope="module")
def plain_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("plain")
    return furnish(directory)


@pytest.fixture(scope="module")
def owned_bundle() -> Path:
    """Owned by the root of the user namespace, below directories that everybody may pass: runc 1.1 wants that.

    The node's own /run is such a place, and ends with the node.
    """
    directory = Path(tempfile.mkdtemp(dir="/run"))
    directory.chmod(0o755)
    own_tree(furnish(directory) / "rootfs", ROOT_ID)
    return directory


def furnish(directory: Path) -> Path:
    from rundlet.kernel import mount as m

    rootfs = make_rootfs(directory)
    for applet in ("awk", "rm", "chown", "uname"):
        os.link(rootfs / "bin/busybox", rootfs / "bin" / applet)
    (rootfs / "mnt").mkdir()
    tool = rootfs / "data/tool"
    tool.write_text("#!/bin/sh\necho tool\n")
    tool.chmod(0o755)
    (directory / "tree/below").mkdir(parents=True)
    m.mount("tmpfs", str(directory / "tree/below"), "tmpfs")
    return directory


def compare(case: Case, change: Change, runtimes: Callable[[str], Runtime], bundle: Path) -> None:
    config = make_config("sh", "-c", case.script, change=both(change, case.change))
    outcomes = {}
    for name in ("ours", *case.peers):
        outcome = run(runtimes(name), bundle, config)
        outcomes[name] = (outcome.code, outcome.stdout, outcome.stderr)
    for peer in case.peers:
        assert outcomes["ours"] == outcomes[peer], (peer, outcomes)


@pytest.mark.parametrize("case", PLAIN, ids=lambda case: case.name)
def test_a_rare_field_does_the_same(
    case: Case, runtimes: Callable[[str], Runtime], plain_bundle: Path
) -> None:
    compare(case, lambda _: None, runtimes, plain_bundle)


@pytest.mark.parametrize("case", IN_USER_NAMESPACE, ids=lambda case: case.name)
def test_a_user_namespace_is_the_same(
    case: Case, runtimes: Callable[[str], Runtime], owned_bundle: Path
) -> None:
    change = both(namespaces("user", "cgroup"), linux(uidMappings=MAP, gidMappings=MAP))
    compare(case, change, runtimes, owned_bundle)
