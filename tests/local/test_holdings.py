"""Volumes, secrets, networks and pods, with real containers."""

import io
import os
import tarfile

import pytest
from msgspec.structs import replace

from rundlet.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound
from rundlet.local.networkplan import NetworkRequest
from rundlet.local.options import NetworkChoice, PodRequest, SecretUse, VolumeMount
from rundlet.local.status import ContainerQuery
from rundlet.local.volumes import VolumeRequest

pytestmark = pytest.mark.kernel


def sh(asked, script, **changes):
    return replace(asked, entrypoint=("sh", "-c", script), command=(), **changes)


def logs(machine, name):
    return b"".join(entry.content + b"\n" for entry in machine.containers.logs(name)).decode()


def run_to_end(machine, asked):
    name = machine.containers.run(asked)
    code = machine.containers.wait(name, 30)
    return code, logs(machine, name)


# --- volumes -----------------------------------------------------------------


def test_volume_is_made_and_outlives_its_container(machine, asked):
    mount = VolumeMount("volume", "/data", "things")
    assert run_to_end(machine, sh(asked, "echo kept > /data/file", name="one", mounts=(mount,)))[0] == 0
    machine.containers.remove("one", volumes=True)

    code, text = run_to_end(machine, sh(asked, "cat /data/file", mounts=(mount,)))

    assert (code, text.strip()) == (0, "kept")
    (volume,) = machine.volumes.list()
    assert (volume.name, volume.anonymous, len(volume.users)) == ("things", False, 1)


def test_new_volume_has_what_the_image_has_there_with_its_owner(machine, asked):
    mount = VolumeMount("volume", "/etc", "conf")
    code, text = run_to_end(machine, sh(asked, "ls /etc", mounts=(mount,)))
    assert code == 0
    assert "passwd" in text
    inside = os.stat(machine.volumes.locate("conf"))
    assert inside.st_mode & 0o7777 == 0o755


def test_volume_that_wants_no_copy_stays_empty(machine, asked):
    mount = VolumeMount("volume", "/etc/new", "conf", copy_up=False)
    code, text = run_to_end(machine, sh(asked, "ls /etc/new", mounts=(mount,)))
    assert (code, text) == (0, "")


def test_anonymous_volume_goes_with_the_container_when_asked_to(machine, asked):
    for volumes, left in ((False, 1), (True, 1)):
        name = machine.containers.create(replace(asked, mounts=(VolumeMount("volume", "/data"),)))
        machine.containers.remove(name, volumes=volumes)
        assert len(machine.volumes.list()) == left
    assert machine.volumes.prune()
    assert machine.volumes.list() == []


def test_volume_of_a_failed_create_is_gone_again(machine, asked):
    mounts = (VolumeMount("volume", "/data", "fresh"),)
    with pytest.raises(NotFound, match="secret"):
        machine.containers.create(replace(asked, mounts=mounts, secrets=(SecretUse("none"),)))
    assert machine.volumes.list() == []
    assert machine.containers.list() == []


def test_volume_that_a_container_has_is_not_removed(machine, asked):
    machine.containers.create(replace(asked, name="holder", mounts=(VolumeMount("volume", "/d", "v"),)))
    with pytest.raises(FailedPrecondition, match="container holder has it"):
        machine.volumes.remove("v")


def test_volumes_from_another_container(machine, asked):
    mount = VolumeMount("volume", "/data", "shared")
    machine.containers.create(replace(asked, name="source", mounts=(mount,)))
    code, text = run_to_end(machine, sh(asked, "touch /data/x || echo refused", volumes_from=("source:ro",)))
    assert code == 0
    assert "refused" in text


def test_volume_in_memory_is_there_when_its_container_starts_again(machine, asked):
    machine.volumes.create(VolumeRequest("mem", options={"type": "tmpfs", "device": "tmpfs", "o": "size=1m"}))
    mount = VolumeMount("volume", "/data", "mem")
    code, text = run_to_end(machine, sh(asked, "grep -c ' /data tmpfs' /proc/mounts", mounts=(mount,)))
    assert (code, text.strip()) == (0, "1")
    machine.containers.remove(machine.containers.list(ContainerQuery(all=True))[0].name)
    machine.volumes.remove("mem")
    assert not os.path.exists(machine.volumes.locate("mem"))


def test_unknown_volume_option_is_refused(machine):
    with pytest.raises(InvalidArgument, match="typ"):
        machine.volumes.create(VolumeRequest("v", options={"typ": "tmpfs"}))
    assert machine.volumes.list() == []


def test_volume_goes_out_as_a_tar_and_comes_back(machine, asked):
    machine.volumes.create(VolumeRequest("from"))
    machine.volumes.create(VolumeRequest("to"))
    with open(f"{machine.volumes.locate('from')}/file", "w", encoding="ascii") as file:
        file.write("text")
    out = io.BytesIO()

    machine.volumes.write_archive("from", out)
    machine.volumes.read_archive("to", io.BytesIO(out.getvalue()))

    with tarfile.open(fileobj=io.BytesIO(out.getvalue())) as archive:
        assert "file" in [name.strip("./") for name in archive.getnames()]
    with open(f"{machine.volumes.locate('to')}/file", encoding="ascii") as file:
        assert file.read() == "text"


# --- secrets -----------------------------------------------------------------


def test_secret_is_a_file_of_its_user_or_a_variable(machine, asked):
    machine.secrets.create("word", b"xyzzy")
    uses = (SecretUse("word", uid=7, mode=0o400), SecretUse("word", "WORD", "env"))
    script = "stat -c %a:%u /run/secrets/word; cat /run/secrets/word; echo; echo $WORD"
    code, text = run_to_end(machine, sh(asked, script, secrets=uses))
    assert (code, text.split()) == (0, ["400:7", "xyzzy", "xyzzy"])


