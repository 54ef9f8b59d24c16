"""A container as `inspect` shows it: the fields of podman's document that programs read."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rundlet.cli.table import rfc3339_time
from rundlet.engine.options import BlockLimits, DeviceLimit, PortMapping
from rundlet.engine.signals import parse_signal
from rundlet.local.options import RunOptions, VolumeMount
from rundlet.local.words.network import list_names

if TYPE_CHECKING:
    from rundlet.local.status import Container
    from rundlet.network.pod import Link
    from rundlet.spec.image import ExecutionConfig

_NANOSECONDS = 10**9
_CPU_PERIOD_US = 100_000
_PROPAGATION = {"private": "rprivate", "host-to-container": "rslave", "bidirectional": "rshared"}


def describe_container(
    found: "Container", image: "ExecutionConfig | None", links: "Sequence[Link]" = ()
) -> dict[str, Any]:
    """`image` is what its image says, None when that has gone; `links` are its pod's ends on networks."""
    asked = found.asked or RunOptions()
    return {
        "Id": found.id,
        "Created": rfc3339_time(found.created_at_ns),
        "Path": found.command[0] if found.command else "",
        "Args": list(found.command[1:]),
        "State": _describe_state(found),
        "Image": found.image_id.removeprefix("sha256:"),
        "ImageName": found.image,
        "Pod": "" if found.own_pod else found.pod_id,
        "LogPath": found.log_path,
        "RestartCount": found.restarts,
        "Name": found.name,
        "Driver": "overlay",
        "Rootfs": "",
        "Namespace": "",
        "IsInfra": False,
        "ExecIDs": [],
        "MountLabel": "",
        "ProcessLabel": "",
        "OCIRuntime": found.status.runtime_handler or "rundlet",
        "Mounts": [_describe_mount(mount) for mount in asked.mounts],
        "Dependencies": list(asked.requires),
        "NetworkSettings": _describe_network(found, asked, links),
        "Config": _describe_config(found, asked, image),
        "HostConfig": _describe_host_config(found, asked),
    }


def _describe_state(found: "Container") -> dict[str, Any]:
    state: dict[str, Any] = {
        "OciVersion": "1.1.0",
        "Status": found.state,
        "Running": found.state in ("running", "paused"),
        "Paused": found.state == "paused",
        "Restarting": found.restart_at_ns > 0,
        "OOMKilled": found.reason == "OOMKilled",
        "Dead": False,
        "Pid": found.pid if found.state in ("running", "paused") else 0,
        "ExitCode": found.exit_code or 0,
        "Error": found.message,
        "StartedAt": rfc3339_time(found.started_at_ns),
        "FinishedAt": rfc3339_time(found.finished_at_ns),
    }
    health = found.health
    if health.status:
        state["Health"] = {
            "Status": health.status,
            "FailingStreak": health.failing_streak,
            "Log": [
                {
                    "Start": rfc3339_time(probe.started_at_ns),
                    "End": rfc3339_time(probe.finished_at_ns),
                    "ExitCode": probe.exit_code,
                    "Output": probe.output,
                }
                for probe in health.probes
            ],
        }
    return state


def _describe_mount(mount: VolumeMount) -> dict[str, Any]:
    return {
        "Type": mount.kind,
        **({"Name": mount.source} if mount.kind == "volume" else {}),
        "Source": mount.source,
        "Destination": mount.target,
        "Driver": "local" if mount.kind == "volume" else "",
        "Mode": "",
        "Options": [
            *mount.options,
            *(("nosuid", "nodev", "rbind") if mount.kind == "volume" else ("rbind",)),
        ],
        "RW": not mount.readonly,
        "Propagation": _PROPAGATION[mount.propagation],
    }


def _describe_ports(ports: tuple[PortMapping, ...]) -> dict[str, list[dict[str, str]]]:
    found: dict[str, list[dict[str, str]]] = {}
    for port in ports:
        found.setdefault(f"{port.container_port}/{port.protocol}", []).append(
            {"HostIp": port.host_ip, "HostPort": str(port.host_port)}
        )
    return found


