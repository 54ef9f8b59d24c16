"""The built-in plugins as CNI executables, by hand, by cnitool and beside Debian's."""

import json
import os
import shutil
import subprocess

import pytest

from rundlet.cli.main import run
from rundlet.network.builtin import BUILTIN
from rundlet.network.install import install_plugins
from rundlet.network.plugin import _TYPES
from rundlet.spec.cni import VERSIONS

kernel = pytest.mark.kernel
DEBIAN = "/usr/lib/cni"


@pytest.fixture(scope="module")
def bin_dir(tmp_path_factory):
    directory = tmp_path_factory.mktemp("bin")
    install_plugins(str(directory))
    return str(directory)


@pytest.fixture
def ask(bin_dir):
    """Run one verb of one plugin: (exit code, JSON on stdout)."""

    def call(kind, command, conf=None, directory=bin_dir, **environment):
        variables = {f"CNI_{key.upper()}": value for key, value in environment.items()}
        if command:
            variables["CNI_COMMAND"] = command
        done = subprocess.run(
            [f"{directory}/{kind}"],
            input=json.dumps(conf) if isinstance(conf, dict) else conf or "",
            env={"PATH": os.environ["PATH"], "CNI_PATH": directory, **variables},
            text=True,
            capture_output=True,
            check=False,
            timeout=10,
        )
        assert done.stderr == ""
        return done.returncode, json.loads(done.stdout or "null")

    return call


# --- the contract ----------------------------------------------------------


def test_every_builtin_is_installed(bin_dir):
    assert set(os.listdir(bin_dir)) == set(BUILTIN) == set(_TYPES)
    assert all(os.access(f"{bin_dir}/{kind}", os.X_OK) for kind in BUILTIN)


def test_installed_by_the_command(tmp_path, capsys):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "bridge").write_text("an older one")

    assert run(["cni-install", str(tmp_path / "bin")]) == 0

    assert capsys.readouterr().out.splitlines() == [f"{tmp_path}/bin/{kind}" for kind in BUILTIN]
    assert set(os.listdir(tmp_path / "bin")) == set(BUILTIN)


def test_installed_where_nothing_can_be_written(tmp_path, capsys):
    (tmp_path / "file").write_text("")

    assert run(["cni-install", str(tmp_path / "file" / "bin")]) == 1
    assert "cannot write CNI plugins to" in capsys.readouterr().err


@pytest.mark.parametrize("kind", BUILTIN)
def test_version(ask, kind):
    assert ask(kind, "VERSION") == (0, {"cniVersion": "1.1.0", "supportedVersions": list(VERSIONS)})


@pytest.mark.parametrize(
    ("command", "conf", "environment", "code"),
    [
        ("", {}, {}, 4),
        ("DANCE", {"cniVersion": "1.0.0", "name": "a"}, {}, 4),
        ("ADD", {"cniVersion": "1.0.0", "name": "a"}, {"containerid": "x", "ifname": "eth0"}, 4),
        ("DEL", {"cniVersion": "1.0.0", "name": "a"}, {"ifname": "eth0"}, 4),
        ("ADD", {"cniVersion": "9.9.9", "name": "a"}, {}, 1),
        ("ADD", "{", {}, 6),
        ("STATUS", {"cniVersion": "1.1.0", "name": "../a"}, {}, 7),
        ("DEL", {"cniVersion": "1.0.0", "name": "a"}, {"containerid": "../x", "ifname": "eth0"}, 4),
        ("DEL", {"cniVersion": "1.0.0", "name": "a"}, {"containerid": "x", "ifname": "sixteen-letters0"}, 4),
        ("ADD", {"cniVersion": "1.0.0"}, {}, 7),
        (
            "ADD",
            {"cniVersion": "1.0.0", "name": "a"},
            {"containerid": "x", "ifname": "eth0", "netns": "/nowhere"},
            3,
        ),
        ("STATUS", {"cniVersion": "1.1.0", "name": "a", "mtu": "big"}, {}, 50),
        ("GC", {"cniVersion": "1.1.0", "name": "a", "cni.dev/valid-attachments": [1]}, {}, 7),
    ],
)
def test_error_codes(ask, command, conf, environment, code):
    if command == "GC" and os.geteuid() != 0:
        pytest.skip("needs root")
    status, answer = ask("bridge", command, conf, **environment)

    assert status == 1
    assert answer["code"] == code
    assert answer["msg"]


