"""The engine on a kernel with SELinux and a policy that knows the types of containers; it permits and labels."""

import os
import subprocess

from engine import BASE, Pod, raises

from rundlet.engine.options import Mount, Security, SelinuxLabel
from rundlet.errors import InvalidArgument

CLASSES = (
    "security process system capability filesystem file dir lnk_file chr_file blk_file sock_file fifo_file"
)
# In the kernel's order (security/selinux/include/initial_sid_to_string.h).
SIDS = (
    "kernel security unlabeled fs file file_labels init any_socket port netif netmsg node igmp_packet icmp_socket"
    " tcp_socket sysctl_modprobe sysctl sysctl_fs sysctl_kernel sysctl_net sysctl_net_unix sysctl_vm sysctl_dev kmod"
    " policy scmp_packet devnull"
)
TYPES = "kernel_t unlabeled_t container_t container_file_t spc_t"
CATEGORIES = 1024


def write_policy(path):
    """policy.conf of checkpolicy(8) with multi-level security; classes that it lacks are allowed."""
    types = TYPES.split()
    unlabeled = "system_u:object_r:unlabeled_t:s0"
    lines = [f"class {name}" for name in CLASSES.split()] + [f"sid {name}" for name in SIDS.split()]
    # The kernel wants to know these of processes; the rest is there because a class must have something.
    lines += [f"class {name} {{ read write transition dyntransition }}" for name in CLASSES.split()]
    lines += ["sensitivity s0;", "dominance { s0 }", *(f"category c{n};" for n in range(CATEGORIES))]
    lines += [f"level s0:c0.c{CATEGORIES - 1};", "mlsconstrain file { read write } ( l1 dom l2 );"]
    lines += ["attribute everything;", *(f"type {name}, everything;" for name in types)]
    lines += ["allow everything everything:process *;", "role object_r;", "role system_r;"]
    lines += [f"role system_r types {{ {TYPES} }};"]
    lines += [f"user system_u roles {{ system_r object_r }} level s0 range s0 - s0:c0.c{CATEGORIES - 1};"]
    lines += [
        f"sid {name} {'system_u:system_r:kernel_t:s0' if name == 'kernel' else unlabeled}"
        for name in SIDS.split()
    ]
    lines += [f"fs_use_xattr {name} {unlabeled};" for name in ("ext4", "overlay")]
    lines += [f"fs_use_trans {name} {unlabeled};" for name in ("tmpfs", "devtmpfs", "devpts", "mqueue")]
    lines += [f"fs_use_task {name} {unlabeled};" for name in ("pipefs", "sockfs")]
    lines += [
        f"genfscon {name} / {unlabeled}" for name in ("proc", "sysfs", "rootfs", "cgroup2", "selinuxfs")
    ]
    with open(path, "w") as file:
        file.write("\n".join(lines) + "\n")


def load_policy():
    os.makedirs("/tmp/policy")
    write_policy("/tmp/policy/conf")
    command = ["checkpolicy", "-M", "-U", "allow", "-o", "/tmp/policy/binary", "/tmp/policy/conf"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["busybox", "mount", "-t", "selinuxfs", "selinuxfs", "/sys/fs/selinux"], check=True)
    with open("/tmp/policy/binary", "rb") as policy, open("/sys/fs/selinux/load", "wb", buffering=0) as file:
        file.write(policy.read())


load_policy()


def label_of(path):
    return os.getxattr(path, "security.selinux").rstrip(b"\0").decode()


def level_of(label):
    return label.split(":", 3)[3]


def first_label(pod, container):
    with open(f"/proc/{pod.engine.containers.status(container).pid}/attr/current") as file:
        return file.read().rstrip("\0\n")


def check_a_pods_containers_share_categories_that_no_other_pod_has():
    levels = set()
    for name in ("one", "two"):
        with Pod(name) as pod:
            labels = {first_label(pod, pod.shell("sleep 1000", name=each)) for each in "ab"}
            assert len(labels) == 1, labels
            (label,) = labels
            assert label.startswith("system_u:system_r:container_t:s0:c"), label
            levels.add(level_of(label))
    assert len(levels) == 2, levels


def check_files_have_the_label_of_their_container():
    with Pod("files") as pod:
        container = pod.shell("echo x > /tmp/file; echo x > /dev/shm/file; sleep 1000")
        label = first_label(pod, container)
        assert pod.run(container, "cat", "/tmp/file", "/dev/shm/file").stdout == b"x\nx\n"
        root = f"/proc/{pod.engine.containers.status(container).pid}/root"
        wanted = f"system_u:object_r:container_file_t:{level_of(label)}"
        for path in ("/tmp/file", "/dev/shm/file", "/etc/resolv.conf", "/etc/hosts", "/bin/busybox"):
            assert label_of(root + path) == wanted, (path, label_of(root + path), wanted)
        assert pod.run(container, "cat", "/proc/self/attr/current").stdout.rstrip(b"\0\n").decode() == label


def check_a_mount_is_relabelled_when_that_is_asked_for():
    for name in ("plain", "asked"):
        os.makedirs(f"{BASE}/{name}/deep")
    with Pod("mounts") as pod:
        plain = Mount("/plain", host_path=f"{BASE}/plain")
        asked = Mount("/asked", host_path=f"{BASE}/asked", selinux_relabel=True)
        container = pod.shell("sleep 1000", mounts=(plain, asked))
        level = level_of(first_label(pod, container))
        assert label_of(f"{BASE}/asked/deep") == f"system_u:object_r:container_file_t:{level}"
        assert "container_file_t" not in label_of(f"{BASE}/plain/deep")


def check_what_is_asked_for_wins_and_the_unknown_is_refused():
    with Pod("options") as pod:
        wanted = Security(selinux=SelinuxLabel(type="spc_t", level="s0:c5,c6"))
        container = pod.shell("sleep 1000", security=wanted)
        assert first_label(pod, container) == "system_u:system_r:spc_t:s0:c5,c6"
        with raises(InvalidArgument, "no label"):
            pod.shell("sleep 1000", name="other", security=Security(selinux=SelinuxLabel(type="nothing_t")))
    with Pod("privileged", security=Security(privileged=True)) as pod:
        container = pod.shell("sleep 1000", security=Security(privileged=True))
        assert first_label(pod, container) == "system_u:system_r:spc_t:s0"
