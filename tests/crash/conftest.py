"""A stage in a folder of its own, with a network of three plugins and images to run."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rundlet.engine.settings import Settings
from rundlet.failpoint import FILE_BYTES
from rundlet.registry.server import RegistryServer
from tests.crash.scenes import pull_busybox
from tests.crash.stage import Stage
from tests.crash.tally import PROPERTY, Tally
from tests.engine.conftest import make_layer, push

PLUGINS = (
    {"type": "bridge", "bridge": "cni0", "isGateway": True, "ipMasq": True},
    {"type": "portmap", "capabilities": {"portMappings": True}},
    {"type": "firewall"},
)


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Its address; it serves busybox:latest and other:latest, of one layer each."""
    program = shutil.which("busybox")
    if program is None:
        pytest.skip("busybox not on this host")
    server = RegistryServer(str(tmp_path_factory.mktemp("registry")))
    server.start()
    layer = make_layer(Path(program).read_bytes())
    push(server.address, "busybox:latest", layer, {"Cmd": ["sh"]})
    push(server.address, "other:latest", layer + bytes(512), {"Cmd": ["sh"]})
    yield server.address
    server.stop()


@pytest.fixture
def stage(tmp_path: Path, registry: str) -> Iterator[Stage]:
    with make_stage(tmp_path, registry) as made:
        yield made


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The tables of all workers as one, when whole scenes were played."""
    tally = Tally()
    for reports in terminalreporter.stats.values():
        for report in reports:
            tally.add(dict(getattr(report, "user_properties", ())).get(PROPERTY, ()))
    if tally.counts():
        terminalreporter.section("crashes")
        for line in tally.lines():
            terminalreporter.write_line(line)


@contextmanager
def make_stage(tmp_path: Path, registry: str) -> Iterator[Stage]:
    """With busybox:latest pulled, and nobody at work."""
    failpoints = tmp_path / "failpoints"
    failpoints.write_bytes(bytes(FILE_BYTES))
    settings = Settings(
        root=str(tmp_path / "root"),
        run_root=str(tmp_path / "run"),
        cni_conf_dir=str(tmp_path / "net.d"),
        cni_cache_dir=str(tmp_path / "cni"),
        default_cgroup_parent="/crash",
    )
    write_network(Path(settings.cni_conf_dir), f"{settings.cni_cache_dir}/networks")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("RUNDLET_FAILPOINTS", str(failpoints))
        stage = Stage(settings, str(failpoints), {"registry": registry, "logs": str(tmp_path / "logs")})
        try:
            stage.call(pull_busybox, stage.fixed)
            yield stage
        except BaseException:
            stage.abandon_engine()
            raise
        finally:
            stage.close()


def write_network(conf_dir: Path, leases: str) -> None:
    ipam = {"type": "host-local", "dataDir": leases, "ranges": [[{"subnet": "10.88.0.0/16"}]]}
    conf = {"cniVersion": "1.0.0", "name": "pods", "plugins": [PLUGINS[0] | {"ipam": ipam}, *PLUGINS[1:]]}
    conf_dir.mkdir()
    (conf_dir / "10-pods.conflist").write_text(json.dumps(conf))
