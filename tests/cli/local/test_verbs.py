"""podman's verbs as programs, on real containers of an image of this machine's busybox."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from rundlet.cli.main import run as run_main

pytestmark = pytest.mark.kernel
IMAGE = "localhost/tools:1"
MAIN = (sys.executable, "-m", "rundlet.cli.main")


class Host:
    """A machine with places of its own; `rundlet` runs one command to its end."""

    def __init__(self, places):
        self.places = places
        self.environ = os.environ | {
            "RUNDLET_ROOT": f"{places}/root",
            "RUNDLET_RUN_ROOT": f"{places}/run",
            "RUNDLET_CONFIG_DIR": f"{places}/config",
        }

    def rundlet(self, *words, stdin=""):
        return subprocess.run(
            (*MAIN, *words),
            env=self.environ,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )

    def begin(self, *words, **streams):
        return subprocess.Popen((*MAIN, *words), env=self.environ, **streams)

    def inspect(self, name, template):
        return self.rundlet("inspect", "--format", template, name).stdout.strip()


@pytest.fixture(scope="module")
def image_archive(tmp_path_factory):
    if shutil.which("busybox") is None:
        pytest.skip("busybox not on this host")
    path = tmp_path_factory.mktemp("image") / "tools.tar"
    programs = ("sh", "busybox", "cat", "sleep", "true", "id")
    assert run_main(["image", "from-host", "-t", f"oci-archive:{path}:{IMAGE}", *programs]) == 0
    return path


@pytest.fixture(scope="module")
def host(tmp_path_factory, image_archive):
    host = Host(tmp_path_factory.mktemp("host"))
    loaded = host.rundlet("pull", "-q", f"oci-archive:{image_archive}:{IMAGE}")
    assert loaded.returncode == 0, loaded.stderr
    image = host.rundlet("images", "-q").stdout.strip()
    host.rundlet("tag", image, IMAGE)
    yield host
    host.rundlet("rm", "-f", "--all")


@pytest.fixture
def sleeper(host, request):
    """The name of a running container."""
    name = f"s{abs(hash(request.node.name)) % 10**8}"
    done = host.rundlet(
        "run", "-d", "--name", name, "--network", "none", "-l", "app=x", IMAGE, "sleep", "600"
    )
    assert done.returncode == 0, done.stderr
    yield name
    host.rundlet("rm", "-f", name)


def run(host, *words, stdin=""):
    return host.rundlet("run", "--rm", "--network", "none", *words, stdin=stdin)


def test_both_outputs_and_the_exit_code_come_through(host):
    done = run(host, IMAGE, "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (done.stdout, done.stderr, done.returncode) == ("out\n", "err\n", 7)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ((IMAGE, "nosuch"), 127),
        ((IMAGE, "/etc"), 126),
        (("--pull", "never", "localhost/nosuch:1", "true"), 125),
        (("--memry", "1g", IMAGE, "true"), 125),
        (("-v", "/nowhere/at/all:/x", IMAGE, "true"), 125),
    ],
)
def test_exit_codes_are_podman_s(host, words, code):
    done = run(host, *words)
    assert done.returncode == code
    assert done.stderr.count("\n") <= 2
    assert host.rundlet("ps", "-aq").stdout == ""


def test_stdin_is_passed_on_to_its_end(host):
    assert run(host, "-i", IMAGE, "cat", stdin="one\ntwo\n").stdout == "one\ntwo\n"


def test_output_is_not_lost_to_a_slow_reader(host):
    """As much as fills every buffer on the way."""
    child = host.begin(
        *("run", "--rm", "--network", "none", IMAGE, "busybox", "seq", "1", "400000"), stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    with child.stdout:
        first = child.stdout.readline()
        host.rundlet("ps")  # a while in which nobody reads
        rest = child.stdout.read()
    assert (first, rest.count(b"\n"), child.wait(10)) == (b"1\n", 399999, 0)


def test_signals_reach_the_container(host):
    script = "trap 'exit 5' INT; echo ready; while :; do busybox sleep 0.05; done"
    child = host.begin("run", "--rm", "--network", "none", IMAGE, "sh", "-c", script, stdout=subprocess.PIPE)
    assert child.stdout is not None
    with child.stdout:
        assert child.stdout.readline() == b"ready\n"
        child.send_signal(signal.SIGINT)
        assert child.wait(10) == 5


def test_exec_has_its_own_variables_directory_and_user(host, sleeper):
    done = host.rundlet(
        "exec", "-e", "B=2", "-w", "/tmp", "-u", "5:6", sleeper, "sh", "-c", "id -u; pwd; echo $B; exit 3"
    )
    assert (done.stdout, done.returncode) == ("5\n/tmp\n2\n", 3)
    assert host.rundlet("exec", "-i", sleeper, "cat", stdin="in\n").stdout == "in\n"
    assert host.rundlet("exec", sleeper, "nosuch").returncode == 127


def test_ps_shows_filters_and_formats(host, sleeper):
    assert sleeper in host.rundlet("ps").stdout
    assert host.rundlet("ps", "--filter", "label=app=x", "--format", "{{.Names}}").stdout == f"{sleeper}\n"
    assert host.rundlet("ps", "--filter", "label=app=y", "-q").stdout == ""
    (document,) = json.loads(host.rundlet("ps", "--format", "json").stdout)
    assert (document["Names"], document["State"], document["Command"]) == (
        [sleeper],
        "running",
        ["sleep", "600"],
    )
    assert host.rundlet("ps", "--filter", "statis=x").stderr.endswith("hint: did you mean status?\n")


def test_namespaces_are_shown_by_their_numbers(host, sleeper):
    (network,) = host.rundlet("ps", "--ns", "--format", "{{.NET}}").stdout.split()
    assert (
        host.rundlet("exec", sleeper, "busybox", "readlink", "/proc/self/ns/net").stdout
        == f"net:[{network}]\n"
    )
    assert host.rundlet("ps", "--ns").stdout.split("\n")[0].split() == (
        "CONTAINER ID NAMES PID CGROUPNS IPC MNT NET PIDNS USERNS UTS".split()
    )


def test_dependents_go_first(host, sleeper):
    words = ("run", "-d", "--network", f"container:{sleeper}", "--name", "guest", IMAGE, "sleep", "600")
    assert host.rundlet(*words).returncode == 0
    host.rundlet("create", "--name", "needy", "--requires", "guest", "--network", "none", IMAGE, "true")
    done = host.rundlet("rm", "-f", "--depend", sleeper)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1] == sleeper
    assert host.rundlet("ps", "-aq").stdout == ""


def test_names_in_logs_have_colors(host):
    host.rundlet("run", "--name", "loud", "--network", "none", IMAGE, "sh", "-c", "echo hey")
    assert host.rundlet("logs", "--color", "loud").stdout == "\033[37mloud\033[0m hey\n"
    host.rundlet("rm", "loud")


def test_pause_and_unpause(host, sleeper):
    assert host.rundlet("pause", sleeper).stdout == f"{sleeper}\n"
    assert host.inspect(sleeper, "{{.State.Status}} {{.State.Paused}}") == "paused true"
    assert host.rundlet("unpause", sleeper).returncode == 0
    assert host.inspect(sleeper, "{{.State.Status}}") == "running"
    assert host.rundlet("unpause", sleeper).returncode == 125


def test_a_paused_container_is_stopped(host, sleeper):
    host.rundlet("pause", sleeper)
    assert host.rundlet("stop", "-t", "0", sleeper).returncode == 0
    assert host.inspect(sleeper, "{{.State.Status}}") == "exited"


def test_files_in_and_out_and_what_was_changed(host, sleeper, tmp_path):
    (tmp_path / "note").write_text("hello\n")
    assert host.rundlet("cp", f"{tmp_path}/note", f"{sleeper}:/note").returncode == 0
    assert host.rundlet("exec", sleeper, "cat", "/note").stdout == "hello\n"
    assert host.rundlet("diff", sleeper).stdout == "A /note\n"
    assert host.rundlet("cp", f"{sleeper}:/note", f"{tmp_path}/back").returncode == 0
    assert (tmp_path / "back").read_text() == "hello\n"
    assert host.rundlet("export", "-o", f"{tmp_path}/all.tar", sleeper).returncode == 0
    listed = subprocess.run(["tar", "-tf", f"{tmp_path}/all.tar"], capture_output=True, text=True, check=True)
    assert "note" in listed.stdout.splitlines()
    committed = host.rundlet("commit", "-c", "CMD cat /note", sleeper, "localhost/noted:1")
    assert committed.returncode == 0, committed.stderr
    assert run(host, "localhost/noted:1").stdout == "hello\n"


def test_top_stats_update_port_logs(host, sleeper):
    assert "sleep 600" in host.rundlet("top", sleeper, "pid", "args").stdout
    assert sleeper in host.rundlet("stats", "--no-stream", sleeper).stdout
    assert host.rundlet("update", "--memory", "100m", sleeper).returncode == 0
    assert host.inspect(sleeper, "{{.HostConfig.Memory}}") == str(100 << 20)
    assert host.rundlet("port", sleeper).stdout == ""


def test_a_container_is_made_started_attached_to_and_started_again(host):
    host.rundlet("create", "--name", "thrice", "--network", "none", IMAGE, "sh", "-c", "echo life; exit 4")
    for _ in range(2):
        done = host.rundlet("start", "--attach", "thrice")
        assert (done.stdout, done.returncode) == ("life\n", 4)
    assert host.rundlet("logs", "thrice").stdout == "life\nlife\n"
    assert host.rundlet("wait", "thrice").stdout == "4\n"
    assert host.rundlet("rename", "thrice", "renamed").returncode == 0
    assert host.rundlet("rm", "renamed").stdout == "renamed\n"


def test_remove_tells_what_is_missing_from_what_runs(host, sleeper):
    assert host.rundlet("rm", "nosuch").returncode == 1
    assert host.rundlet("rm", sleeper).returncode == 2
    assert host.rundlet("rm", "--ignore", "nosuch").returncode == 0


def test_an_id_file_is_written_and_goes_with_a_failed_container(host, tmp_path):
    file = tmp_path / "cid"
    done = host.rundlet("create", "--cidfile", str(file), "--network", "none", IMAGE, "true")
    assert file.read_text() == done.stdout.strip()
    assert host.rundlet("create", "--cidfile", str(file), IMAGE, "true").returncode == 125
    assert host.rundlet("rm", "--cidfile", str(file)).returncode == 0
    other = tmp_path / "other"
    assert run(host, "--cidfile", str(other), IMAGE, "nosuch").returncode == 127
    assert not other.exists()


@pytest.mark.parametrize("milliseconds", [80, 160, 240, 320, 400])
def test_ctrl_c_leaves_nothing(host, milliseconds):
    """Wherever of create and start it hits; the program itself ends by it too."""
    script = "trap 'exit 5' INT; while :; do busybox sleep 0.05; done"
    child = host.begin(
        "run",
        "--rm",
        "--init",  # as process 1 the shell would not hear a signal that comes before its trap
        "--network",
        "none",
        "--name",
        "hit",
        IMAGE,
        "sh",
        "-c",
        script,
        stderr=subprocess.DEVNULL,
    )
    try:
        child.wait(milliseconds / 1000)
    except subprocess.TimeoutExpired:
        child.send_signal(signal.SIGINT)
    assert child.wait(10) in (-signal.SIGINT, 5, 130)
    assert host.rundlet("ps", "-aq").stdout == ""
    assert not os.path.exists(f"{host.places}/run/containers") or not os.listdir(
        f"{host.places}/run/containers"
    )


def test_a_health_check_is_run_when_asked_for(host):
    """With podman's exit codes, and its words in ps and inspect."""
    words = ("--network", "none", "--health-interval", "disable", "--health-retries", "2")
    host.rundlet(
        "run", "-d", "--name", "ill", *words, "--health-cmd", "test ! -e /ill", IMAGE, "sleep", "600"
    )
    try:
        assert host.inspect("ill", "{{.State.Health.Status}}") == "starting"
        assert host.rundlet("healthcheck", "run", "ill").returncode == 0
        assert "(healthy)" in host.rundlet("ps", "--format", "{{.Status}}").stdout
        host.rundlet("exec", "ill", "sh", "-c", ": > /ill")
        for _ in range(2):
            done = host.rundlet("healthcheck", "run", "ill")
            assert (done.stdout, done.returncode) == ("unhealthy\n", 1)
        assert (
            host.inspect("ill", "{{.State.Health.Status}} {{.State.Health.FailingStreak}}") == "unhealthy 2"
        )
        assert host.rundlet("ps", "-q", "--filter", "health=unhealthy").stdout.strip()
    finally:
        host.rundlet("rm", "-f", "ill")
    assert host.rundlet("healthcheck", "run", "ill").returncode == 125


