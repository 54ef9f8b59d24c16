"""podman's options of `run` and `create` as RunOptions.  Files and the environment are read, nothing is done."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from rundlet.cli.local.flags import Value, read_each, read_list, read_one
from rundlet.cli.local.refused import check_only_value
from rundlet.engine.options import BlockLimits, Capabilities, Resources
from rundlet.engine.signals import parse_signal
from rundlet.errors import InvalidArgument, NotFound
from rundlet.local.options import Confinement, Namespaces, NetworkChoice, RunOptions, VolumeMount
from rundlet.local.words.devices import (
    parse_byte_rate,
    parse_device_rule,
    parse_device_weight,
    parse_operation_rate,
    parse_weight,
)
from rundlet.local.words.environment import list_proxies, read_environment, read_labels, read_lines
from rundlet.local.words.life import (
    join_platform,
    parse_entrypoint,
    parse_health,
    parse_image_volume,
    parse_logging,
    parse_pull,
    parse_restart,
)
from rundlet.local.words.limits import (
    UNLIMITED,
    parse_cpus,
    parse_memory,
    parse_memory_swap,
    parse_swappiness,
    parse_ulimit,
    parse_umask,
)
from rundlet.local.words.mounts import parse_mount, parse_tmpfs, parse_volume
from rundlet.local.words.network import (
    parse_dns,
    parse_host,
    parse_ip4,
    parse_ip6,
    parse_mac,
    parse_networks,
)
from rundlet.local.words.numbers import read_pairs
from rundlet.local.words.ports import parse_expose, parse_publish
from rundlet.local.words.security import (
    parse_capability,
    parse_id_map,
    parse_namespace,
    parse_personality,
    parse_security,
)
from rundlet.local.words.uses import is_cdi_device, parse_device, parse_secret

Given = Mapping[str, Any]
_ZONES = "/usr/share/zoneinfo"
NEW_POD = "new:"


def read_run_options(
    given: Given, words: Sequence[str], environ: Mapping[str, str] = os.environ
) -> RunOptions:
    """`given` has every option of runtable.CREATE by its parameter's name; `words` are IMAGE and COMMAND.

    Raises InvalidArgument naming the option.
    """
    image, *command = words
    if not image:
        raise InvalidArgument("the image's name is empty")
    entrypoint = given["entrypoint"]
    devices = read_list(given["device"])
    _read_text(given, "stop_signal", parse_signal)
    check_only_value(given)
    if given["no_hosts"] and given["add_host"]:
        raise InvalidArgument("--no-hosts and --add-host exclude each other")
    return RunOptions(
        image=image,
        command=tuple(command),
        entrypoint=None if entrypoint is None else parse_entrypoint(entrypoint),
        name=given["name"] or "",
        hostname=given["hostname"] or "",
        pod=_read_pod(given),
        env=_read_env(given, environ),
        env_merge=tuple(read_pairs(given["env_merge"], "--env-merge NAME=TEXT").items()),
        unset_env=given["unsetenv"],
        unset_all_env=given["unsetenv_all"],
        user=given["user"] or "",
        groups=read_list(given["group_add"]),
        workdir=_read_workdir(given["workdir"] or ""),
        labels=read_labels(given["label"], read_list(given["label_file"])),
        annotations=read_pairs(read_list(given["annotation"]), "--annotation KEY=VALUE"),
        tty=given["tty"],
        stdin=given["interactive"],
        stdin_once=given["interactive"] and not given.get("detach", False),
        init=given["init"],
        remove=given["rm"] or given["rmi"],
        remove_image=given["rmi"],
        read_only=given["read_only"],
        read_only_tmpfs=given["read_only_tmpfs"],
        mounts=_read_mounts(given),
        volumes_from=read_list(given["volumes_from"]),
        secrets=read_each("--secret", given["secret"], parse_secret),
        devices=read_each("--device", (text for text in devices if not is_cdi_device(text)), parse_device),
        cdi_devices=tuple(filter(is_cdi_device, devices)),
        ports=read_ports(given["publish"]),
        publish_all=given["publish_all"],
        exposed=tuple(
            port
            for ports in read_each("--expose", read_list(given["expose"]), parse_expose)
            for port in ports
        ),
        image_volumes=read_one("--image-volume", given["image_volume"], parse_image_volume),
        own_hosts=given["no_hosts"],
        passwd=given["passwd"],
        umask=read_one("--umask", given["umask"], parse_umask),
        personality=_read_text(given, "personality", parse_personality) or "",
        device_accesses=read_each("--device-cgroup-rule", given["device_cgroup_rule"], parse_device_rule),
        network=read_network(given),
        dns=parse_dns(*(read_list(given[name]) for name in ("dns", "dns_search", "dns_option"))),
        hosts=read_each("--add-host", read_list(given["add_host"]), parse_host),
        resources=replace(
            read_limits(given, given["oom_score_adj"]),
            oom_kill_disabled=given["oom_kill_disable"] or None,
            unified=read_pairs(read_list(given["cgroup_conf"]), "--cgroup-conf FILE=VALUE"),
        ),
        ulimits=tuple(
            limit
            for found in read_each("--ulimit", read_list(given["ulimit"]), parse_ulimit)
            for limit in found
        ),
        sysctls=read_pairs(read_list(given["sysctl"]), "--sysctl NAME=VALUE"),
        shm_size_bytes=_read_text(given, "shm_size", parse_memory) or 0,
        confinement=_read_confinement(given),
        namespaces=_read_namespaces(given),
        restart=read_one("--restart", given["restart"] or "no", parse_restart),
        health=parse_health(
            given["health_cmd"],
            interval=given["health_interval"] or "",
            timeout=given["health_timeout"] or "",
            retries=given["health_retries"],
            start_period=given["health_start_period"] or "",
            on_failure=given["health_on_failure"] or "",
            disabled=given["no_healthcheck"],
        ),
        logging=parse_logging(given["log_driver"], read_list(given["log_opt"])),
        stop_signal=given["stop_signal"] or "",
        stop_timeout_s=_read_seconds("--stop-timeout", given["stop_timeout"], RunOptions().stop_timeout_s),
        timeout_s=_read_seconds("--timeout", given["timeout"], 0.0),
        runtime_handler=given["runtime"] or "",
        cgroup_parent=given["cgroup_parent"] or "",
        pull=read_one("--pull", given["pull"] or "missing", parse_pull),
        platform=join_platform(*(given[name] or "" for name in ("platform", "os", "arch", "variant"))),
        requires=read_list(given["requires"]),
    )


def _read_env(given: Given, environ: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    found = read_environment(given["env"], given["env_file"], environ, everything=given["env_host"])
    named = dict(found)
    proxies = list_proxies(environ) if given["http_proxy"] else ()
    return (*((name, value) for name, value in proxies if name not in named), *found)


def _read_seconds(option: str, value: int | None, otherwise: float) -> float:
    if value is not None and value < 0:
        raise InvalidArgument(f"{option} {value}: less than nothing")
    return otherwise if value is None else float(value)


def _read_pod(given: Given) -> str:
    if given["pod_id_file"]:
        lines = read_lines(given["pod_id_file"])
        if not lines:
            raise InvalidArgument(f"--pod-id-file {given['pod_id_file']}: the file is empty")
        return lines[0].strip()
    return given["pod"] or ""


def _read_workdir(path: str) -> str:
    if path and not path.startswith("/"):
        raise InvalidArgument(f"--workdir {path}: must be an absolute path")
    return path


def read_ports(texts: Sequence[str]) -> tuple[Any, ...]:
    found = read_each("--publish", read_list(texts), parse_publish)
    return tuple(mapping for mappings in found for mapping in mappings)


def read_network(given: Given) -> NetworkChoice:
    try:
        choice = parse_networks(given["network"])
    except InvalidArgument as error:
        raise InvalidArgument(
            f"--network {' '.join(given['network'])}: {error.message}", hint=error.hint
        ) from error
    settings: dict[str, Any] = {}
    for key, option, parse in (
        ("ip", "--ip", parse_ip4),
        ("ip6", "--ip6", parse_ip6),
        ("mac_address", "--mac-address", parse_mac),
    ):
        if given[key]:
            settings[key.removesuffix("_address")] = read_one(option, given[key], parse)
    aliases = read_list(given["network_alias"])
    if aliases:
        settings["aliases"] = (*choice.aliases, *aliases)
    if settings and choice.mode not in ("", "bridge"):
        raise InvalidArgument(f"--network {choice.mode} has no address or alias of its own")
    return replace(choice, **settings)


def _read_mounts(given: Given) -> tuple[VolumeMount, ...]:
    folder = os.getcwd()
    mounts = (
        *read_each("--volume", given["volume"], lambda text: parse_volume(text, folder)),
        *read_each("--mount", given["mount"], lambda text: parse_mount(text, folder)),
        *read_each("--tmpfs", given["tmpfs"], parse_tmpfs),
        *_read_zone(given["tz"] or ""),
    )
    targets = [mount.target for mount in mounts]
    for target in targets:
        if targets.count(target) > 1:
            raise InvalidArgument(f"two mounts at {target}")
    return mounts


def _read_zone(zone: str) -> tuple[VolumeMount, ...]:
    """The zone's file of this host at /etc/localtime, where tzset(3) looks."""
    if not zone:
        return ()
    path = os.path.realpath("/etc/localtime" if zone == "local" else os.path.join(_ZONES, zone))
    if not os.path.isfile(path) or (zone != "local" and not path.startswith(f"{_ZONES}/")):
        raise NotFound(f"--tz {zone}: no such time zone", hint=f"the names are those below {_ZONES}")
    return (VolumeMount("bind", "/etc/localtime", path, readonly=True),)


