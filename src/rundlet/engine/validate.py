"""What a caller may not ask, told with the path of the option.  Pure.

The fronts only convert: whatever may not be is refused here, for all of them.
"""

import ipaddress
import re
from collections.abc import Iterator, Mapping

from msgspec import Struct

from rundlet.engine.capabilities import normalize
from rundlet.engine.devices import check_devices
from rundlet.engine.limits import check_resources
from rundlet.engine.mounts import check_mounts
from rundlet.engine.options import ContainerOptions, Dns, PodOptions, PortMapping, Security, SelinuxLabel
from rundlet.engine.signals import parse_signal
from rundlet.engine.users import check_user
from rundlet.errors import InvalidArgument

_HOSTNAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?")
_HOSTNAME_MAX = 64  # __NEW_UTS_LEN of the kernel
_PORT_MAX = 65535
_IPC_SYSCTLS = ("kernel.msg", "kernel.sem", "kernel.shm", "fs.mqueue.")
_SELINUX_NAME = re.compile(r"[A-Za-z0-9_.-]*")
_SELINUX_LEVEL = re.compile(r"(s\d+(:c\d+([.,]c\d+)*)?(-s\d+(:c\d+([.,]c\d+)*)?)?)?")
_ENV_NAME = re.compile(r"[^=]+")


def check_pod(options: PodOptions) -> None:
    """Raises InvalidArgument "dns.servers[0]: …" for the first wrong option."""
    _check_texts(options)
    _require(options.name, "name")
    _check_hostname(options.hostname)
    _check_absolute(options.log_directory, "log_directory")
    _check_cgroup_parent(options.cgroup_parent)
    _check_dns(options.dns)
    for index, mapping in enumerate(options.port_mappings):
        _check_port_mapping(mapping, f"port_mappings[{index}]")
    _check_pod_security(options.security)
    _check_sysctls(options)
    check_resources(options.resources, "resources")
    check_resources(options.overhead, "overhead")


def check_container(options: ContainerOptions, pod: PodOptions) -> None:
    """Raises InvalidArgument "mounts[1].container_path: …" for the first wrong option."""
    _check_texts(options)
    _require(options.name, "name")
    _require(options.image, "image")
    _check_log_path(options.log_path)
    _check_absolute(options.working_dir, "working_dir")
    for index, (key, _) in enumerate(options.env):
        if not _ENV_NAME.fullmatch(key):
            raise InvalidArgument(f"env[{index}]: {key!r} cannot be the name of a variable")
    check_mounts(options.mounts)
    check_devices(options.devices)
    check_resources(options.resources, "resources")
    if options.stop_signal:
        parse_signal(options.stop_signal, "stop_signal")
    _check_container_security(options.security, pod.security)


def check_streams(*, stdin: bool, stdout: bool, stderr: bool, terminal: bool) -> None:
    """What exec and attach may connect; raises InvalidArgument."""
    if not (stdin or stdout or stderr):
        raise InvalidArgument("one of stdin, stdout, stderr must be set")
    if terminal and stderr:
        raise InvalidArgument("stderr: a terminal has none of its own; tty and stderr cannot be had together")


def check_port(port: int, path: str) -> None:
    """A TCP or UDP port that can be connected to; raises InvalidArgument."""
    if not 0 < port <= _PORT_MAX:
        raise InvalidArgument(f"{path}: {port} is not a port between 1 and {_PORT_MAX}")


def _check_texts(value: Struct) -> None:
    """No path, argument, name or file line can hold a NUL byte, so no text of the options may."""
    for path, text in _list_texts(value, ""):
        if "\0" in text:
            raise InvalidArgument(f"{path}: contains a NUL byte")


def _list_texts(value: object, path: str) -> Iterator[tuple[str, str]]:
    """(path, text) of every string in a struct, keys of mappings included."""
    match value:
        case str():
            yield path, value
        case Struct():
            for name in value.__struct_fields__:
                yield from _list_texts(getattr(value, name), f"{path}.{name}" if path else name)
        case tuple() | list():
            for index, item in enumerate(value):
                yield from _list_texts(item, f"{path}[{index}]")
        case Mapping():
            for key, item in value.items():
                yield f"{path} key", key
                yield from _list_texts(item, f"{path}[{key!r}]")


def _require(value: str, path: str) -> None:
    if not value:
        raise InvalidArgument(f"{path}: must not be empty")


def _check_absolute(value: str, path: str) -> None:
    if value and not value.startswith("/"):
        raise InvalidArgument(f"{path}: must be an absolute path, got {value!r}")


def _check_hostname(hostname: str) -> None:
    if hostname and (len(hostname) > _HOSTNAME_MAX or not _HOSTNAME.fullmatch(hostname)):
        raise InvalidArgument(
            f"hostname: {hostname!r} is not a host name of at most {_HOSTNAME_MAX} characters"
        )


def _check_cgroup_parent(path: str) -> None:
    if ".." in path.split("/"):
        raise InvalidArgument(f"cgroup_parent: cannot hold '..', got {path!r}")


