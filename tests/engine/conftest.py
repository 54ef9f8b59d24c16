"""An engine on its own roots, and a busybox image in a registry on loopback."""

import io
import json
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from rundlet.engine.engine import Engine
from rundlet.engine.settings import Settings
from rundlet.registry.client import RegistryClient
from rundlet.registry.server import RegistryServer
from rundlet.spec.digest import Digest
from rundlet.spec.reference import parse_reference

APPLETS = "sh cat echo sleep id env ls ps hostname mount touch kill head dd true false stat mkdir wget nc ip"
PASSWD = "root:x:0:0:root:/root:/bin/sh\nredis:x:999:1000::/data:/bin/sh\n"
GROUP = "root:x:0:\nredis:x:1000:\ntape:x:50000:redis\n"


def conf_list(data_dir: str) -> dict[str, object]:
    """A bridge with addresses of its own leases, so that each test's first pod is 10.88.0.2."""
    ipam = {"type": "host-local", "dataDir": data_dir, "ranges": [[{"subnet": "10.88.0.0/16"}]]}
    bridge = {"type": "bridge", "bridge": "cni0", "isGateway": True, "ipMasq": False, "ipam": ipam}
    return {"cniVersion": "1.0.0", "name": "pods", "plugins": [bridge]}


def add_file(archive: tarfile.TarFile, name: str, data: bytes, mode: int = 0o644) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(data), mode
    archive.addfile(info, io.BytesIO(data))


def add_directory(archive: tarfile.TarFile, name: str, mode: int = 0o755) -> None:
    info = tarfile.TarInfo(name)
    info.type, info.mode = tarfile.DIRTYPE, mode
    archive.addfile(info)


def make_layer(busybox: bytes) -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as archive:
        for name in ("bin", "etc", "data", "root", "proc", "sys", "dev"):
            add_directory(archive, name)
        add_directory(archive, "tmp", 0o1777)
        add_file(archive, "bin/busybox", busybox, 0o755)
        for applet in APPLETS.split():
            info = tarfile.TarInfo(f"bin/{applet}")
            info.type, info.linkname = tarfile.SYMTYPE, "busybox"
            archive.addfile(info)
        add_file(archive, "etc/passwd", PASSWD.encode())
        add_file(archive, "etc/group", GROUP.encode())
    return raw.getvalue()


def push(address: str, name: str, layer: bytes, config: dict[str, object], *above: bytes) -> str:
    """Push an image of one layer and those above it; the reference to pull."""
    reference = parse_reference(f"{address}/{name}")
    layers = (layer, *above)
    document = {
        "architecture": "amd64",
        "os": "linux",
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [str(Digest.of(each)) for each in layers]},
    }
    raw_config = json.dumps(document).encode()
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": describe(raw_config, "application/vnd.oci.image.config.v1+json"),
        "layers": [describe(each, "application/vnd.oci.image.layer.v1.tar") for each in layers],
    }
    client = RegistryClient()
    for blob in (raw_config, *layers):
        client.push_blob(reference, Digest.of(blob), blob)
    client.push_manifest(reference, json.dumps(manifest).encode(), manifest["mediaType"])
    client.close()
    return str(reference)


def describe(blob: bytes, media_type: str) -> dict[str, object]:
    return {"mediaType": media_type, "digest": str(Digest.of(blob)), "size": len(blob)}


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Its address; it serves busybox:latest."""
    program = shutil.which("busybox")
    if program is None:
        pytest.skip("busybox not on this host")
    server = RegistryServer(str(tmp_path_factory.mktemp("registry")))
    server.start()
    layer = make_layer(Path(program).read_bytes())
    push(
        server.address, "busybox:latest", layer, {"Cmd": ["sh"], "Env": ["FROM=image"], "WorkingDir": "/data"}
    )
    yield server.address
    server.stop()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    conf_dir = tmp_path / "net.d"
    conf_dir.mkdir()
    (conf_dir / "10-pods.conflist").write_text(json.dumps(conf_list(str(tmp_path / "leases"))))
    return Settings(
        root=str(tmp_path / "root"),
        run_root=str(tmp_path / "run"),
        cni_conf_dir=str(conf_dir),
        cni_cache_dir=str(tmp_path / "cni"),
        default_cgroup_parent="/engine-test",
    )


@pytest.fixture
def empty_engine(settings: Settings) -> Iterator[Engine]:
    with Engine(settings) as engine:
        yield engine
        for pod in engine.pods.list():
            engine.pods.remove(pod.id)


@pytest.fixture
def engine(empty_engine: Engine, registry: str) -> Engine:
    """With the image "busybox:latest" of the loopback registry."""
    empty_engine.images.pull(f"{registry}/busybox:latest")
    return empty_engine


@pytest.fixture
def image(registry: str) -> str:
    return f"{registry}/busybox:latest"
