"""What a caller asks of a container on this machine: podman's words as plain values.

The command line, the Python API and `kube play` all build a RunOptions; `local.plan` alone
decides what it means for the engine.  They are stored as JSON beside the container's name,
so every field has a default and unknown fields are ignored: an older record stays readable.
Sizes are bytes, times seconds unless the name says otherwise.
"""

from typing import Literal

from msgspec import Struct

from rundlet.engine.options import (
    Capabilities,
    Device,
    DeviceAccess,
    Dns,
    NetworkUse,
    PortMapping,
    PortRedirect,
    Resources,
    SecurityProfile,
    SelinuxLabel,
)

PullPolicy = Literal["missing", "always", "never", "newer"]
ImageVolumes = Literal["volume", "tmpfs", "ignore"]
RestartName = Literal["no", "on-failure", "always", "unless-stopped"]


class _Options(Struct, frozen=True, omit_defaults=True):
    """Immutable; equal values compare equal."""


class VolumeMount(_Options, frozen=True):
    """One `-v`, `--mount` or `--tmpfs`: what is seen at `target`.

    bind     `source` is a path of the host
    volume   `source` is a volume's name, "" makes an anonymous one; made when it is missing
    tmpfs    `size_bytes` and `mode` limit it; 0 leaves both to the kernel
    image    `source` is an image, read-only
    """

    kind: Literal["bind", "volume", "tmpfs", "image"]
    target: str
    source: str = ""
    readonly: bool = False
    recursive_readonly: bool = False
    propagation: Literal["private", "host-to-container", "bidirectional"] = "private"
    options: tuple[str, ...] = ()
    selinux_relabel: bool = False
    change_owner: bool = False
    copy_up: bool = True
    size_bytes: int = 0
    mode: int = 0
    sub_path: str = ""


class NetworkChoice(_Options, frozen=True):
    """How a container or pod is connected.

    `mode` bridge means the networks in `names` (none named: the default one), container:ID and
    pod join another's, pasta and slirp4netns are for users without privileges.  Addresses are those of the
    first network, `aliases` are for all; `ends` say what is wanted of single ones.
    """

    mode: Literal["", "bridge", "none", "host", "container", "pasta", "slirp4netns"] = ""
    names: tuple[str, ...] = ()
    container: str = ""
    options: tuple[str, ...] = ()
    ip: str = ""
    ip6: str = ""
    mac: str = ""
    aliases: tuple[str, ...] = ()
    ends: tuple[NetworkUse, ...] = ()


class RestartPolicy(_Options, frozen=True):
    """`max_retries` 0 is without limit."""

    name: RestartName = "no"
    max_retries: int = 0


class HealthCheck(_Options, frozen=True):
    """A probe run in the container (image-spec's Healthcheck, Docker's HEALTHCHECK); no `command` means none.

    Or one from without: `url` is "tcp://:PORT" or "http://:PORT/PATH", a port of the container's loopback.
    `first` is run instead until it has succeeded once in a life; `on_failure` is what follows its failure, too.
    """

    command: tuple[str, ...] = ()
    shell: bool = False
    interval_s: float = 30.0
    timeout_s: float = 30.0
    retries: int = 3
    start_period_s: float = 0.0
    on_failure: Literal["none", "kill", "restart", "stop"] = "none"
    url: str = ""
    first: "HealthCheck | None" = None


class Ulimit(_Options, frozen=True):
    """getrlimit(2): `name` without RLIMIT_ in lower case; -1 is unlimited."""

    name: str
    soft: int
    hard: int


class SecretUse(_Options, frozen=True):
    """A secret seen as a file at `target` (below /run/secrets unless absolute) or as a variable of that name."""

    name: str
    target: str = ""
    kind: Literal["mount", "env"] = "mount"
    uid: int = 0
    gid: int = 0
    mode: int = 0o444


class Logging(_Options, frozen=True):
    """`max_size_bytes` 0 is without limit; one older file is kept."""

    driver: Literal["k8s-file", "none"] = "k8s-file"
    max_size_bytes: int = 0


