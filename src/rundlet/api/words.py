"""Keyword arguments of the API → RunOptions.  Pure.

env       {"NAME": "value"}
ports     {6379: 0, "53/udp": 5353, 80: ("127.0.0.1", 8080)}     container port → host port, 0: a free one
volumes   {"/srv/data": "/data:ro", "cache": "/var/cache"}        path or volume → path in the container
tmpfs     {"/scratch": "64m"} or ["/scratch"]
memory    "256m" or bytes, cpus 1.5, pids 100
command   ["sh", "-c", "…"], or one text that is split as a shell would
"""

import os
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypedDict, Unpack, cast

from msgspec.structs import replace

from rundlet.engine.options import Capabilities, PortMapping, Resources
from rundlet.errors import InvalidArgument
from rundlet.local.options import Confinement, HealthCheck, RunOptions, VolumeMount
from rundlet.local.words.life import parse_pull, parse_restart
from rundlet.local.words.limits import parse_cpus, parse_memory
from rundlet.local.words.mounts import parse_tmpfs, parse_volume
from rundlet.local.words.network import parse_networks

Command = str | Sequence[str]
HostPort = int | tuple[str, int]


class RunWords(TypedDict, total=False):
    """What `run` and `create` take beside image and command."""

    name: str
    env: Mapping[str, str]
    ports: Mapping[int | str, HostPort]
    publish_all: bool
    volumes: Mapping[str, str]
    tmpfs: Mapping[str, str] | Iterable[str]
    memory: str | int
    cpus: float
    pids: int
    user: str
    workdir: str
    entrypoint: Command
    hostname: str
    network: str | Sequence[str]
    pod: str
    labels: Mapping[str, str]
    read_only: bool
    privileged: bool
    cap_add: Sequence[str]
    cap_drop: Sequence[str]
    no_new_privileges: bool
    init: bool
    tty: bool
    stdin: bool
    remove: bool
    restart: str
    health: HealthCheck
    pull: str
    platform: str
    stop_signal: str
    stop_timeout_s: float
    runtime: str


# As they are in RunOptions.
_PLAIN = (
    "name", "publish_all", "user", "workdir", "hostname", "pod", "read_only", "init", "tty", "stdin", "remove",
    "health", "platform", "stop_signal", "stop_timeout_s",
)  # fmt: skip


def read_words(image: str, command: Command | None, words: RunWords) -> RunOptions:
    """Raises InvalidArgument naming the argument that is wrong."""
    given = cast("dict[str, Any]", words)
    unknown = given.keys() - RunWords.__annotations__.keys()
    if unknown:
        raise InvalidArgument(f"unknown argument {min(unknown)!r}", hint="help(rundlet.run) lists them")
    asked = RunOptions(
        image=image,
        command=split_command(command),
        env=tuple(given.get("env", {}).items()),
        labels=dict(given.get("labels", {})),
        ports=tuple(_read_port(port, host) for port, host in given.get("ports", {}).items()),
        mounts=(*_read_volumes(given.get("volumes", {})), *_read_tmpfs(given.get("tmpfs", ()))),
        resources=_read_resources(given),
        confinement=_read_confinement(given),
        runtime_handler=given.get("runtime", ""),
        **{name: given[name] for name in _PLAIN if name in given},
    )
    changes: dict[str, Any] = {}
    if "entrypoint" in given:
        changes["entrypoint"] = split_command(given["entrypoint"])
    if "network" in given:
        network = given["network"]
        changes["network"] = parse_networks((network,) if isinstance(network, str) else tuple(network))
    if "restart" in given:
        changes["restart"] = parse_restart(given["restart"])
    if "pull" in given:
        changes["pull"] = parse_pull(given["pull"])
    return replace(asked, **changes)


def read_run(image: str, command: Command | None = None, **words: Unpack[RunWords]) -> RunOptions:
    """`read_words` by keywords."""
    return read_words(image, command, words)


def split_command(command: Command | None) -> tuple[str, ...]:
    if command is None:
        return ()
    return tuple(shlex.split(command)) if isinstance(command, str) else tuple(map(str, command))


def parse_port(text: int | str) -> tuple[int, str]:
    """Number and protocol of 80 or "53/udp"; InvalidArgument."""
    number, _, protocol = str(text).partition("/")
    if not number.isdecimal() or protocol not in ("", "tcp", "udp", "sctp"):
        raise InvalidArgument(f"ports: {text!r} is not a port", hint="as 80 or '53/udp'")
    return int(number), protocol or "tcp"


def _read_port(port: int | str, host: HostPort) -> PortMapping:
    number, protocol = parse_port(port)
    host_ip, host_port = host if isinstance(host, tuple) else ("", host)
    return PortMapping(number, host_port, host_ip, protocol)  # type: ignore[arg-type]  # one of three


def _read_volumes(volumes: Mapping[str, str]) -> Iterable[VolumeMount]:
    folder = os.getcwd()
    return [parse_volume(f"{os.fspath(source)}:{target}", folder) for source, target in volumes.items()]


def _read_tmpfs(tmpfs: Mapping[str, str] | Iterable[str]) -> Iterable[VolumeMount]:
    if isinstance(tmpfs, Mapping):
        return [parse_tmpfs(f"{target}:size={size}" if size else target) for target, size in tmpfs.items()]
    return [parse_tmpfs(target) for target in tmpfs]


def _read_resources(given: Mapping[str, Any]) -> Resources:
    memory, cpus = given.get("memory"), given.get("cpus")
    quota = parse_cpus(str(cpus)) if cpus is not None else None
    return Resources(
        memory_limit_bytes=memory if isinstance(memory, int) or memory is None else parse_memory(memory),
        cpu_quota_us=quota[0] if quota else None,
        cpu_period_us=quota[1] if quota else None,
        pids_limit=given.get("pids"),
    )


def _read_confinement(given: Mapping[str, Any]) -> Confinement:
    return Confinement(
        privileged=given.get("privileged", False),
        capabilities=Capabilities(add=tuple(given.get("cap_add", ())), drop=tuple(given.get("cap_drop", ()))),
        no_new_privileges=given.get("no_new_privileges", False),
    )
