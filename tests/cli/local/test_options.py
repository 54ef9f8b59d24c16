"""podman's options of run that change what a container is like, on real containers."""

import os

import pytest

from tests.cli.local.test_verbs import IMAGE, host, image_archive, run

__all__ = ["host", "image_archive"]
pytestmark = pytest.mark.kernel


def sh(host, *options, script):
    """What a shell in a container with these options prints."""
    done = run(host, *options, IMAGE, "sh", "-c", script)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_the_umask_is_podman_s_whatever_the_shell_s_is(host):
    before = os.umask(0o077)
    try:
        assert sh(host, script="umask") == ["0022"]
        assert sh(host, "--umask", "0027", script="umask") == ["0027"]
    finally:
        os.umask(before)


def test_variables_are_left_out_merged_and_passed_on(host):
    assert sh(host, "--unsetenv", "PATH", script="set | busybox grep -c ^HOSTNAME= ; echo ${PATH#/}") != []
    assert sh(host, "--unsetenv-all", "-e", "A=1", script="echo $A") == ["1"]
    assert sh(host, "--env-merge", "B=${PATH}:/more", script="echo ${B##*:}") == ["/more"]
    host.environ["https_proxy"] = "http://proxy:3128"
    try:
        assert sh(host, script="echo $https_proxy") == ["http://proxy:3128"]
        assert sh(host, "--http-proxy=false", script="echo x$https_proxy") == ["x"]
    finally:
        del host.environ["https_proxy"]


def test_a_user_that_nobody_knows_gets_a_line_in_passwd(host):
    script = "busybox whoami 2>/dev/null || echo nobody-knows"
    assert sh(host, "-u", "4321:5", script=script) == ["4321"]
    assert sh(host, "-u", "4321:5", "--passwd=false", script=script) == ["nobody-knows"]


def test_groups_are_found_by_name(host):
    assert "99" in sh(host, "-u", "7:7", "--group-add", "root,99", script="id -G")
    done = run(host, "--group-add", "no-such-group", IMAGE, "true")
    assert done.returncode == 125
    assert "'no-such-group' is not in the image's /etc/group" in done.stderr


def test_host_name_and_cgroup_can_be_the_host_s(host):
    assert sh(host, "--uts", "host", script="cat /proc/sys/kernel/hostname") == [os.uname().nodename]
    own, shared = (
        sh(host, "--cgroupns", mode, script="busybox head -n 1 /proc/self/cgroup")[0].rpartition(":")[2]
        for mode in ("private", "host")
    )
    assert own == "/"
    assert len(shared) > 64


def test_the_image_may_keep_its_hosts(host):
    assert sh(host, script="busybox grep -c localhost /etc/hosts") != ["0"]
    assert run(host, "--no-hosts", IMAGE, "busybox", "test", "-s", "/etc/hosts").returncode == 1


def test_exposed_ports_are_published(host):
    made = host.rundlet("create", "--expose", "8080,9000-9001/udp", "-P", IMAGE, "true")
    assert made.returncode == 0, made.stderr
    try:
        ports = host.rundlet("port", made.stdout.strip()).stdout
        assert {line.split(" ")[0] for line in ports.splitlines()} == {"8080/tcp", "9000/udp", "9001/udp"}
    finally:
        host.rundlet("rm", made.stdout.strip())


def test_limits_reach_the_cgroup(host):
    made = host.rundlet(
        *("create", "--network", "none", "--memory", "64m", "--memory-reservation", "32m"), IMAGE, "true"
    )
    name = made.stdout.strip()
    try:
        assert made.returncode == 0, made.stderr
        assert host.inspect(name, "{{.HostConfig.MemoryReservation}}") == str(32 << 20)
        assert host.rundlet("update", "--memory-reservation", "16m", name).returncode == 0
        assert host.inspect(name, "{{.HostConfig.MemoryReservation}}") == str(16 << 20)
    finally:
        host.rundlet("rm", name)


def test_a_32_bit_personality_shows_in_uname(host):
    assert sh(host, "--personality", "LINUX32", script="busybox uname -m") == ["i686"]


def test_a_device_rule_allows_nodes_that_are_made_later(host):
    script = "busybox mknod /mine c 10 229; busybox dd if=/mine count=0 2>&1"
    rule = ("--device-cgroup-rule", "c 10:229 rwm")
    denied, allowed = (run(host, *words, IMAGE, "sh", "-c", script).stdout for words in ((), rule))
    assert "permitted" in denied
    assert "permitted" not in allowed


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--rootfs",), "--rootfs: not supported: a container is made from an image"),
        (("--gpus", "all"), "--gpus: not supported: Docker's word"),
        (("--systemd", "always"), "--systemd always: not supported"),
        (("--cgroups=disabled",), "--cgroups disabled: not supported"),
        (("--group-add", "keep-groups"), "--group-add keep-groups: not supported"),
        (("--init-path", "/sbin/tini"), "--init-path: not supported: --init is part of this program"),
    ],
)
def test_what_is_refused_says_why_in_one_line(host, options, said):
    done = run(host, *options, IMAGE, "true")
    assert done.returncode == 125
    assert said in done.stderr
    assert done.stderr.count("\n") <= 2


def test_auto_gives_each_container_ids_of_its_own(host):
    names = ("mapped-one", "mapped-two")
    try:
        for name in names:
            words = ("--userns", "auto:size=4096", "--network", "none", "--name", name)
            done = host.rundlet("run", "-d", *words, IMAGE, "sleep", "600")
            assert done.returncode == 0, done.stderr
        maps = [host.rundlet("exec", name, "cat", "/proc/self/uid_map").stdout.split() for name in names]
        assert [(one[0], one[2]) for one in maps] == [("0", "4096")] * 2
        assert abs(int(maps[0][1]) - int(maps[1][1])) >= 4096
        assert host.rundlet("exec", names[0], "id", "-u").stdout == "0\n"
    finally:
        host.rundlet("rm", "-f", *names)


def test_a_pod_has_limits_and_namespaces_of_the_host(host, tmp_path):
    file = tmp_path / "id"
    words = ("--memory", "64m", "--cpus", "0.5", "--pid", "host", "-h", "named", "--network", "none")
    made = host.rundlet("pod", "create", *words, "--pod-id-file", str(file), "limited")
    assert made.returncode == 0, made.stderr
    try:
        done = host.rundlet(
            "run", "--rm", "--pod", "limited", IMAGE, "sh", "-c", "cat /proc/sys/kernel/hostname; echo $$"
        )
        name, pid = done.stdout.split()
        assert name == "named"
        assert int(pid) > 1
    finally:
        assert host.rundlet("pod", "rm", "-f", "--pod-id-file", str(file)).returncode == 0
    assert host.rundlet("pod", "stop", "--ignore", "nosuch").returncode == 0
    done = host.rundlet("pod", "create", "--exit-policy", "stop", "x")
    assert (done.returncode, "--exit-policy: not supported" in done.stderr) == (125, True)
