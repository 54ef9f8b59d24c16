"""What podman's option texts mean; the examples are those of podman-run(1)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rundlet.engine.options import Device, PortMapping
from rundlet.errors import Error, InvalidArgument
from rundlet.local.options import (
    Confinement,
    HealthCheck,
    NetworkChoice,
    RestartPolicy,
    SecretUse,
    Ulimit,
    VolumeMount,
)
from rundlet.local.words.devices import parse_device_rule
from rundlet.local.words.environment import read_environment, read_labels
from rundlet.local.words.life import (
    join_platform,
    parse_entrypoint,
    parse_health,
    parse_logging,
    parse_pull,
    parse_restart,
    parse_words,
)
from rundlet.local.words.limits import parse_cpus, parse_memory, parse_memory_swap, parse_ulimit
from rundlet.local.words.mounts import parse_mount, parse_tmpfs, parse_volume
from rundlet.local.words.network import parse_host, parse_networks
from rundlet.local.words.numbers import parse_size, parse_span, parse_switch, parse_whole, split_comma
from rundlet.local.words.ports import parse_address, parse_publish
from rundlet.local.words.security import parse_capability, parse_id_map, parse_namespace, parse_security
from rundlet.local.words.uses import is_cdi_device, parse_device, parse_secret

FOLDER = "/home/me"


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [("512", 512), ("64k", 65536), ("64m", 64 << 20), ("1.5g", 3 << 29), ("2GiB", 2 << 30)],
)
def test_sizes_are_counted_in_powers_of_1024(text, size_bytes):
    assert parse_size(text) == size_bytes


@pytest.mark.parametrize(("text", "seconds"), [("30s", 30), ("1h30m", 5400), ("250ms", 0.25), ("2", 2)])
def test_durations_are_go_s(text, seconds):
    assert parse_span(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("text", "mount"),
    [
        ("/data", VolumeMount("volume", "/data")),
        ("/srv:/data", VolumeMount("bind", "/data", "/srv")),
        ("./sub:/data", VolumeMount("bind", "/data", "/home/me/sub")),
        ("cache:/data:ro", VolumeMount("volume", "/data", "cache", readonly=True)),
        (
            "/a:/b:rw,z,rslave",
            VolumeMount("bind", "/b", "/a", propagation="host-to-container", selinux_relabel=True),
        ),
        ("v:/b:nocopy,U", VolumeMount("volume", "/b", "v", copy_up=False, change_owner=True)),
        ("/a:/b:noexec", VolumeMount("bind", "/b", "/a", options=("noexec",))),
    ],
)
def test_volume(text, mount):
    assert parse_volume(text, FOLDER) == mount


@pytest.mark.parametrize(
    ("text", "mount"),
    [
        ("type=bind,src=/a,dst=/b,ro", VolumeMount("bind", "/b", "/a", readonly=True)),
        ("type=bind,source=a,target=/b,readonly=false", VolumeMount("bind", "/b", "/home/me/a")),
        ("src=cache,dst=/b", VolumeMount("volume", "/b", "cache")),
        (
            "type=tmpfs,dst=/t,tmpfs-size=1m,tmpfs-mode=1777",
            VolumeMount("tmpfs", "/t", size_bytes=1 << 20, mode=0o1777),
        ),
        ("type=image,src=redis,dst=/r", VolumeMount("image", "/r", "redis", readonly=True)),
    ],
)
def test_mount(text, mount):
    assert parse_mount(text, FOLDER) == mount


def test_tmpfs_with_a_size_and_a_mode():
    assert parse_tmpfs("/t:size=64m,mode=1770,noexec") == VolumeMount(
        "tmpfs", "/t", options=("noexec",), size_bytes=64 << 20, mode=0o1770
    )


@pytest.mark.parametrize(
    ("text", "ports"),
    [
        ("80", [PortMapping(80)]),
        ("8080:80", [PortMapping(80, 8080)]),
        ("127.0.0.1:8080:80/udp", [PortMapping(80, 8080, "127.0.0.1", "udp")]),
        ("127.0.0.1::80", [PortMapping(80, 0, "127.0.0.1")]),
        ("[::1]:8080:80", [PortMapping(80, 8080, "::1")]),
        ("0.0.0.0:8080:80", [PortMapping(80, 8080)]),
        ("8000-8001:80-81", [PortMapping(80, 8000), PortMapping(81, 8001)]),
        ("7000/SCTP", [PortMapping(7000, protocol="sctp")]),
    ],
)
def test_publish(text, ports):
    assert parse_publish(text) == tuple(ports)


@pytest.mark.parametrize(
    ("texts", "choice"),
    [
        ([], NetworkChoice()),
        (["host"], NetworkChoice("host")),
        (["container:web"], NetworkChoice("container", container="web")),
        (["front,back"], NetworkChoice("bridge", ("front", "back"))),
        (["front", "back"], NetworkChoice("bridge", ("front", "back"))),
        (
            ["front:ip=10.0.0.9,mac=92:D0:c6:0a:29:33,alias=a,alias=b"],
            NetworkChoice("bridge", ("front",), ip="10.0.0.9", mac="92:d0:c6:0a:29:33", aliases=("a", "b")),
        ),
        (["pasta:-T,5201"], NetworkChoice("pasta", options=("-T", "5201"))),
    ],
)
def test_network(texts, choice):
    assert parse_networks(texts) == choice


def test_environment_takes_values_of_the_shell(tmp_path):
    file = tmp_path / "env"
    file.write_text("# comment\n\nA=file\nB=file=x\nHOME\n")
    host = {"HOME": "/root", "GO_A": "1", "GO_B": "2"}
    found = dict(read_environment(["A=option", "GO_*", "ABSENT"], [str(file)], host))
    assert found == {"A": "option", "B": "file=x", "HOME": "/root", "GO_A": "1", "GO_B": "2"}


def test_labels_need_no_value():
    assert read_labels(["a=b=c", "only"]) == {"a": "b=c", "only": ""}


def test_limits():
    assert parse_ulimit("nofile=1024:4096") == [Ulimit("nofile", 1024, 4096)]
    assert parse_ulimit("memlock=-1") == [Ulimit("memlock", -1, -1)]
    assert {"nofile", "nproc"} <= {limit.name for limit in parse_ulimit("host")}
    assert (parse_cpus("1.5"), parse_cpus("0")) == ((150_000, 100_000), None)
    assert parse_memory_swap("-1") == -1


@pytest.mark.parametrize(
    ("text", "command", "shell"),
    [
        ("redis-cli ping", ("redis-cli ping",), True),
        ('["CMD", "redis-cli", "ping"]', ("redis-cli", "ping"), False),
        ('["CMD-SHELL", "redis-cli ping"]', ("redis-cli ping",), True),
        ("none", (), False),
    ],
)
def test_health_command(text, command, shell):
    assert parse_health(text, interval="5s") == HealthCheck(command, shell=shell, interval_s=5.0)


def test_the_image_s_health_check_stays_unless_it_is_switched_off():
    assert parse_health(None) is None
    assert parse_health(None, disabled=True) == HealthCheck()


@pytest.mark.parametrize(
    ("text", "words"),
    [("sh", ("sh",)), ('["sh", "-c"]', ("sh", "-c")), ("", ()), ("[no json", ("[no json",))],
)
def test_entrypoint(text, words):
    assert parse_entrypoint(text) == words


def test_life():
    assert parse_restart("on-failure:3") == RestartPolicy("on-failure", 3)
    assert parse_pull("IfNotPresent") == "missing"
    assert join_platform("", "", "arm64", "") == "linux/arm64"
    assert parse_logging("json-file", ["max-size=10m"]).max_size_bytes == 10 << 20


def test_secret_and_device():
    assert parse_secret("token,type=env,target=TOKEN") == SecretUse("token", "TOKEN", "env")
    assert parse_secret("token,uid=5,mode=0400") == SecretUse("token", uid=5, mode=0o400)
    assert parse_device("/dev/fuse:/dev/f:r") == Device("/dev/fuse", "/dev/f", "r")
    assert parse_device("/dev/fuse:rw") == Device("/dev/fuse", "/dev/fuse", "rw")
    assert is_cdi_device("vendor.com/gpu=all")


def test_security_options(tmp_path):
    (tmp_path / "profile.json").write_text("{}")
    words = [
        "no-new-privileges",
        "seccomp=profile.json",
        "label=type:t",
        "label=level:s0",
        "mask=/a:/b",
        "unmask=all",
    ]
    found = parse_security(words, Confinement(), str(tmp_path))
    assert found.no_new_privileges
    assert found.seccomp.path == str(tmp_path / "profile.json")
    assert (found.selinux.type, found.selinux.level) == ("t", "s0")
    assert (found.mask, found.unmask) == (("/a", "/b"), ("ALL",))


def test_capabilities_namespaces_and_id_maps():
    assert parse_capability("net_admin") == "CAP_NET_ADMIN"
    assert (parse_namespace("private"), parse_namespace("container:web")) == ("", "container:web")
    assert parse_namespace("keep-id:uid=5", "keep-id") == "keep-id:uid=5"
    assert (parse_id_map("0:100000:65536"), parse_id_map("0:5")) == ((0, 100000, 65536), (0, 5, 1))


@pytest.mark.parametrize(
    ("parse", "text", "said"),
    [
        (parse_size, "12q", "not a size"),
        (parse_memory, "0", "more than nothing"),
        (parse_span, "5 parsecs", "not a duration"),
        (parse_switch, "maybe", "neither true nor false"),
        (parse_publish, "70000", "not a port"),
        (parse_publish, "80/icmp", "unknown protocol"),
        (parse_publish, "80-82:90-91", "3 host ports for 2"),
        (parse_publish, "82-80", "before it begins"),
        (parse_publish, "300.0.0.1:80:80", "not an IP address"),
        (parse_restart, "always:3", "only on-failure"),
        (parse_id_map, "0:1:0", "length"),
        (parse_namespace, "hots", "unknown namespace"),
        (parse_device, "dev/x", "absolute"),
        (parse_ulimit, "nofile=9:3", "over the hard one"),
        (parse_tmpfs, "tmp", "absolute path"),
        (parse_cpus, "many", "not a number"),
        (parse_host, "db", "NAME:ADDRESS"),
    ],
)
def test_wrong_words_are_told_in_one_line(parse, text, said):
    with pytest.raises(InvalidArgument, match=said) as told:
        parse(text)
    assert "\n" not in told.value.message


@pytest.mark.parametrize(
    ("parse", "text", "hint"),
    [
        (lambda text: parse_mount(text, FOLDER), "type=bnd,src=/a,dst=/b", "bind"),
        (lambda text: parse_mount(text, FOLDER), "type=bind,sorce=/a,dst=/b", "source"),
        (lambda text: parse_volume(text, FOLDER), "/a:/b:noexce", "noexec"),
        (lambda text: parse_networks([text]), "front:alis=x", "alias"),
        (parse_ulimit, "nofiles=3", "nofile"),
        (parse_capability, "NET_ADMN", "CAP_NET_ADMIN"),
    ],
)
def test_a_wrong_word_names_the_nearest_right_one(parse, text, hint):
    with pytest.raises(InvalidArgument) as told:
        parse(text)
    assert hint in told.value.hint


PARSERS = [
    *(parse_size, parse_span, parse_publish, parse_restart, parse_capability, parse_id_map, parse_namespace),
    *(parse_device, parse_secret, parse_ulimit, parse_tmpfs, parse_cpus, parse_host, parse_entrypoint),
    *(split_comma, parse_health),
    lambda text: parse_mount(text, FOLDER),
    lambda text: parse_volume(text, FOLDER),
    lambda text: parse_networks([text]),
    lambda text: parse_security([text], Confinement(), FOLDER),
    lambda text: parse_logging("k8s-file", [text]),
]


@given(st.sampled_from(PARSERS), st.text(alphabet='abz019:,=./-_[]"{}\\ \n\0é²', max_size=30))
def test_any_text_is_read_or_refused_by_name(parse, text):
    try:
        parse(text)
    except Error as error:
        assert error.message


@given(st.integers(1, 65000), st.integers(1, 65000), st.integers(0, 20), st.sampled_from(["tcp", "udp"]))
def test_ranges_map_port_by_port(first, host_first, more, protocol):
    ports = parse_publish(f"{host_first}-{host_first + more}:{first}-{first + more}/{protocol}")
    assert len(ports) == more + 1
    assert {port.container_port - port.host_port for port in ports} == {first - host_first}


@pytest.mark.parametrize("text", ["10.0.0.1\0", "\udc80", "1" * 5000])
def test_an_address_with_bytes_that_are_no_text_is_refused(text):
    with pytest.raises(InvalidArgument):
        parse_address(text)


def test_a_nest_of_brackets_is_no_list_of_words():
    assert parse_words("[" * 5000) is None


@pytest.mark.parametrize(
    "parse",
    [
        parse_size,
        parse_memory,
        parse_publish,
        parse_device_rule,
        lambda text: parse_whole(text, "uid"),
        lambda text: parse_ulimit(f"nofile={text}"),
        lambda text: parse_device_rule(f"c {text}:1 r"),
        lambda text: parse_id_map(f"0:{text}:1"),
    ],
)
def test_a_number_with_thousands_of_digits_is_refused(parse):
    with pytest.raises(InvalidArgument):
        parse("9" * 5000)
