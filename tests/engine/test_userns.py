"""Pods with a user namespace of their own: root inside is nobody outside."""

import io
import os
import shutil
import struct
import tarfile
from pathlib import Path

import pytest
from msgspec.structs import replace

from rundlet.engine.engine import Engine
from rundlet.engine.idmap import read_abilities
from rundlet.engine.options import ContainerOptions, IdMapping, Mount, Namespaces, PodOptions, Security
from rundlet.engine.records import SCHEMA
from rundlet.engine.settings import Settings
from rundlet.store.store import Store
from tests.engine.conftest import make_layer, push

pytestmark = pytest.mark.kernel

FIRST = 200000
MAPPING = (IdMapping(0, FIRST, 65536),)


@pytest.fixture(params=["idmap", "metacopy", "copy"])
def settings(request: pytest.FixtureRequest, settings: Settings, tmp_path: Path) -> Settings:
    kind: str = request.param
    if kind == "idmap" and not read_abilities([str(tmp_path)], (99, 0)).idmap:
        pytest.skip(f"idmapped mounts of {tmp_path} not on this host")
    return replace(settings, userns_rootfs=kind)


def security(**namespaces: str) -> Security:
    return Security(
        namespaces=Namespaces(user="pod", uid_mappings=MAPPING, gid_mappings=MAPPING, **namespaces)
    )


def start(
    engine: Engine, image: str, mounts: tuple[Mount, ...] = (), name: str = "c", **namespaces: str
) -> str:
    """A container that only waits, in a pod of its own."""
    pod = engine.pods.run(PodOptions(name=name, uid="u", namespace="n", security=security(**namespaces)))
    options = ContainerOptions(
        name="c", image=image, command=("sleep", "100"), mounts=mounts, security=security(**namespaces)
    )
    container = engine.containers.create(pod, options)
    engine.containers.start(container)
    return container


def run(engine: Engine, image: str, *command: str, mounts: tuple[Mount, ...] = (), **namespaces: str) -> str:
    """Run a pod with one container that only waits; what `command` prints in it."""
    container = start(engine, image, mounts, **namespaces)
    pid = engine.containers.status(container).pid
    assert os.stat(f"/proc/{pid}").st_uid == FIRST
    return execute(engine, container, *command)


def execute(engine: Engine, container: str, *command: str) -> str:
    result = engine.containers.exec_sync(container, command, 10)
    assert result.stderr == b""
    return result.stdout.decode()


@pytest.mark.parametrize("pid", ["pod", "container"])
def test_root_inside_is_another_user_outside(engine: Engine, image: str, pid: str) -> None:
    script = "cat /proc/self/uid_map; id -u; stat -c %u /bin/busybox /etc/passwd; touch /new; stat -c %u /new"
    words = run(engine, image, "sh", "-c", script, pid=pid).split()
    assert words == ["0", str(FIRST), "65536", "0", "0", "0", "0"]