def read_limits(given: Given, oom_score_adj: int | None = None) -> Resources:
    """From the options of runtable.LIMITS."""
    memory_bytes = _read_text(given, "memory", parse_memory)
    swap_bytes = _read_text(given, "memory_swap", parse_memory_swap)
    if swap_bytes is not None and memory_bytes is None:
        raise InvalidArgument("--memory-swap needs --memory")
    if swap_bytes is not None and memory_bytes is not None and UNLIMITED < swap_bytes < memory_bytes:
        raise InvalidArgument(f"--memory-swap {given['memory_swap']} is less than --memory {given['memory']}")
    if given["cpus"] and (given["cpu_period"] or given["cpu_quota"]):
        raise InvalidArgument("--cpus excludes --cpu-period and --cpu-quota")
    quota_us, period_us = _read_text(given, "cpus", parse_cpus) or (given["cpu_quota"], given["cpu_period"])
    pids = given["pids_limit"]
    reservation_bytes = _read_text(given, "memory_reservation", parse_memory)
    if reservation_bytes and memory_bytes and reservation_bytes > memory_bytes:
        raise InvalidArgument(
            f"--memory-reservation {given['memory_reservation']} is more than --memory {given['memory']}"
        )
    return Resources(
        cpu_period_us=period_us,
        cpu_quota_us=quota_us,
        cpu_shares=given["cpu_shares"],
        cpuset_cpus=given["cpuset_cpus"] or "",
        cpuset_mems=given["cpuset_mems"] or "",
        memory_limit_bytes=memory_bytes,
        memory_swap_limit_bytes=swap_bytes,
        oom_score_adj=oom_score_adj,
        pids_limit=UNLIMITED if pids is not None and pids <= 0 else pids,
        memory_reservation_bytes=reservation_bytes,
        memory_swappiness=parse_swappiness(given["memory_swappiness"]),
        cpu_realtime_period_us=given["cpu_rt_period"],
        cpu_realtime_runtime_us=given["cpu_rt_runtime"],
        block=_read_block_limits(given),
    )


