"""volume, network, secret, pod and kube as programs."""

import json
import signal
import subprocess

import pytest

from tests.cli.local.test_verbs import IMAGE, host, image_archive

__all__ = ["host", "image_archive"]
pytestmark = pytest.mark.kernel


def ok(host, *words, stdin=""):
    """The output of a command that must end well."""
    done = host.rundlet(*words, stdin=stdin)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_volume_from_create_to_rm(host, tmp_path):
    assert ok(host, "volume", "create", "-l", "a=b", "data") == "data\n"
    ok(host, "run", "--rm", "-v", "data:/d", "--network", "none", IMAGE, "sh", "-c", "echo text > /d/file")
    tar = tmp_path / "data.tar"
    ok(host, "volume", "export", "-o", str(tar), "data")
    ok(host, "volume", "create", "copy")
    ok(host, "volume", "import", "copy", str(tar))
    assert (
        ok(host, "run", "--rm", "-v", "copy:/d:ro", "--network", "none", IMAGE, "cat", "/d/file") == "text\n"
    )
    assert ok(host, "volume", "ls", "-q", "--filter", "label=a=b") == "data\n"
    assert ok(host, "volume", "ls").splitlines()[0].split() == ["DRIVER", "VOLUME", "NAME"]
    (document,) = json.loads(ok(host, "volume", "inspect", "data"))
    assert (document["Name"], document["Labels"]) == ("data", {"a": "b"})
    assert ok(host, "volume", "rm", "data") == "data\n"
    assert host.rundlet("volume", "exists", "data").returncode == 1
    assert ok(host, "volume", "prune", "-f") == "copy\n"


def test_volume_in_use_is_refused_and_force_removes_its_container(host):
    ok(host, "create", "--name", "holder", "-v", "held:/d", IMAGE, "true")
    done = host.rundlet("volume", "rm", "held")
    assert done.returncode == 2
    assert "container holder has it" in done.stderr
    ok(host, "volume", "rm", "-f", "held")
    assert "holder" not in ok(host, "ps", "-a", "--format", "{{.Names}}")


def test_network_from_create_to_rm(host):
    assert ok(host, "network", "create", "--subnet", "10.99.7.0/24", "back") == "back\n"
    (document,) = json.loads(ok(host, "network", "inspect", "back"))
    assert document["subnets"] == [{"subnet": "10.99.7.0/24", "gateway": "10.99.7.1"}]
    assert ok(host, "network", "ls", "--format", "{{.Name}}").split() == ["rundlet", "back"]
    ok(
        host,
        "run",
        "-d",
        "--name",
        "db",
        "--network",
        "back",
        "--network-alias",
        "store",
        IMAGE,
        "sleep",
        "600",
    )
    seen = ok(host, "run", "--rm", "--network", "back", IMAGE, "cat", "/etc/hosts")
    assert any(
        line.split()[:2] == ["10.99.7.2", "db"] and "store" in line.split() for line in seen.splitlines()
    )
    assert host.rundlet("network", "rm", "back").returncode == 2
    assert ok(host, "network", "rm", "-f", "back") == "back\n"
    assert host.rundlet("network", "exists", "back").returncode == 1


def test_wrong_words_of_a_network_are_one_line_and_a_hint(host):
    done = host.rundlet("network", "create", "-o", "mtx=9000", "odd")
    assert done.returncode == 125
    assert "has no option 'mtx'" in done.stderr
    assert "hint:" in done.stderr
    assert host.rundlet("network", "exists", "odd").returncode == 1


def test_secret_from_create_to_rm(host):
    ok(host, "secret", "create", "word", "-", stdin="xyzzy")
    words = ("--network", "none", "--secret", "word", "--secret", "word,type=env,target=WORD")
    seen = ok(host, "run", "--rm", *words, IMAGE, "sh", "-c", "cat /run/secrets/word; echo $WORD")
    assert seen == "xyzzyxyzzy\n"
    assert "xyzzy" not in ok(host, "secret", "inspect", "word")
    assert ok(host, "secret", "ls", "--format", "{{.Name}}") == "word\n"
    assert ok(host, "secret", "rm", "word") == "word\n"