# --- by hand, in a chain ---------------------------------------------------


def ours(tmp_path, **bridge):
    ipam = {"type": "host-local", "subnet": "10.88.0.0/16", "dataDir": str(tmp_path / "leases")}
    ipam["routes"] = [{"dst": "0.0.0.0/0"}]
    return {
        "cniVersion": "1.1.0",
        "name": "mynet",
        "type": "bridge",
        "bridge": "cni0",
        "isGateway": True,
        "ipMasq": True,
        "ipam": ipam,
        **bridge,
    }


@kernel
def test_life_of_an_attachment(ask, world, tmp_path):
    pod = world.namespace()
    conf = ours(tmp_path)
    who = {"containerid": "pod1", "ifname": "eth0", "netns": pod}
    assert ask("bridge", "STATUS", conf) == (0, None)

    code, result = ask("bridge", "ADD", conf, **who)
    assert code == 0
    assert result["cniVersion"] == "1.1.0"
    assert result["ips"] == [{"address": "10.88.0.2/16", "gateway": "10.88.0.1", "interface": 2}]
    assert [one["name"] for one in result["interfaces"]][::2] == ["cni0", "eth0"]

    mapping = {"portMappings": [{"hostPort": 18080, "containerPort": 8080, "protocol": "tcp"}]}
    portmap = {"cniVersion": "1.1.0", "name": "mynet", "type": "portmap", "runtimeConfig": mapping}
    code, handed_on = ask("portmap", "ADD", {**portmap, "prevResult": result}, **who)
    assert (code, handed_on) == (0, result)
    assert world.connect("", pod, "10.88.0.2", target="127.0.0.1", port=18080) == "10.88.0.1"
    code, error = ask("portmap", "ADD", {**portmap, "prevResult": result}, **{**who, "containerid": "pod2"})
    assert (code, error["code"]) == (1, 101)
    assert "is taken by pod pod1" in error["msg"]

    assert ask("bridge", "CHECK", {**conf, "prevResult": result}, **who) == (0, None)
    assert ask("portmap", "CHECK", {**portmap, "prevResult": result}, **who) == (0, None)
    assert ask("portmap", "DEL", {**portmap, "prevResult": result}, **who) == (0, None)
    assert ask("bridge", "DEL", {**conf, "prevResult": result}, **who) == (0, None)
    assert ask("bridge", "DEL", conf, containerid="pod1", ifname="eth0") == (0, None)
    code, error = ask("bridge", "CHECK", {**conf, "prevResult": result}, **who)
    assert code == 1

    # The bridge stays, as the reference's does, until GC hears that nobody is left.
    assert ask("bridge", "GC", {**conf, "cni.dev/valid-attachments": []}) == (0, None)
    assert [link["ifname"] for link in world.json("", "ip", "-j", "link")] == ["lo"]
    assert world.run("", "nft", "list", "ruleset") == ""


@kernel
def test_capability_arguments_as_containerd_spells_them(ask, world, tmp_path):
    """Without this, containerd's pods with host ports failed: "object missing required field hostPort"."""
    who = {"containerid": "pod1", "ifname": "eth0", "netns": world.namespace()}
    mapping = [{"HostPort": 18080, "ContainerPort": 80, "Protocol": "TCP", "HostIP": ""}]
    conf = {
        "cniVersion": "1.0.0",
        "name": "mynet",
        "runtimeConfig": {"portMappings": mapping},
        "prevResult": {"cniVersion": "1.0.0", "ips": [{"address": "127.0.0.2/8"}]},
    }

    code, result = ask("portmap", "ADD", conf, **who)

    assert code == 0, result
    assert "18080" in world.run("", "nft", "list", "ruleset")


@kernel
def test_loopback(ask, world):
    pod = world.namespace()
    conf = {"cniVersion": "1.0.0", "name": "lo", "type": "loopback"}
    code, result = ask("loopback", "ADD", conf, containerid="pod1", ifname="lo", netns=pod)

    assert code == 0
    assert [ip["address"] for ip in result["ips"]] == ["127.0.0.1/8", "::1/128"]
    assert "UP" in world.run(pod, "ip", "link", "show", "dev", "lo")


# --- beside Debian's -------------------------------------------------------


def need_debian():
    if not os.path.exists(f"{DEBIAN}/bridge"):
        pytest.skip("containernetworking-plugins not on this host")


