import pytest

from rundlet.cgroup.group import Group
from rundlet.cgroup.layout import (
    Layout,
    detect_layout,
    make_layout,
    parse_mounts,
    parse_own_groups,
    start_at_own,
)
from rundlet.errors import FailedPrecondition

V1 = """\
23 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 master:1 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory,clone_children
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw,nsdelegate
"""
V1_GROUPS = "4:memory:/a/b\n3:cpu,cpuacct:/\n2:hugetlb:/\n1:name=systemd:/user.slice\n0::/user.slice\n"
V2 = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"


def lay_out(mountinfo, groups, controllers=()):
    return make_layout(parse_mounts(mountinfo), parse_own_groups(groups), lambda _: list(controllers))


def test_version_1_and_hybrid():
    layout = lay_out(V1, V1_GROUPS, ["hugetlb"])
    assert layout.version == 1
    assert layout.mounts == {
        "cpu": "/sys/fs/cgroup/cpu,cpuacct",
        "cpuacct": "/sys/fs/cgroup/cpu,cpuacct",
        "memory": "/sys/fs/cgroup/memory",
        "name=systemd": "/sys/fs/cgroup/systemd",
    }
    assert layout.own["memory"] == "/a/b"
    assert layout.own["name=systemd"] == "/user.slice"
    assert layout.tracking == "/sys/fs/cgroup/unified"


def test_version_2():
    layout = lay_out(V2, "0::/user.slice/x\n", ["cpu", "memory"])
    assert layout.version == 2
    assert layout.mounts == dict.fromkeys(["", "cpu", "memory"], "/sys/fs/cgroup")
    assert layout.own["memory"] == "/user.slice/x"


def test_version_2_with_only_systemds_old_hierarchy_beside_it():
    old = "40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n"
    assert lay_out(old + V2, "1:name=systemd:/\n0::/\n", ["memory"]).version == 2


@pytest.mark.parametrize(
    ("root", "path", "own"),
    [
        ("/", "/docker/1/sub", "/docker/1/sub"),
        ("/docker/1", "/docker/1/sub", "/sub"),  # inside a container without a cgroup namespace
        ("/docker/1", "/docker/1", "/"),
        ("/docker/1", "/docker/12", "/"),
        ("/../..", "/", "/"),  # a mount from outside this cgroup namespace
        ("/", "/../other", "/"),  # a process outside this cgroup namespace
    ],
)
def test_own_path_below_the_mount(root, path, own):
    mountinfo = f"35 31 0:32 {root} /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
    assert lay_out(mountinfo, f"4:memory:{path}\n").own == {"memory": own}


def test_of_two_mounts_the_later_counts():
    again = "99 31 0:32 / /mnt/memory rw - cgroup cgroup rw,memory\n"
    assert lay_out(V1 + again, V1_GROUPS).mounts["memory"] == "/mnt/memory"


def test_mount_points_with_odd_names():
    mountinfo = "35 31 0:32 / /mnt/a\\040b\\134c rw - cgroup cgroup rw,memory\n"
    assert lay_out(mountinfo, "4:memory:/\n").mounts == {"memory": "/mnt/a b\\c"}


def test_paths_may_hold_colons():
    assert parse_own_groups("0::/a:b:c\n") == {"": "/a:b:c"}


def test_without_any_cgroup_file_system():
    with pytest.raises(FailedPrecondition):
        lay_out("23 1 8:1 / / rw - ext4 /dev/sda1 rw\n", "0::/\n")


def test_this_host():
    try:
        layout = detect_layout()
    except FailedPrecondition:
        pytest.skip("a cgroup file system not on this host")
    assert layout.version in (1, 2)
    assert layout.mounts.keys() == layout.own.keys()


def test_a_users_groups_begin_at_the_delegated_one() -> None:
    keys = ("", "memory")
    layout = Layout(2, dict.fromkeys(keys, "/sys/fs/cgroup"), dict.fromkeys(keys, "/user.slice/run-1.scope"))
    own = start_at_own(layout)
    assert own.mounts == dict.fromkeys(keys, "/sys/fs/cgroup/user.slice/run-1.scope")
    assert (
        Group(own, "/rundlet/web").directory("memory") == "/sys/fs/cgroup/user.slice/run-1.scope/rundlet/web"
    )


def test_without_any_hierarchy_a_group_is_nothing() -> None:
    group = Group(Layout(1, {}, {}), "/rundlet/web")
    group.make()
    assert (group.directories(), group.pids(), group.exists(), group.join_files()) == ({}, [], False, ())
    group.kill()
    group.remove()