def _read_block_limits(given: Given) -> BlockLimits | None:
    def read(key: str, parse: Callable[[str], Value]) -> tuple[Value, ...]:
        return read_each(f"--{key.replace('_', '-')}", read_list(given[key]), parse)

    limits = BlockLimits(
        weight=_read_text(given, "blkio_weight", parse_weight) or 0,
        weights=read("blkio_weight_device", parse_device_weight),
        read_bytes=read("device_read_bps", parse_byte_rate),
        write_bytes=read("device_write_bps", parse_byte_rate),
        read_operations=read("device_read_iops", parse_operation_rate),
        write_operations=read("device_write_iops", parse_operation_rate),
    )
    return limits if limits != BlockLimits() else None


def _read_text(given: Given, key: str, parse: Callable[[str], Value]) -> Value | None:
    """The option's value; None when it was not given."""
    return read_one(f"--{key.replace('_', '-')}", given[key], parse) if given[key] else None


def _read_confinement(given: Given) -> Confinement:
    capabilities = Capabilities(
        read_each("--cap-add", read_list(given["cap_add"]), parse_capability),
        read_each("--cap-drop", read_list(given["cap_drop"]), parse_capability),
    )
    start = Confinement(privileged=given["privileged"], capabilities=capabilities)
    return parse_security(given["security_opt"], start, os.getcwd())


def _read_namespaces(given: Given) -> Namespaces:
    def read(name: str, *more: str) -> str:
        return read_one(f"--{name}", given[name] or "", lambda text: parse_namespace(text, *more))

    maps = {
        f"{kind}_maps": read_each(f"--{kind}map", read_list(given[f"{kind}map"]), parse_id_map)
        for kind in ("uid", "gid")
    }
    return Namespaces(
        pid=read("pid"),
        ipc=read("ipc"),
        uts=read("uts"),
        cgroup=read("cgroupns"),
        user=read("userns", "keep-id", "auto", "nomap"),
        **maps,
    )