def test_secret_can_be_read_by_nobody_else(machine):
    machine.secrets.create("word", b"xyzzy")
    directory = f"{machine.settings.places.root}/secrets"
    (name,) = os.listdir(directory)
    assert os.stat(directory).st_mode & 0o777 == 0o700
    assert os.stat(f"{directory}/{name}").st_mode & 0o777 == 0o600


def test_secret_of_a_taken_name_is_replaced_only_when_asked(machine):
    machine.secrets.create("word", b"one")
    with pytest.raises(AlreadyExists):
        machine.secrets.create("word", b"two")
    machine.secrets.create("word", b"two", replace=True)
    assert machine.secrets.read("word") == b"two"
    assert len(os.listdir(f"{machine.settings.places.root}/secrets")) == 1
    machine.secrets.remove("word")
    assert os.listdir(f"{machine.settings.places.root}/secrets") == []


# --- networks ----------------------------------------------------------------


def test_containers_on_a_network_find_each_other_by_name(machine, asked):
    machine.networks.create(NetworkRequest("back"))
    on_back = replace(asked, network=NetworkChoice(names=("back",), aliases=("store",)))
    machine.containers.run(replace(on_back, name="db"))
    machine.containers.run(replace(on_back, name="web"))

    def hosts(name):
        return machine.containers.exec(name, ["cat", "/etc/hosts"]).stdout.decode()

    ip = machine.containers.get("db").ips[0]
    assert any(
        line.split()[:2] == [ip, "db"] and "store" in line.split() for line in hosts("web").splitlines()
    )
    assert " web " in hosts("db").replace("\t", " ")
    machine.containers.stop("db", 0)
    assert not any("db" in line.split() for line in hosts("web").splitlines())
    machine.containers.start("db")
    assert any("db" in line.split() for line in hosts("web").splitlines())


def test_container_on_two_networks_has_an_interface_on_each(machine, asked):
    machine.networks.create(NetworkRequest("left", subnets=("10.99.1.0/24",)))
    machine.networks.create(NetworkRequest("right"))
    choice = NetworkChoice(names=("left", "right"), ip="10.99.1.9", mac="02:00:00:00:00:09")
    code, text = run_to_end(machine, sh(asked, "ip -o -4 address; ip link", network=choice))
    assert code == 0
    assert "10.99.1.9/24" in text
    assert "02:00:00:00:00:09" in text
    assert "eth1" in text


def test_network_that_a_container_asks_for_is_not_removed(machine, asked):
    machine.networks.create(NetworkRequest("back"))
    machine.containers.create(replace(asked, name="db", network=NetworkChoice(names=("back",))))
    with pytest.raises(FailedPrecondition, match="container db is on it"):
        machine.networks.remove("back")
    machine.containers.remove("db", force=True)
    machine.networks.remove("back")
    assert [network.name for network in machine.networks.list()] == ["rundlet"]


def test_networks_get_subnets_that_do_not_overlap(machine):
    first, second = (machine.networks.create(NetworkRequest(name)) for name in ("a", "b"))
    assert first.subnets[0].subnet != second.subnets[0].subnet
    assert first.interface != second.interface
    with pytest.raises(AlreadyExists, match="overlaps"):
        machine.networks.create(NetworkRequest("c", subnets=(first.subnets[0].subnet,)))


def test_container_without_a_word_is_on_the_default_network(machine, asked):
    machine.containers.run(replace(asked, name="plain", network=NetworkChoice()))
    assert machine.containers.get("plain").ips[0].startswith("10.86.")


def test_unknown_network_is_refused_and_leaves_nothing(machine, asked):
    with pytest.raises(NotFound, match="no network nowhere"):
        machine.containers.create(replace(asked, network=NetworkChoice(names=("nowhere",))))
    assert machine.containers.list() == []


# --- pods --------------------------------------------------------------------


def test_containers_of_a_pod_share_its_network_and_go_with_it(machine, asked):
    machine.pods.create(PodRequest("group", hostname="group-host"))
    machine.containers.run(replace(asked, name="one", pod="group", network=NetworkChoice()))
    code, text = run_to_end(
        machine,
        sh(asked, "hostname; ip -o -4 address show eth0", name="two", pod="group", network=NetworkChoice()),
    )
    pod = machine.pods.get("group")
    assert code == 0
    assert text.splitlines()[0] == "group-host"
    assert pod.ips[0] in text
    assert pod.state == "Degraded"
    with pytest.raises(FailedPrecondition, match="container one is running"):
        machine.pods.remove("group")
    machine.pods.remove("group", force=True)
    assert machine.containers.list() == []
    assert machine.pods.list() == []


def test_pod_stops_and_starts_with_its_containers(machine, asked):
    pod_id = machine.pods.create(PodRequest("group"))
    machine.containers.run(replace(asked, name="one", pod=pod_id[:12], network=NetworkChoice()))
    machine.pods.stop("group", 0)
    assert machine.pods.get("group").state == "Exited"
    machine.pods.start("group")
    assert machine.pods.get("group").state == "Running"
    machine.pods.kill("group")
    machine.containers.wait("one", 10)


def test_pod_of_a_taken_name_leaves_nothing(machine):
    machine.pods.create(PodRequest("group"))
    with pytest.raises(AlreadyExists):
        machine.pods.create(PodRequest("group"))
    assert len(machine.engine.pods.list()) == 1


def test_ports_of_a_container_that_joins_a_pod_are_refused(machine, asked):
    machine.pods.create(PodRequest("group"))
    with pytest.raises(InvalidArgument, match="joined"):
        machine.containers.create(replace(asked, pod="group", network=NetworkChoice(names=("x",))))