class Confinement(_Options, frozen=True):
    """What processes of the container may do (`--security-opt`, `--cap-add`, `--privileged`, …)."""

    privileged: bool = False
    capabilities: Capabilities = Capabilities()
    no_new_privileges: bool = False
    seccomp: SecurityProfile = SecurityProfile(kind="runtime-default")
    apparmor: SecurityProfile | None = None
    selinux: SelinuxLabel = SelinuxLabel()
    mask: tuple[str, ...] = ()
    unmask: tuple[str, ...] = ()


class Namespaces(_Options, frozen=True):
    """`""` is one of its own; host, container:ID, pod; `user` also keep-id, auto, uid maps as `auto:size=N`."""

    pid: str = ""
    ipc: str = ""
    uts: str = ""
    cgroup: str = ""
    user: str = ""
    uid_maps: tuple[tuple[int, int, int], ...] = ()
    gid_maps: tuple[tuple[int, int, int], ...] = ()


class RunOptions(_Options, frozen=True):
    """One container.  `command` follows the image's entry point, as on podman's command line.

    `env` are pairs in order, the last of a name counts; `env_merge` too, with $NAME of the image's in them.
    None in `entrypoint` is the image's.  `exposed` ports are published by `publish_all`, beside the image's.
    `stdin_once` ends standard input with the first who was attached to it.
    """

    image: str = ""
    command: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] | None = None
    name: str = ""
    hostname: str = ""
    pod: str = ""
    env: tuple[tuple[str, str], ...] = ()
    user: str = ""
    groups: tuple[str, ...] = ()
    workdir: str = ""
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    tty: bool = False
    stdin: bool = False
    stdin_once: bool = False
    init: bool = False
    remove: bool = False
    read_only: bool = False
    read_only_tmpfs: bool = True
    mounts: tuple[VolumeMount, ...] = ()
    volumes_from: tuple[str, ...] = ()
    secrets: tuple[SecretUse, ...] = ()
    devices: tuple[Device, ...] = ()
    cdi_devices: tuple[str, ...] = ()
    ports: tuple[PortMapping, ...] = ()
    publish_all: bool = False
    network: NetworkChoice = NetworkChoice()
    dns: Dns = Dns()
    hosts: tuple[tuple[str, str], ...] = ()
    resources: Resources = Resources()
    ulimits: tuple[Ulimit, ...] = ()
    sysctls: dict[str, str] = {}
    shm_size_bytes: int = 0
    confinement: Confinement = Confinement()
    namespaces: Namespaces = Namespaces()
    restart: RestartPolicy = RestartPolicy()
    health: HealthCheck | None = None
    logging: Logging = Logging()
    stop_signal: str = ""
    stop_timeout_s: float = 10.0
    timeout_s: float = 0.0
    runtime_handler: str = ""
    cgroup_parent: str = ""
    pull: PullPolicy = "missing"
    platform: str = ""
    requires: tuple[str, ...] = ()
    env_merge: tuple[tuple[str, str], ...] = ()
    unset_env: tuple[str, ...] = ()
    unset_all_env: bool = False
    exposed: tuple[PortMapping, ...] = ()
    remove_image: bool = False
    umask: int = 0o022
    passwd: bool = True
    own_hosts: bool = False
    personality: str = ""
    image_volumes: ImageVolumes = "volume"
    device_accesses: tuple[DeviceAccess, ...] = ()


class PodRequest(_Options, frozen=True):
    """A pod that containers join by `RunOptions.pod`; what its containers share (`share`) as podman names it."""

    name: str = ""
    hostname: str = ""
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    ports: tuple[PortMapping, ...] = ()
    network: NetworkChoice = NetworkChoice()
    dns: Dns = Dns()
    hosts: tuple[tuple[str, str], ...] = ()
    share: tuple[str, ...] = ("ipc", "net", "uts")
    sysctls: dict[str, str] = {}
    shm_size_bytes: int = 0
    resources: Resources = Resources()
    namespaces: Namespaces = Namespaces()
    restart: RestartPolicy = RestartPolicy()
    runtime_handler: str = ""
    cgroup_parent: str = ""
    redirects: tuple[PortRedirect, ...] = ()