def test_a_container_without_a_check_has_none_to_run(host, sleeper):
    done = host.rundlet("healthcheck", "run", sleeper)
    assert done.returncode == 125
    assert "has no health check" in done.stderr


def test_events_tell_what_happened(host, sleeper):
    seen = host.rundlet(
        "events", "--stream=false", "--filter", f"container={sleeper}", "--format", "{{.Status}}"
    ).stdout
    assert seen.split() == ["create", "start"]


def test_what_has_ended_is_pruned(host, sleeper):
    host.rundlet("create", "--name", "idle", "--network", "none", IMAGE, "true")
    assert host.rundlet("system", "prune", "--force").returncode == 0
    assert host.rundlet("ps", "-a", "--format", "{{.Names}}").stdout == f"{sleeper}\n"
    assert "Images" in host.rundlet("system", "df").stdout
    verbose = host.rundlet("system", "df", "-v").stdout
    assert [line for line in verbose.splitlines() if line.endswith("usage:")] == [
        "Images space usage:", "Containers space usage:", "Local Volumes space usage:"
    ]  # fmt: skip
    assert sleeper in verbose
    assert json.loads(host.rundlet("info").stdout)["store"]["containerStore"]["running"] == 1


def test_pruning_is_filtered_and_told_by_kinds(host, sleeper):
    for name in ("keep", "drop"):
        host.rundlet("volume", "create", "--label", f"what={name}", f"{name}-volume")
        host.rundlet("create", "--name", name, "-l", f"what={name}", "--network", "none", IMAGE, "true")
    (dropped,) = host.rundlet("ps", "-aq", "--no-trunc", "--filter", "name=drop").stdout.split()
    done = host.rundlet("system", "prune", "--force", "--volumes", "--filter", "label=what=drop")
    kinds = ["Deleted Containers", dropped, "Deleted Volumes", "drop-volume"]
    assert done.stdout.splitlines()[:-1] == kinds
    assert done.stdout.splitlines()[-1].startswith("Total reclaimed space: ")
    nothing = host.rundlet("system", "prune", "--force", "--filter", "until=1h", "--filter", "label!=what=x")
    assert nothing.stdout == "Total reclaimed space: 0B\n"
    assert "did you mean label?" in host.rundlet("system", "prune", "-f", "--filter", "lable=x").stderr
    host.rundlet("rm", "keep")
    host.rundlet("volume", "rm", "keep-volume")


