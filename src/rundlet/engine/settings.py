"""Where an engine keeps its things and what it may talk to."""

from msgspec import Struct

from rundlet.errors import InvalidArgument

MIB = 1 << 20


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One engine's configuration; every path is absolute.

    ``root`` survives a reboot (images, records), ``run_root`` does not (pod files,
    bundles, sockets).  An empty ``cni_builtin`` runs every plugin by its binary.
    """

    root: str = "/var/lib/rundlet"
    run_root: str = "/run/rundlet"
    cni_conf_dir: str = "/etc/cni/net.d"
    cni_bin_dirs: tuple[str, ...] = ("/opt/cni/bin", "/usr/lib/cni")
    cni_cache_dir: str = "/var/lib/cni"
    cni_builtin: tuple[str, ...] = ("bridge", "host-local", "loopback")
    insecure_registries: tuple[str, ...] = ()
    registry_certs_dir: str = ""
    default_runtime_handler: str = "rundlet"
    default_cgroup_parent: str = "/rundlet"
    shm_size_bytes: int = 64 * MIB
    exec_output_limit_bytes: int = 16 * MIB
    stream_address: str = "127.0.0.1"
    stream_port: int = 0
    stream_tls_cert: str = ""
    stream_tls_key: str = ""
    stream_idle_timeout_s: float = 4 * 3600.0
    log_level: str = "warning"

    @property
    def pods_dir(self) -> str:
        return f"{self.run_root}/pods"

    @property
    def containers_dir(self) -> str:
        return f"{self.run_root}/containers"

    @property
    def seccomp_cache_dir(self) -> str:
        return f"{self.root}/seccomp"


def check_settings(settings: Settings) -> None:
    """Raises InvalidArgument for a path that is not absolute or a size that is not positive."""
    for name in ("root", "run_root", "cni_conf_dir", "cni_cache_dir", "default_cgroup_parent"):
        if not getattr(settings, name).startswith("/"):
            raise InvalidArgument(f"{name}: must be an absolute path, got {getattr(settings, name)!r}")
    for index, path in enumerate(settings.cni_bin_dirs):
        if not path.startswith("/"):
            raise InvalidArgument(f"cni_bin_dirs[{index}]: must be an absolute path, got {path!r}")
    for name in ("shm_size_bytes", "exec_output_limit_bytes"):
        if getattr(settings, name) <= 0:
            raise InvalidArgument(f"{name}: must be positive, got {getattr(settings, name)}")
