"""Where an engine keeps its things and what it may talk to."""

import re
from collections.abc import Iterator
from typing import Literal

from msgspec import Struct

from rundlet.engine.telemetry import MetricsSettings, TracingSettings, check_telemetry
from rundlet.errors import InvalidArgument
from rundlet.network.builtin import BUILTIN

MIB = 1 << 20
_HANDLER_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")


class RuntimeSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One `[runtimes.NAME]`; see `engine.configfile` for what each field means."""

    type: Literal["builtin", "oci", "bwrap"] = "oci"
    path: str = ""
    root: str = ""
    args: tuple[str, ...] = ()
    own_sandbox: bool = False
    default_annotations: dict[str, str] = {}
    timeout_s: float = 60.0


# What is offered without a word in the configuration when its program is there, and what a
# table of that name in the configuration starts from.
USUAL_RUNTIMES = {
    "runc": RuntimeSettings(),
    "crun": RuntimeSettings(),
    # With its own network stack gVisor takes the pod's addresses away from whoever comes second.
    "runsc": RuntimeSettings(args=("--network=host",), own_sandbox=True),
    "bwrap": RuntimeSettings(type="bwrap"),
}


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One engine's configuration; every path is absolute.

    ``root`` survives a reboot (images, records), ``run_root`` does not (pod files,
    bundles, sockets).  An empty ``cni_builtin`` runs every plugin by its binary.
    ``runtimes`` are the handlers besides those that are found on the host.
    """

    root: str = "/var/lib/rundlet"
    run_root: str = "/run/rundlet"
    imagestore: str = ""
    additional_image_stores: tuple[str, ...] = ()
    pinned_images: tuple[str, ...] = ()
    cni_conf_dir: str = "/etc/cni/net.d"
    cni_bin_dirs: tuple[str, ...] = ("/opt/cni/bin", "/usr/lib/cni")
    cni_cache_dir: str = "/var/lib/cni"
    networks_dir: str = "/etc/rundlet/networks"
    cni_builtin: tuple[str, ...] = BUILTIN
    cdi_dirs: tuple[str, ...] = ("/etc/cdi", "/var/run/cdi")
    insecure_registries: tuple[str, ...] = ()
    registry_min_rate: int = 1024
    registry_certs_dir: str = ""
    registry_auth_file: str = ""
    registries_conf: str = ""
    registries_d: str = ""
    signature_policy: str = ""
    signature_policy_dir: str = "/etc/rundlet/policies"
    default_runtime_handler: str = "rundlet"
    cgroup_driver: Literal["cgroupfs", "systemd"] = "cgroupfs"
    default_cgroup_parent: str = "/rundlet"
    shm_size_bytes: int = 64 * MIB
    checkpoints: Literal["none", "checkpoint_only", "checkpoint_restore"] = "checkpoint_only"
    userns_rootfs: Literal["auto", "idmap", "metacopy", "copy"] = "auto"
    image_volumes: Literal["mkdir", "bind", "ignore"] = "mkdir"
    exec_output_limit_bytes: int = 16 * MIB
    stream_address: str = "127.0.0.1"
    stream_port: int = 0
    stream_tls_cert: str = ""
    stream_tls_key: str = ""
    stream_idle_timeout_s: float = 4 * 3600.0
    log_level: Literal["debug", "info", "warning", "error"] = "warning"
    socket: str = "/run/rundlet/rundlet.sock"
    metrics: MetricsSettings = MetricsSettings()
    tracing: TracingSettings = TracingSettings()
    runtimes: dict[str, RuntimeSettings] = {}

    @property
    def pods_dir(self) -> str:
        return f"{self.run_root}/pods"

    @property
    def containers_dir(self) -> str:
        return f"{self.run_root}/containers"

    @property
    def seccomp_cache_dir(self) -> str:
        return f"{self.root}/seccomp"


_PATHS = ("root", "run_root", "cni_conf_dir", "cni_cache_dir", "networks_dir", "default_cgroup_parent")
_OPTIONAL_PATHS = (
    "imagestore",
    "registry_certs_dir",
    "registry_auth_file",
    "registries_conf",
    "registries_d",
    "signature_policy",
    "signature_policy_dir",
)


def check_settings(settings: Settings) -> None:
    """Raises InvalidArgument for a path that is not absolute or a size that is not positive."""
    for name, path in _list_paths(settings):
        if not path.startswith("/"):
            raise InvalidArgument(f"{name}: must be an absolute path, got {path!r}")
    for name in ("shm_size_bytes", "exec_output_limit_bytes", "stream_idle_timeout_s"):
        if getattr(settings, name) <= 0:
            raise InvalidArgument(f"{name}: must be positive, got {getattr(settings, name)}")
    check_telemetry(settings.metrics, settings.tracing)
    for name, runtime in settings.runtimes.items():
        _check_runtime(name, runtime)


def _list_paths(settings: Settings) -> Iterator[tuple[str, str]]:
    """Every path that is set, beside its key."""
    for name in (*_PATHS, *_OPTIONAL_PATHS):
        path = getattr(settings, name)
        if path or name in _PATHS:
            yield name, path
    for name in ("cni_bin_dirs", "additional_image_stores"):
        for index, path in enumerate(getattr(settings, name)):
            yield f"{name}[{index}]", path


def _check_runtime(name: str, runtime: RuntimeSettings) -> None:
    where = f"runtimes.{name}"
    if not _HANDLER_NAME.fullmatch(name):
        raise InvalidArgument(f"{where}: a handler's name is made of letters, digits, '.', '_' and '-'")
    if runtime.type == "builtin" and (runtime.path or runtime.root or runtime.args):
        raise InvalidArgument(f"{where}: a builtin handler has no path, root or args")
    if runtime.root and not runtime.root.startswith("/"):
        raise InvalidArgument(f"{where}.root: must be an absolute path, got {runtime.root!r}")
    if "/" in runtime.path and not runtime.path.startswith("/"):
        raise InvalidArgument(
            f"{where}.path: must be an absolute path or a program's name, got {runtime.path!r}"
        )
    if runtime.timeout_s <= 0:
        raise InvalidArgument(f"{where}.timeout_s: must be positive, got {runtime.timeout_s:g}")