def _describe_network(found: "Container", asked: RunOptions, links: "Sequence[Link]") -> dict[str, Any]:
    names = list_names(asked.network) if asked.network.mode in ("", "bridge") else ()
    ends = {link.network: _describe_link(link) for link in links}
    nothing = _describe_link(None)
    aliases = {end.name: end.aliases for end in asked.network.ends}
    networks = {
        name: ends.get(name, nothing)
        | {"NetworkID": name, "Aliases": [*asked.network.aliases, *aliases.get(name, ())]}
        for name in names
    }
    first = ends.get(names[0], nothing) if names else nothing
    return {**first, "Ports": _describe_ports(found.ports), "Networks": networks}


def _describe_link(link: "Link | None") -> dict[str, Any]:
    """The first address of each family; empty texts for a container that is not up."""
    ends = list(zip(link.ips, link.prefix_lengths, link.gateways, strict=True)) if link else []
    ip4 = next((end for end in ends if ":" not in end[0]), ("", 0, ""))
    ip6 = next((end for end in ends if ":" in end[0]), ("", 0, ""))
    return {
        "IPAddress": ip4[0],
        "IPPrefixLen": ip4[1],
        "Gateway": ip4[2],
        "GlobalIPv6Address": ip6[0],
        "GlobalIPv6PrefixLen": ip6[1],
        "IPv6Gateway": ip6[2],
        "MacAddress": link.mac if link else "",
    }


def _describe_config(
    found: "Container", asked: RunOptions, image: "ExecutionConfig | None"
) -> dict[str, Any]:
    own = asked.command or (tuple(image.cmd or ()) if image and asked.entrypoint is None else ())
    entrypoint = (
        asked.entrypoint if asked.entrypoint is not None else tuple(image.entrypoint or ()) if image else ()
    )
    env = dict(pair.partition("=")[::2] for pair in (image.env or ())) if image else {}
    env |= dict(asked.env)
    config = {
        "Hostname": asked.hostname or found.pod_id[:12],
        "User": asked.user or (image.user if image else ""),
        "Domainname": "",
        "AttachStdin": False,
        "AttachStdout": False,
        "AttachStderr": False,
        "Tty": asked.tty,
        "OpenStdin": asked.stdin,
        "StdinOnce": asked.stdin_once,
        "Env": [f"{name}={value}" for name, value in env.items()],
        "Cmd": list(own) or None,
        "Entrypoint": list(entrypoint) or None,
        "Image": found.image,
        "WorkingDir": asked.workdir or (image.working_dir if image else "") or "/",
        "Labels": dict(found.labels) or None,
        "Annotations": dict(asked.annotations) or None,
        "StopSignal": parse_signal(asked.stop_signal or found.status.stop_signal or "SIGTERM"),
        "StopTimeout": int(asked.stop_timeout_s),
        "Timeout": int(asked.timeout_s),
        "Umask": f"{asked.umask:04o}",
        "Passwd": asked.passwd,
        "Volumes": None,
        "ExposedPorts": {text: {} for text in image.exposed_ports} if image else {},
    }
    if asked.health is not None and asked.health.command:
        config["Healthcheck"] = {
            "Test": ["CMD-SHELL" if asked.health.shell else "CMD", *asked.health.command],
            "Interval": int(asked.health.interval_s * _NANOSECONDS),
            "Timeout": int(asked.health.timeout_s * _NANOSECONDS),
            "StartPeriod": int(asked.health.start_period_s * _NANOSECONDS),
            "Retries": asked.health.retries,
        }
        config["HealthcheckOnFailureAction"] = asked.health.on_failure
    return config


