"""The commands against a CRI runtime: requests sent, text shown, exit codes."""

import json

import pytest

from rundlet.cli.forwarding import parse_ports
from rundlet.cli.terminal import DetachScanner
from rundlet.errors import InvalidArgument

POD_A, POD_B = "a1" * 32, "b2" * 32
RUNNING, EXITED, CREATED = "c3" * 32, "d4" * 32, "e5" * 32
COMMANDS = (
    "version info pull images inspecti rmi imagefsinfo runp pods inspectp statsp stopp rmp create start ps "
    "inspect exec attach port-forward logs stats update stop rm runtime-config completion why trace bwrap "
    "cni-install walk"
).split()


@pytest.fixture
def files(tmp_path):
    pod = {"metadata": {"name": "web", "namespace": "shop", "uid": "u"}, "log_directory": "/tmp/logs"}
    container = {"metadata": {"name": "redis"}, "image": {"image": "redis:alpine"}, "log_path": "redis.log"}
    (tmp_path / "pod.json").write_text(json.dumps(pod))
    (tmp_path / "container.json").write_text(json.dumps(container))
    return str(tmp_path / "pod.json"), str(tmp_path / "container.json")


@pytest.mark.parametrize("name", COMMANDS)
def test_help_ends_with_examples(rundlet, name):
    outcome = rundlet(name, "--help")
    assert outcome.code == 0
    assert f"rundlet {name}" in outcome.stdout.split("Examples:")[1]


def test_inspectp_table(rundlet):
    assert rundlet("inspectp", "--output", "table", "a1").lines == [
        f"ID: {POD_A}",
        "Name: podsandbox1",
        "UID: uid-1",
        "Namespace: redhat.test",
        "Attempt: 1",
        "Status: SANDBOX_READY",
        "Created: 2016-12-14 15:59:04.373680832 +0000 UTC",
        "Network namespace: /run/netns/x",
        "IP Address: 10.88.0.2",
        "Additional IP: fd00::2",
        "Labels:",
        "\tgroup -> test",
        "Annotations:",
        "\ta.b/c -> <&>",
        "\towner -> jwhite",
    ]


def test_inspectp_by_filter(rundlet):
    assert json.loads(rundlet("inspectp", "--name", "^web$").stdout)["status"]["id"] == POD_B


def test_runp_sends_the_file(rundlet, shelf, files):
    assert rundlet("runp", "--runtime", "runsc", files[0]).lines == ["f6" * 32]
    [request] = shelf.requests
    assert (request.runtime_handler, request.config.log_directory) == ("runsc", "/tmp/logs")


def test_create_sends_both_files(rundlet, shelf, files):
    assert rundlet("create", "a1", files[1], files[0]).lines == ["f7" * 32]
    [request] = shelf.requests
    assert request.pod_sandbox_id == "a1"
    assert request.config.image.user_specified_image == "redis:alpine"
    assert request.sandbox_config.metadata.name == "web"


def test_create_pulls_first_when_asked(rundlet, shelf, files):
    rundlet("create", "--with-pull", "--creds", "me:secret", "a1", files[1], files[0])
    pull, create = shelf.requests
    assert (pull.image.image, pull.auth.username, pull.auth.password) == ("redis:alpine", "me", "secret")
    assert create.config.image.image == "redis:alpine"


def test_crictl_yaml_is_read(shelf, tmp_path, files, capfd):
    from rundlet.cli.main import run

    (tmp_path / "crictl.yaml").write_text(f"runtime-endpoint: {shelf.endpoint}\npull-image-on-create: true\n")
    assert run(["-c", f"{tmp_path}/crictl.yaml", "create", "a1", files[1], files[0]]) == 0
    assert [type(request).__name__ for request in shelf.requests] == [
        "PullImageRequest",
        "CreateContainerRequest",
    ]


def test_the_environment_names_the_endpoint(shelf, monkeypatch, capfd):
    from rundlet.cli.main import run

    monkeypatch.setenv("CONTAINER_RUNTIME_ENDPOINT", shelf.endpoint)
    assert run(["version"]) == 0
    assert "RuntimeName:  shelf" in capfd.readouterr().out


def test_exec_passes_both_outputs_and_the_exit_code(rundlet, shelf):
    outcome = rundlet("exec", "--sync", "c3", "exit", "7")
    assert (outcome.code, outcome.stdout, outcome.stderr) == (7, "out\n", "err\n")
    assert rundlet("exec", "-s", "--ignore-errors", "c3", "exit", "7").code == 0
    assert list(shelf.requests[0].cmd) == ["exit", "7"]


def test_exec_leaves_the_programs_options_alone(rundlet, shelf):
    assert rundlet("exec", "-s", "--timeout", "5", "c3", "ls", "-l", "--timeout", "9").code == 0
    [request] = shelf.requests
    assert (list(request.cmd), request.timeout) == (["ls", "-l", "--timeout", "9"], 5)


def test_exec_by_filter_takes_no_id(rundlet, shelf):
    outcome = rundlet("exec", "-s", "--name", "redis", "hostname")
    assert outcome.stdout == f"{RUNNING}:\nout\n"
    assert shelf.requests[0].container_id == RUNNING


@pytest.mark.parametrize(
    ("flags", "text"), [(["-t"], "--tty needs --interactive"), (["-it"], "stdin is not a terminal")]
)
def test_exec_with_a_terminal_needs_one(rundlet, flags, text):
    outcome = rundlet("exec", *flags, "c3", "sh")
    assert outcome.code != 0
    assert text in outcome.stderr