def test_pod_from_create_to_rm(host):
    pod_id = ok(host, "pod", "create", "--name", "site", "--hostname", "site-host").strip()
    ok(host, "run", "-d", "--pod", "site", "--name", "one", IMAGE, "sh", "-c", "hostname; exec sleep 600")
    assert ok(host, "pod", "ps", "--format", "{{.Name}} {{.Status}}") == "site Running\n"
    ok(host, "pod", "pause", "site")
    assert ok(host, "pod", "inspect", "-f", "{{.State}}", "site") == "Paused\n"
    ok(host, "pod", "unpause", "site")
    ok(host, "pod", "stop", "-t", "0", "site")
    ok(host, "pod", "start", pod_id[:12])
    assert "site-host" in ok(host, "pod", "logs", "site")
    assert host.rundlet("pod", "rm", "site").returncode == 125
    assert ok(host, "pod", "rm", "-f", "site") == "site\n"
    assert host.rundlet("pod", "exists", "site").returncode == 1


YAML = f"""
kind: Pod
metadata: {{name: job}}
spec:
  nodeSelector: {{a: b}}
  restartPolicy: Never
  containers:
  - {{name: main, image: "{IMAGE}", command: [sh, -c, "echo done"]}}
"""


def test_kube_play_generate_and_down(host, tmp_path):
    file = tmp_path / "job.yaml"
    file.write_text(YAML)
    done = host.rundlet("kube", "play", str(file))
    assert done.returncode == 0, done.stderr
    assert "Pod job: spec.nodeSelector" in done.stderr
    ok(host, "wait", "job-main")
    assert ok(host, "logs", "job-main") == "done\n"
    again = host.rundlet("kube", "play", str(file))
    assert again.returncode == 125
    assert "--replace" in again.stderr
    made = ok(host, "kube", "generate", "job")
    assert ok(host, "kube", "down", str(file)) == "job\n"
    ok(host, "kube", "play", "-q", "--no-start", "-", stdin=made)
    assert ok(host, "kube", "down", "-", stdin=made) == "job\n"
    assert ok(host, "pod", "ps", "-q") == ""
    assert "kube" not in ok(host, "network", "ls", "-q")


def test_kube_says_where_the_yaml_is_wrong(host):
    done = host.rundlet("kube", "play", "-", stdin=YAML.replace("name: main", "name: 7"))
    assert done.returncode == 125
    assert "spec.containers[0].name: expected str, got int" in done.stderr


def test_kube_play_that_is_interrupted_leaves_nothing(host, tmp_path):
    """While an init container of the second pod runs; the first pod is there by then."""
    pod = "kind: Pod\nmetadata: {name: NAME}\nspec: {containers: [{name: main, image: IMAGE, command: [sleep, '60']}]"
    first = pod.replace("NAME", "one") + ", volumes: [{name: data, emptyDir: {}}]}\n"
    init = ", initContainers: [{name: first, image: IMAGE, command: [sleep, '60']}]}\n"
    claim = "---\nkind: PersistentVolumeClaim\nmetadata: {name: claimed}\nspec: {}\n"
    file = tmp_path / "cut.yaml"
    file.write_text(f"{first}---\n{pod.replace('NAME', 'two')}{init}{claim}".replace("IMAGE", IMAGE))
    child = host.begin("kube", "play", str(file), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    followed = host.begin(
        *("events", "--since", "10s", "--filter", "container=two-first", "--filter", "event=start"),
        stdout=subprocess.PIPE,
    )
    assert b"two-first" in followed.stdout.readline()
    followed.kill()
    followed.communicate()
    child.send_signal(signal.SIGINT)
    assert child.wait(20) == 130
    for noun in ("pod", "volume", "secret"):
        assert host.rundlet(noun, "ls", "-q").stdout == ""
    assert host.rundlet("ps", "-aq").stdout == ""
    assert host.rundlet("network", "ls", "-q").stdout == "rundlet\n"