def test_info_has_podman_s_facts(host):
    facts = json.loads(host.rundlet("info").stdout)
    assert facts["host"]["memTotal"] > facts["host"]["memFree"] > 0
    assert facts["host"]["security"]["rootless"] is False
    assert facts["store"]["graphRootAllocated"] > 0
    assert (
        host.rundlet("system", "info", "--format", "{{.host.arch}}").stdout.strip() == facts["host"]["arch"]
    )


def test_events_tell_of_images_volumes_networks_pods_and_secrets(host):
    since = str(time.time())
    for words in (
        ("tag", IMAGE, "localhost/told:1"),
        ("untag", IMAGE, "localhost/told:1"),
        ("volume", "create", "told"),
        ("volume", "rm", "told"),
        ("network", "create", "told"),
        ("create", "--name", "told", IMAGE, "true"),
        ("network", "connect", "told", "told"),
        ("network", "disconnect", "told", "told"),
        ("rename", "told", "retold"),
        ("rm", "retold"),
        ("network", "rm", "told"),
        ("pod", "create", "--network", "none", "told"),
        ("pod", "rm", "told"),
    ):
        done = host.rundlet(*words)
        assert done.returncode == 0, (words, done.stderr)
    host.rundlet("secret", "create", "told", "-", stdin="word")
    host.rundlet("secret", "rm", "told")

    def ask(*filters):
        words = [word for text in filters for word in ("--filter", text)]
        shown = ("--since", since, "--stream=false", "--format", "{{.Type}} {{.Status}} {{.Name}}")
        return host.rundlet("events", *shown, *words).stdout.splitlines()

    assert ask("type=image") == ["image tag localhost/told:1", "image untag localhost/told:1"]
    assert ask("volume=told") == ["volume create told", "volume remove told"]
    assert ask("network=told") == [
        "network create told", "network connect told", "network disconnect told", "network remove told"
    ]  # fmt: skip
    assert ask("type=container", "event=rename") == ["container rename retold"]
    assert ask("pod=told") == ["pod create told", "pod remove told"]
    assert ask("secret=told") == ["secret create told", "secret remove told"]
    (line,) = host.rundlet(
        "events", "--since", since, "--until", "0s", "--filter", "event=connect", "--format", "json"
    ).stdout.splitlines()
    told = json.loads(line)
    assert (told["Type"], told["Name"], len(told["Attributes"]["container"])) == ("network", "told", 64)
