"""This machine's containers as an ordinary user: the same engine, in a user namespace."""

import io
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from rundlet.registry.server import RegistryServer
from tests.engine.conftest import add_file, make_layer, push
from tests.rootless.conftest import UID, User

pytestmark = pytest.mark.kernel

BEGIN = """
from rundlet.local.machine import Machine
from rundlet.local.options import *
from rundlet.engine.options import Resources, PortMapping
from rundlet.local.status import ContainerQuery
from msgspec.structs import replace
machine = Machine()
image = os.environ.get("IMAGE", "")
asked = RunOptions(image=image, command=("sleep", "600"), network=NetworkChoice(mode="none"))
def out(name, *argv): return machine.containers.exec(name, argv).stdout.decode().split("\\n")[:-1]
def refused(act, *args, **given):
    try: return act(*args, **given)
    except Error as error: return [error.code, error.message, error.hint]
"""
END = """
for found in machine.containers.list(ContainerQuery(all=True)): machine.containers.remove(found.id, force=True)
machine.close()
"""


@pytest.fixture
def image(registry: str) -> str:
    return f"{registry}/busybox:latest"


@pytest.fixture
def owned(tmp_path: Path) -> Iterator[str]:
    """An image with a file of user 999, one that a second layer hides, and a directory that it empties."""
    program = shutil.which("busybox")
    if program is None:
        pytest.skip("busybox not on this host")
    below, above = io.BytesIO(), io.BytesIO()
    with tarfile.open(fileobj=below, mode="w") as archive:
        info = tarfile.TarInfo("data/own")
        info.uid, info.gid = 999, 1000
        archive.addfile(info)
        add_file(archive, "data/hidden", b"1")
        add_file(archive, "emptied/old", b"1")
    with tarfile.open(fileobj=above, mode="w") as archive:
        add_file(archive, "data/.wh.hidden", b"")
        add_file(archive, "emptied/.wh..wh..opq", b"")
        add_file(archive, "emptied/new", b"1")
    server = RegistryServer(str(tmp_path / "registry"))
    server.start()
    layers = (make_layer(Path(program).read_bytes()), below.getvalue(), above.getvalue())
    yield push(server.address, "owned:latest", layers[0], {"Cmd": ["sh"]}, *layers[1:])
    server.stop()


def test_a_container_runs_with_a_program_beside_it_and_nothing_is_left(user: User, image: str) -> None:
    program = (
        BEGIN
        + """
name = machine.containers.run(asked)
tell(out(name, "id", "-u") + out(name, "hostname") + out(name, "cat", "/proc/self/uid_map"))
tell(out(name, "sh", "-c", "rm /bin/wget; mkdir /new; echo text > /new/file; ls /new; ls /bin/wget 2>&1 | wc -l"))
tell(out(name, "sh", "-c", "echo x > /dev/null && head -c 3 /dev/zero | wc -c"))
tell(sorted(out(name, "ls", "/sys/class/net")))
"""
        + END
        + "tell(sorted(os.listdir(machine.settings.places.root + '/snapshots')))"
    )
    told = user.run(program, IMAGE=image)
    assert told[0][0] == "0"
    assert told[0][2].split() == ["0", str(UID), "1"]
    assert told[1:] == [["file", "1"], ["3"], ["lo"], []]


def test_a_detached_container_outlives_its_maker_and_the_next_process_finds_it(
    user: User, image: str
) -> None:
    user.run(BEGIN + "machine.containers.run(replace(asked, name='web')); machine.close()", IMAGE=image)
    program = (
        BEGIN
        + """
tell([[found.name, found.state] for found in machine.containers.list(ContainerQuery())])
tell(out("web", "echo", "inside"))
machine.containers.stop("web", 0)
tell(machine.containers.wait("web"))
machine.containers.start("web")
tell(out("web", "echo", "again"))
"""
        + END
    )
    assert user.run(program) == [[["web", "running"]], ["inside"], 137, ["again"]]


def test_layers_keep_whiteouts_without_the_rights_of_root(user: User, owned: str) -> None:
    program = BEGIN + "name = machine.containers.run(asked); tell(out(name, 'ls', '/data', '/emptied'))" + END
    assert user.run(program, IMAGE=owned) == [["/data:", "own", "", "/emptied:", "new"]]


def test_with_ranges_files_have_their_owners_and_users_are_who_they_are(
    user: User, owned: str, ranges: None
) -> None:
    program = (
        BEGIN
        + """
name = machine.containers.run(replace(asked, user="redis"))
tell(out(name, "id") + out(name, "stat", "-c", "%u %g", "/data/own"))
"""
        + END
    )
    [[identity, owner]] = user.run(program, IMAGE=owned)
    assert identity.startswith("uid=999(redis) gid=1000(redis)")
    assert owner == "999 1000"


def test_with_one_id_other_owners_become_root_and_other_users_are_refused(user: User, owned: str) -> None:
    program = (
        BEGIN
        + """
name = machine.containers.run(asked)
tell(out(name, "stat", "-c", "%u %g", "/data/own"))
tell(refused(machine.containers.run, replace(asked, user="redis")))
tell(len(machine.containers.list(ContainerQuery(all=True))))
"""
        + END
    )
    owner, (code, message, hint), count = user.run(program, IMAGE=owned)
    assert owner == ["0 0"]
    assert (code, "999" in message, "/etc/subuid" in hint) == ("failed_precondition", True, True), message
    assert count == 1


def test_limits_that_nothing_keeps_are_refused_by_name(user: User, image: str) -> None:
    program = (
        BEGIN
        + """
for name, value in (("memory_limit_bytes", 1 << 28), ("cpu_quota_us", 50000), ("pids_limit", 10)):
    tell(refused(machine.containers.run, replace(asked, resources=Resources(**{name: value}))))
tell(len(machine.containers.list(ContainerQuery(all=True))))
"""
        + END
    )
    *refusals, count = user.run(program, IMAGE=image)
    assert [message.split(":")[0] for _, message, _ in refusals] == [
        "resources.memory", "resources.cpu", "resources.pids",
    ]  # fmt: skip
    assert all("no cgroup is delegated" in message for _, message, _ in refusals)
    assert count == 0


def test_the_hosts_network_is_the_hosts(user: User, image: str) -> None:
    program = (
        BEGIN
        + """
name = machine.containers.run(replace(asked, network=NetworkChoice(mode="host")))
tell(out(name, "cat", "/proc/self/net/dev")); tell(open("/proc/self/net/dev").read().split("\\n")[:-1])
tell(out(name, "ls", "/sys/class"))
"""
        + END
    )
    inside, outside, classes = user.run(program, IMAGE=image)
    names = [[line.split(":")[0] for line in lines[2:]] for lines in (inside, outside)]
    assert names[0] == names[1]
    assert "net" in classes


def test_a_volume_of_the_user_is_the_users(user: User, image: str) -> None:
    (user.home / "shared").mkdir()
    (user.home / "shared").chmod(0o777)
    program = (
        BEGIN
        + """
mounts = (VolumeMount(kind="bind", source=os.environ["HOME"] + "/shared", target="/shared"),
          VolumeMount(kind="bind", source="/etc", target="/hosts-etc", readonly=True))
name = machine.containers.run(replace(asked, mounts=mounts))
tell(out(name, "sh", "-c", "touch /shared/file; cat /hosts-etc/shadow 2>&1; echo $?"))
"""
        + END
    )
    [told] = user.run(program, IMAGE=image)
    assert told[-1] == "1", "the host's shadow file was read"
    assert (user.home / "shared/file").stat().st_uid == UID