def _describe_host_config(found: "Container", asked: RunOptions) -> dict[str, Any]:
    limits, confinement = found.status.options.resources, asked.confinement
    quota, period = limits.cpu_quota_us or 0, limits.cpu_period_us or _CPU_PERIOD_US
    return {
        "AutoRemove": asked.remove,
        "Binds": [_describe_bind(mount) for mount in asked.mounts if mount.kind in ("bind", "volume")],
        "NetworkMode": asked.network.mode or "bridge",
        "PortBindings": _describe_ports(found.ports),
        "RestartPolicy": {"Name": asked.restart.name, "MaximumRetryCount": asked.restart.max_retries},
        "VolumesFrom": list(asked.volumes_from) or None,
        "CapAdd": list(confinement.capabilities.add),
        "CapDrop": list(confinement.capabilities.drop),
        "Dns": list(asked.dns.servers),
        "DnsOptions": list(asked.dns.options),
        "DnsSearch": list(asked.dns.searches),
        "ExtraHosts": [f"{name}:{address}" for name, address in asked.hosts],
        "GroupAdd": list(asked.groups),
        "LogConfig": {
            "Type": asked.logging.driver,
            "Config": None,
            "Path": found.log_path,
            "Tag": "",
            "Size": "0B",
        },
        "CgroupManager": "cgroupfs",
        "Cgroups": "default",
        "ContainerIDFile": "",
        "Devices": [
            {
                "PathOnHost": device.host_path,
                "PathInContainer": device.container_path,
                "CgroupPermissions": device.permissions,
            }
            for device in asked.devices
        ],
        "Runtime": "oci",
        "IpcMode": asked.namespaces.ipc or "private",
        "PidMode": asked.namespaces.pid or "private",
        "UTSMode": asked.namespaces.uts or "private",
        "UsernsMode": asked.namespaces.user,
        "CgroupMode": asked.namespaces.cgroup or "private",
        "Privileged": confinement.privileged,
        "PublishAllPorts": asked.publish_all,
        "ReadonlyRootfs": asked.read_only,
        "SecurityOpt": ["no-new-privileges"] if confinement.no_new_privileges else [],
        "ShmSize": asked.shm_size_bytes or 65536000,
        "Init": asked.init,
        "CgroupParent": asked.cgroup_parent,
        "CpuPeriod": limits.cpu_period_us or 0,
        "CpuQuota": quota,
        "CpuShares": limits.cpu_shares or 0,
        "CpusetCpus": limits.cpuset_cpus,
        "CpusetMems": limits.cpuset_mems,
        "NanoCpus": max(quota, 0) * _NANOSECONDS // period,
        "Memory": limits.memory_limit_bytes or 0,
        "MemorySwap": limits.memory_swap_limit_bytes or 0,
        "MemoryReservation": limits.memory_reservation_bytes or 0,
        "MemorySwappiness": -1 if limits.memory_swappiness is None else limits.memory_swappiness,
        "OomKillDisable": bool(limits.oom_kill_disabled),
        "CpuRealtimePeriod": limits.cpu_realtime_period_us or 0,
        "CpuRealtimeRuntime": limits.cpu_realtime_runtime_us or 0,
        "CgroupConf": dict(limits.unified) or None,
        **_describe_block_limits(limits.block or BlockLimits()),
        "OomScoreAdj": limits.oom_score_adj or 0,
        "PidsLimit": limits.pids_limit or 0,
        "Tmpfs": {mount.target: ",".join(mount.options) for mount in asked.mounts if mount.kind == "tmpfs"},
        "Ulimits": [
            {"Name": f"RLIMIT_{limit.name.upper()}", "Soft": limit.soft, "Hard": limit.hard}
            for limit in asked.ulimits
        ],
    }


def _describe_block_limits(block: BlockLimits) -> dict[str, Any]:
    def describe(limits: tuple[DeviceLimit, ...], word: str) -> list[dict[str, Any]]:
        return [{"Path": f"{one.major}:{one.minor}", word: one.value} for one in limits]

    return {
        "BlkioWeight": block.weight,
        "BlkioWeightDevice": describe(block.weights, "Weight"),
        "BlkioDeviceReadBps": describe(block.read_bytes, "Rate"),
        "BlkioDeviceWriteBps": describe(block.write_bytes, "Rate"),
        "BlkioDeviceReadIOps": describe(block.read_operations, "Rate"),
        "BlkioDeviceWriteIOps": describe(block.write_operations, "Rate"),
    }


def _describe_bind(mount: VolumeMount) -> str:
    words = ["ro" if mount.readonly else "rw", _PROPAGATION[mount.propagation], *mount.options]
    return f"{mount.source}:{mount.target}:{','.join(words)}"
