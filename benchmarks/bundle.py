"""One OCI bundle for every runtime: the probe program, the configuration an engine would write.

<directory>/
  config.json        full: default seccomp profile, capabilities, masked paths, limits
  rootfs/            busybox and the probe
  bench/started      a FIFO, bound into the container as /bench/started
  variants/NAME/     config.json of another program, or without seccomp, on the same rootfs
"""

import os
import select
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from benchmarks.probe import write_probe
from rundlet.engine.config import MASKED_PATHS, READONLY_PATHS
from rundlet.plan.seccomp_default import default_seccomp
from rundlet.spec.json import convert, encode
from rundlet.spec.runtime import RuntimeConfig

CAPABILITIES = [
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_SETGID", "CAP_SETUID", "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE", "CAP_KILL",
]  # fmt: skip
FIRST_INSTRUCTION_TIMEOUT_S = 30.0


class Bundle:
    """The bundle at `directory`, and the FIFO that tells of a container's first instruction."""

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self.fifo = f"{directory}/bench/started"
        self.config = make_config(f"{directory}/bench")
        os.makedirs(f"{directory}/rootfs/bin")
        os.makedirs(f"{directory}/bench")
        shutil.copy(find_busybox(), f"{directory}/rootfs/bin/busybox")
        write_probe(f"{directory}/rootfs/bin/probe")
        os.mkfifo(self.fifo)
        with open(f"{directory}/config.json", "wb") as file:
            file.write(encode(self.config))
        # Read and write: the reading end never sees an end of file between two containers.
        self._reader = os.open(self.fifo, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)

    def await_first_instruction(self) -> None:
        """Returns when the probe has written its byte; TimeoutError when it never does."""
        ready, _, _ = select.select([self._reader], [], [], FIRST_INSTRUCTION_TIMEOUT_S)
        if not ready:
            raise TimeoutError("the container's program did not start")
        os.read(self._reader, 1)

    def write_variant(self, name: str, *, args: Sequence[str] = (), seccomp: bool = True) -> str:
        """The directory of a bundle that differs in its program or has no seccomp filter."""
        directory = f"{self.directory}/variants/{name}"
        process, linux, root = self.config.process, self.config.linux, self.config.root
        assert process is not None
        assert linux is not None
        assert root is not None
        config = self.config.replace(
            root=root.replace(path=f"{self.directory}/rootfs"),
            process=process.replace(args=list(args)) if args else process,
            linux=linux if seccomp else linux.replace(seccomp=None),
        )
        os.makedirs(directory)
        with open(f"{directory}/config.json", "wb") as file:
            file.write(encode(config))
        return directory

    def close(self) -> None:
        os.close(self._reader)


@contextmanager
def making_bundle(directory: str) -> Iterator[Bundle]:
    bundle = Bundle(directory)
    try:
        yield bundle
    finally:
        bundle.close()


def find_busybox() -> str:
    path = shutil.which("busybox")
    if path is None:
        raise FileNotFoundError("busybox is not on this host (Debian: busybox-static)")
    return path


def make_config(bench_directory: str) -> RuntimeConfig:
    """What an engine writes for a plain container, as RuntimeConfig."""
    document = {
        "ociVersion": "1.0.2",
        "root": {"path": "rootfs", "readonly": True},
        "hostname": "bench",
        "process": make_process(),
        "mounts": [*standard_mounts(), bind_mount(bench_directory)],
        "linux": {
            "namespaces": [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount")],
            "resources": {
                "devices": [{"allow": False, "access": "rwm"}],
                "memory": {"limit": 256 << 20},
                "cpu": {"shares": 512},
                "pids": {"limit": 100},
            },
            "maskedPaths": list(MASKED_PATHS),
            "readonlyPaths": list(READONLY_PATHS),
        },
    }
    config = convert(document, RuntimeConfig, "bench config")
    return with_seccomp(config)


def with_seccomp(config: RuntimeConfig) -> RuntimeConfig:
    assert config.linux is not None
    return config.replace(linux=config.linux.replace(seccomp=default_seccomp(CAPABILITIES)))


def make_process() -> dict[str, object]:
    return {
        "terminal": False,
        "user": {"uid": 0, "gid": 0},
        "args": ["/bin/probe"],
        "env": ["PATH=/bin", "TERM=xterm"],
        "cwd": "/",
        "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), CAPABILITIES),
        "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
        "noNewPrivileges": True,
    }


def standard_mounts() -> list[dict[str, object]]:
    quiet = ["nosuid", "noexec", "nodev"]
    return [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
         "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
        {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
         "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
        {"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
         "options": [*quiet, "mode=1777", "size=65536k"]},
        {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": quiet},
        {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": [*quiet, "ro"]},
        {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": [*quiet, "relatime", "ro"]},
    ]  # fmt: skip


def bind_mount(directory: str) -> dict[str, object]:
    return {"destination": "/bench", "type": "bind", "source": directory, "options": ["rbind", "rw"]}