def _check_dns(dns: Dns) -> None:
    for name in ("servers", "searches", "options"):
        for index, value in enumerate(getattr(dns, name)):
            if not value or any(char.isspace() for char in value):
                raise InvalidArgument(f"dns.{name}[{index}]: must be one word, got {value!r}")


def _check_port_mapping(mapping: PortMapping, where: str) -> None:
    if not 0 <= mapping.host_port <= _PORT_MAX:
        raise InvalidArgument(f"{where}.host_port: {mapping.host_port} is not a port")
    check_port(mapping.container_port, f"{where}.container_port")
    try:
        ipaddress.ip_address(mapping.host_ip or "0.0.0.0")  # noqa: S104 - parsed, never bound
    except ValueError as error:
        raise InvalidArgument(f"{where}.host_ip: {mapping.host_ip!r} is not an IP address") from error


def _check_pod_security(security: Security) -> None:
    check_user(security, "security")
    _check_namespaces(security)
    _check_selinux(security.selinux)
    if security.namespaces.pid == "target":
        raise InvalidArgument("security.namespaces.pid: a pod cannot have the target mode")


def _check_selinux(label: SelinuxLabel) -> None:
    """Also on a host without SELinux, where labels have no effect."""
    for name in ("user", "role", "type"):
        if not _SELINUX_NAME.fullmatch(getattr(label, name)):
            raise InvalidArgument(f"security.selinux.{name}: cannot be {getattr(label, name)!r}")
    if not _SELINUX_LEVEL.fullmatch(label.level):
        raise InvalidArgument(f"security.selinux.level: {label.level!r} is not a level like s0:c1,c2")


def _check_namespaces(security: Security) -> None:
    _check_user_namespace(security)
    for kind in ("network", "ipc"):
        mode = getattr(security.namespaces, kind)
        if mode not in ("pod", "node"):
            raise InvalidArgument(f"security.namespaces.{kind}: must be pod or node, got {mode}")


def _check_user_namespace(security: Security) -> None:
    """A mapping for users and one for groups, root in both, and nothing of the node's beside it."""
    namespaces = security.namespaces
    where = "security.namespaces"
    if namespaces.user not in ("pod", "node"):
        raise InvalidArgument(f"{where}.user: must be pod or node, got {namespaces.user}")
    if namespaces.user == "node":
        return
    for name in ("uid_mappings", "gid_mappings"):
        mappings = getattr(namespaces, name)
        if not mappings:
            raise InvalidArgument(f"{where}.{name}: expected a mapping, there is none")
        if mappings[0].container_id != 0 or mappings[0].length <= 0:
            raise InvalidArgument(f"{where}.{name}[0]: must map container id 0 and at least one id")
    if security.privileged:
        raise InvalidArgument("security.privileged: cannot go with a user namespace")
    if "node" in (namespaces.network, namespaces.pid, namespaces.ipc):
        raise InvalidArgument(f"{where}.user: a user namespace needs network, pid and ipc of the pod's own")


def _check_sysctls(options: PodOptions) -> None:
    """Only what belongs to a namespace of the pod: the rest would change the machine."""
    namespaces = options.security.namespaces
    for name in options.sysctls:
        dotted = name.replace("/", ".")
        if ".." in dotted or not re.fullmatch(r"[A-Za-z0-9_.-]+", dotted):
            raise InvalidArgument(f"sysctls: {name!r} is not the name of a sysctl")
        if dotted.startswith("net."):
            own = namespaces.network == "pod"
        else:
            own = dotted.startswith(_IPC_SYSCTLS) and namespaces.ipc == "pod"
        if not own:
            raise InvalidArgument(f"sysctls: {name} belongs to no namespace that the pod has of its own")


def _check_log_path(path: str) -> None:
    if path.startswith("/") or ".." in path.split("/"):
        raise InvalidArgument(f"log_path: must lie below the pod's log_directory, got {path!r}")


def _check_container_security(security: Security, pod: Security) -> None:
    check_user(security, "security")
    _check_namespaces(security)
    _check_selinux(security.selinux)
    if security.privileged and not pod.privileged:
        raise InvalidArgument("security.privileged: the pod is not privileged")
    if security.namespaces.pid == "target" and not security.namespaces.target_id:
        raise InvalidArgument("security.namespaces.target_id: the target mode needs a container id")
    for name in ("add", "drop", "add_ambient"):
        normalize(getattr(security.capabilities, name), f"security.capabilities.{name}")
    for name in ("masked_paths", "readonly_paths"):
        for index, path in enumerate(getattr(security, name)):
            _check_absolute(path, f"security.{name}[{index}]")
    for name, profile in (("seccomp", security.seccomp), ("apparmor", security.apparmor)):
        if profile is not None and profile.kind == "localhost" and not profile.path:
            raise InvalidArgument(f"security.{name}.path: the localhost kind needs a profile")
    if security.seccomp.kind == "localhost":
        _check_absolute(security.seccomp.path, "security.seccomp.path")