def test_a_volume_is_seen_through_the_same_mapping(engine: Engine, image: str, tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    volume.mkdir()
    (volume / "mine").write_text("x")
    mount = Mount("/v", host_path=str(volume), uid_mappings=MAPPING, gid_mappings=MAPPING)
    script = "stat -c %u /v/mine; echo y >/v/new; stat -c %u /v/new"
    assert run(engine, image, "sh", "-c", script, mounts=(mount,), pid="container").split() == ["0", "0"]
    assert (volume / "new").stat().st_uid == 0


def test_the_pods_network_belongs_to_it(engine: Engine, image: str) -> None:
    script = "ip addr show eth0 | grep -o 10.88.0.2; cat /proc/sys/net/ipv4/ip_forward"
    assert run(engine, image, "sh", "-c", script, pid="container").split()[0] == "10.88.0.2"


def make_acl(user: int) -> bytes:
    """One more user may read: version 2, then (tag, permissions, id) as in <linux/posix_acl_xattr.h>."""
    entries = ((1, 4, -1), (2, 4, user), (4, 4, -1), (16, 4, -1), (32, 4, -1))
    return struct.pack("<I", 2) + b"".join(
        struct.pack("<HHI", tag, may, number & 0xFFFFFFFF) for tag, may, number in entries
    )


# VFS_CAP_REVISION_2 with CAP_CHOWN permitted and effective (<linux/capability.h>).
CAPABILITY = bytes.fromhex("0100000201000000000000000000000000000000")


def add(archive: tarfile.TarFile, name: str, data: bytes = b"", **fields: object) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(data), 0o644
    for key, value in fields.items():
        setattr(info, key, value)
    archive.addfile(info, io.BytesIO(data))


def make_pax(xattrs: dict[str, bytes]) -> dict[str, str]:
    return {f"SCHILY.xattr.{key}": value.decode("utf-8", "surrogateescape") for key, value in xattrs.items()}


def busybox() -> bytes:
    return Path(shutil.which("busybox") or "").read_bytes()


def make_layers() -> tuple[bytes, bytes]:
    """What a copy might lose; the upper layer hides a file and a directory's old content."""
    below, above = io.BytesIO(), io.BytesIO()
    with tarfile.open(fileobj=below, mode="w", format=tarfile.PAX_FORMAT) as archive:
        xattrs = {
            "user.note": b"kept",
            "security.capability": CAPABILITY,
            "system.posix_acl_access": make_acl(5),
        }
        pax = {
            f"SCHILY.xattr.{key}": value.decode("utf-8", "surrogateescape") for key, value in xattrs.items()
        }
        add(archive, "srv", type=tarfile.DIRTYPE, mode=0o1777, uid=7, gid=8, mtime=1_700_000_000)
        add(archive, "srv/first", b"linked", uid=999, gid=1000, mode=0o6755, mtime=1_600_000_000)
        add(archive, "srv/second", type=tarfile.LNKTYPE, linkname="srv/first")
        add(archive, "srv/marked", b"x", pax_headers=pax, uid=65536, gid=70000)
        pax = make_pax({"security.capability": CAPABILITY})
        add(archive, "srv/chown", busybox(), mode=0o755, pax_headers=pax)
        add(archive, "srv/pipe", type=tarfile.FIFOTYPE, uid=3)
        add(archive, "srv/link", type=tarfile.SYMTYPE, linkname="first", uid=4)
        add(archive, "srv/gone", b"x")
        add(archive, "opt", type=tarfile.DIRTYPE, mode=0o755)
        add(archive, "opt/old", b"old")
        add(archive, "opt/both", b"lower one")
    with tarfile.open(fileobj=above, mode="w") as archive:
        add(archive, "srv/.wh.gone")
        add(archive, "opt", type=tarfile.DIRTYPE, mode=0o755, uid=9)
        add(archive, "opt/.wh..wh..opq")
        add(archive, "opt/both", b"upper", uid=10)
    return below.getvalue(), above.getvalue()


@pytest.fixture(scope="module")
def rich_image(registry: str) -> str:
    layer = make_layer(busybox())
    return push(registry, "rich:1", layer, {"Cmd": ["sleep", "100"]}, *make_layers())


def test_nothing_of_a_file_is_lost(engine: Engine, rich_image: str) -> None:
    engine.images.pull(rich_image)
    container = start(engine, rich_image)
    root = Path(f"/proc/{engine.containers.status(container).pid}/root")
    assert sorted(os.listdir(root / "srv")) == ["chown", "first", "link", "marked", "pipe", "second"]
    assert look(root / "srv") == (7, 8, 0o41777, 1_700_000_000)
    assert look(root / "srv/first") == look(root / "srv/second") == (999, 1000, 0o106755, 1_600_000_000)
    assert look(root / "srv/pipe") == (3, 0, 0o010644, 0)
    assert look(root / "srv/link")[:2] == (4, 0)
    assert (root / "srv/second").read_text() == "linked"
    assert (root / "srv/first").stat().st_ino == (root / "srv/second").stat().st_ino
    assert os.listdir(root / "opt") == ["both"]
    assert (root / "opt/both").read_text() == "upper"
    assert (look(root / "opt")[0], look(root / "opt/both")[0]) == (9, 10)


def look(path: Path) -> tuple[int, int, int, int]:
    """(user, group, type and mode, seconds) as they are inside."""
    status = path.lstat()
    return status.st_uid - FIRST, status.st_gid - FIRST, status.st_mode, int(status.st_mtime)


def test_extended_attributes_are_kept(engine: Engine, rich_image: str) -> None:
    engine.images.pull(rich_image)
    container = start(engine, rich_image)
    path = f"/proc/{engine.containers.status(container).pid}/root/srv/marked"
    assert os.getxattr(path, "user.note") == b"kept"
    assert os.getxattr(path, "system.posix_acl_access") == make_acl(FIRST + 5)
    status = os.stat(path)
    assert (status.st_uid, status.st_gid) in {(65536, 70000), (65534, 65534)}  # ids that are none inside


def test_a_file_s_capability_counts(engine: Engine, rich_image: str) -> None:
    engine.images.pull(rich_image)
    pod = engine.pods.run(PodOptions(name="p", uid="u", namespace="n", security=security()))
    user = replace(security(), user_id=1000)
    options = ContainerOptions("c", rich_image, command=("sleep", "100"), security=user)
    container = engine.containers.create(pod, options)
    engine.containers.start(container)
    script = "touch /tmp/file; chown 5 /tmp/file 2>/dev/null || /srv/chown 6 /tmp/file; stat -c %u /tmp/file"
    assert execute(engine, container, "/bin/busybox", "sh", "-c", script) == "6\n"


def test_what_is_written_is_there_and_goes_with_the_container(engine: Engine, rich_image: str) -> None:
    engine.images.pull(rich_image)
    container = start(engine, rich_image)
    script = "echo more >>/srv/first; cat /srv/first; chown 5:6 /srv/second; cat /srv/second; mv /opt /moved; cat /moved/both"
    assert execute(engine, container, "sh", "-c", script) == "linkedmore\nlinkedupper"


def test_layers_are_made_once_for_a_mapping(engine: Engine, rich_image: str, settings: Settings) -> None:
    engine.images.pull(rich_image)
    base = engine.images.fs_info()[0]
    one = start(engine, rich_image, name="one")
    shifted = Path(settings.root, "shifted")
    made = {path.name: path.stat().st_ino for path in shifted.iterdir()}
    assert len(made) == (0 if settings.userns_rootfs == "idmap" else 3)
    taken = engine.images.fs_info()[0]
    assert (taken.used_bytes > base.used_bytes) == (taken.inodes_used > base.inodes_used) == bool(made)
    if settings.userns_rootfs == "metacopy":  # no data
        assert taken.used_bytes - base.used_bytes < 300_000
    two = start(engine, rich_image, name="two")
    assert {path.name: path.stat().st_ino for path in shifted.iterdir()} == made
    engine.containers.remove(one)
    assert execute(engine, two, "cat", "/srv/first") == "linked"
    engine.containers.remove(two)
    settle(settings)
    assert list(shifted.iterdir()) == []
    assert engine.images.fs_info()[0].used_bytes == base.used_bytes
    assert settings.root not in Path("/proc/self/mounts").read_text()


def settle(settings: Settings) -> None:
    """Another opening finishes what this one's sweeper may still be at."""
    Store.open(settings.root, settings.run_root, SCHEMA).close()


def test_a_volume_of_an_image_has_owners_that_fit(engine: Engine, image: str, rich_image: str) -> None:
    engine.images.pull(rich_image)
    volume = Mount("/v", image=rich_image, uid_mappings=MAPPING, gid_mappings=MAPPING)
    container = start(engine, image, (volume,))
    assert execute(engine, container, "stat", "-c", "%u:%g", "/v/srv/first") == "999:1000\n"
    assert execute(engine, container, "cat", "/v/srv/first") == "linked"


@pytest.mark.parametrize("kind", ["mkdir", "bind"])
def test_volumes_that_an_image_declares_belong_to_it(settings: Settings, registry: str, kind: str) -> None:
    layer = make_layer(busybox())
    config = {"Cmd": ["sleep", "100"], "Volumes": {"/made/here": {}}}
    image = push(registry, "declares:1", layer, config)
    with Engine(replace(settings, image_volumes=kind)) as engine:
        engine.images.pull(image)
        container = start(engine, image)
        assert execute(engine, container, "stat", "-c", "%u", "/made", "/made/here").split()[1] == "0"
        assert execute(engine, container, "touch", "/made/here/file") == ""
        engine.pods.remove(engine.pods.list()[0].id)