@pytest.mark.parametrize(
    ("text", "pair"), [("8080:80", (8080, 80)), (":80", (0, 80)), ("80", (80, 80)), ("65535:1", (65535, 1))]
)
def test_port_forward_reads_ports(text, pair):
    assert parse_ports(text) == pair


@pytest.mark.parametrize("text", ["", ":", "80:", "a:b", "80:0", "1:2:3", "65536", "-1", "٣"])
def test_port_forward_refuses_what_is_no_port(text):
    with pytest.raises(InvalidArgument):
        parse_ports(text)


@pytest.mark.parametrize(
    ("typed", "sent", "detached"),
    [
        ([b"ls\r"], b"ls\r", False),
        ([b"a\x10\x11b"], b"a", True),
        ([b"a\x10", b"\x11"], b"a", True),
        ([b"\x10", b"\x10", b"x"], b"\x10\x10x", False),
    ],
)
def test_the_detach_keys(typed, sent, detached):
    scanner = DetachScanner()
    assert b"".join(map(scanner.scan, typed)) == sent
    assert scanner.is_detached == detached


def test_stop_sends_the_timeout(rundlet, shelf):
    assert rundlet("stop", "--timeout", "30", "c3").lines == ["c3"]
    assert shelf.requests[0].timeout == 30


def test_rm_wants_a_stopped_container(rundlet, shelf, tmp_path):
    log = tmp_path / "redis.log"
    log.write_text("")
    (tmp_path / "redis.log.20260101").write_text("")
    refused = rundlet("rm", "c3")
    assert (refused.code, RUNNING in shelf.containers) == (1, True)
    assert "running" in refused.stderr
    assert rundlet("rm", "--force", "c3").code == 0
    assert RUNNING not in shelf.containers
    assert list(tmp_path.glob("*.log*")) == [], "the log and its rotations go too"


def test_rm_keeps_logs_when_asked(rundlet, tmp_path):
    (tmp_path / "redis.log").write_text("")
    assert rundlet("rm", "-f", "-k", "c3").code == 0
    assert (tmp_path / "redis.log").exists()


def test_rm_all_removes_what_it_can_and_fails_for_the_rest(rundlet, shelf):
    outcome = rundlet("rm", "--all")
    assert outcome.code == 1
    assert list(shelf.containers) == [RUNNING]
    assert f"rundlet: {RUNNING}: " in outcome.stderr


def test_rmi_prune_spares_used_and_pinned_images(rundlet, shelf):
    assert rundlet("rmi", "--prune").lines == []
    assert len(shelf.images) == 2
    shelf.containers.clear()
    assert len(rundlet("rmi", "--prune").lines) == 2
    assert len(shelf.images) == 1


def test_update_sends_only_what_was_given(rundlet, shelf):
    rundlet("update", "--memory", "1048576", "c3")
    linux = shelf.requests[0].linux
    assert [field.name for field, _ in linux.ListFields()] == ["memory_limit_in_bytes"]


def test_stats_table(rundlet):
    header, row = rundlet("stats", "--seconds", "0").lines
    assert header.split() == ["CONTAINER", "NAME", "CPU", "%", "MEM", "DISK", "INODES", "SWAP"]
    assert row.split() == [RUNNING[:13], "redis", "50.00", "1.235MB", "4.096kB", "3", "0B"]


def test_statsp_table(rundlet):
    _, row = rundlet("statsp", "--seconds", "0").lines
    assert row.split() == ["podsandbox1", POD_A[:13], "50.00", "1.235MB"]


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_completion(rundlet, shell):
    assert "_RUNDLET_COMPLETE" in rundlet("completion", shell).stdout


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["inspect", "zz"], 1, "no such object zz"),
        (["inspecti", "absent"], 1, "no image 'absent'"),
        (["pull", "absent"], 1, "no such image absent"),
        (["pull", "--creds", "a:b", "--auth", "x", "redis"], 1, "exclude each other"),
        (["create", "--with-pull", "--no-pull", "a", "b", "c"], 1, "exclude each other"),
        (["runp", "/nonexistent.json"], 1, "no file /nonexistent.json"),
        (["ps", "--name", "("], 1, "--name: not a regular expression"),
        (["ps", "--label", "x"], 1, "--label: expected KEY=VALUE"),
        (["images", "-f", "size=1"], 1, "unknown filter"),
        (["logs", "d4"], 1, "has no log"),
        (["logs", "c3"], 1, "no log file"),
        (["logs", "--previous", "d4"], 1, "has no log"),
        (["inspectp"], 2, "name at least one pod"),
        (["stop"], 2, "name at least one container"),
        (["ps", "--state", "odd"], 2, "odd"),
        (["nonsense"], 2, "nonsense"),
        (["exec", "c3"], 2, "name a command"),
    ],
)
def test_failures_are_one_clear_line(rundlet, arguments, code, text):
    outcome = rundlet(*arguments)
    assert outcome.code == code
    assert text in outcome.stderr
    assert "Traceback" not in outcome.stderr
    assert outcome.stdout == ""


def test_no_runtime(tmp_path, capfd):
    from rundlet.cli.main import run

    assert run(["-r", f"unix://{tmp_path}/none.sock", "version"]) == 1
    error = capfd.readouterr().err.splitlines()
    assert error[0] == f"rundlet: no CRI runtime at unix://{tmp_path}/none.sock: the socket does not exist"
    assert error[1].startswith("hint: ")