def shape(result):
    """A result without what is made up anew each time."""
    interfaces = [
        {key: value for key, value in one.items() if key not in ("mac", "mtu")}
        for one in result["interfaces"]
        if not one["name"].startswith("veth")
    ]
    return {**result, "interfaces": interfaces}


@kernel
@pytest.mark.differential
@pytest.mark.parametrize("version", VERSIONS[2:-1])
def test_bridge_answers_as_debians(ask, world, tmp_path, bin_dir, version):
    need_debian()
    pod = world.namespace()
    answers = []
    for directory in (bin_dir, DEBIAN):
        conf = {**ours(tmp_path / os.path.basename(directory)), "cniVersion": version, "ipMasq": False}
        who = {"containerid": "pod1", "ifname": "eth0", "netns": pod, "directory": directory}
        code, result = ask("bridge", "ADD", conf, **who)
        assert code == 0, result
        answers.append(shape(result))
        code, _ = ask("bridge", "DEL", {**conf, "prevResult": result}, **who)
        assert code == 0

    mine, theirs = answers
    assert mine["ips"] == [{**ip, "interface": ip["interface"]} for ip in theirs["ips"]]
    assert mine["routes"] == theirs["routes"]
    assert mine["interfaces"] == theirs["interfaces"]


@kernel
@pytest.mark.differential
def test_debians_bridge_with_our_host_local(ask, world, tmp_path, bin_dir):
    need_debian()
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    shutil.copy(f"{bin_dir}/host-local", mixed)
    os.symlink(f"{DEBIAN}/bridge", mixed / "bridge")
    conf = {**ours(tmp_path), "cniVersion": "1.0.0", "ipMasq": False}
    who = {"containerid": "pod1", "ifname": "eth0", "netns": world.namespace(), "directory": str(mixed)}

    code, result = ask("bridge", "ADD", conf, **who)
    assert (code, result["ips"][0]["address"]) == (0, "10.88.0.2/16")
    assert ask("bridge", "CHECK", {**conf, "prevResult": result}, **who) == (0, None)
    assert ask("bridge", "DEL", {**conf, "prevResult": result}, **who) == (0, None)
    assert not [path for path in (tmp_path / "leases" / "mynet").iterdir() if path.name.startswith("10.")]


# --- by cnitool ------------------------------------------------------------


@pytest.fixture
def cnitool():
    homes = (os.environ.get("PATH", ""), os.path.expanduser("~/go/bin"), "/root/go/bin", ".cache/cnitool")
    found = shutil.which("cnitool", path=os.pathsep.join(homes))
    if found is None:
        pytest.skip("cnitool not on this host")
    return found


@kernel
@pytest.mark.differential
def test_cnitool_drives_the_chain(cnitool, world, tmp_path, bin_dir):
    """libcni's own client: ADD, CHECK, STATUS, GC and DEL of a list of ours."""
    pod = world.namespace()
    conf_dir = tmp_path / "net.d"
    conf_dir.mkdir()
    plugins = [
        {key: value for key, value in ours(tmp_path).items() if key not in ("cniVersion", "name")},
        {"type": "portmap", "capabilities": {"portMappings": True}},
        {"type": "tuning", "sysctl": {"net.core.somaxconn": "300"}, "dataDir": str(tmp_path / "tuning")},
    ]
    (conf_dir / "10-mynet.conflist").write_text(
        json.dumps({"cniVersion": "1.1.0", "name": "mynet", "plugins": plugins})
    )
    mapping = {"portMappings": [{"hostPort": 18080, "containerPort": 8080, "protocol": "tcp"}]}
    environment = os.environ | {
        "NETCONFPATH": str(conf_dir),
        "CNI_PATH": bin_dir,
        "CNI_IFNAME": "eth0",
        "CAP_ARGS": json.dumps(mapping),
    }

    def drive(verb):
        command = [cnitool, verb, "mynet", pod]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    drive("status")
    result = json.loads(drive("add"))
    assert result["ips"][0]["address"] == "10.88.0.2/16"
    assert world.connect("", pod, "10.88.0.2", target="127.0.0.1", port=18080) == "10.88.0.1"
    assert world.run(pod, "sysctl", "-n", "net.core.somaxconn") == "300"
    drive("check")
    drive("del")
    drive("gc")
    assert [link["ifname"] for link in world.json("", "ip", "-j", "link")] == ["lo"]
    assert "rundlet" not in world.run("", "nft", "list", "ruleset")
