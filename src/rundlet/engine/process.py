"""From a container's record and config.json to the plans that the keeper takes."""

import os
from collections.abc import Sequence
from functools import cache
from sys import intern
from typing import Any, Literal

from rundlet.cgroup.systemd import is_slice, is_unit_path
from rundlet.engine.execchange import Change
from rundlet.engine.options import ContainerOptions, ExecOptions, SecurityProfile
from rundlet.engine.parts import Parts
from rundlet.engine.records import ContainerRecord
from rundlet.errors import FailedPrecondition, InvalidArgument
from rundlet.kernel.capability import read_sets
from rundlet.kernel.failure import translating
from rundlet.kernel.lsm import read_security_modules
from rundlet.plan.checks import check_words
from rundlet.plan.container import CgroupPlan, ContainerPlan
from rundlet.plan.planner import Filter, Host, Overlay, plan_container, plan_process
from rundlet.plan.process import ProcessPlan
from rundlet.plan.resources import plan_resources
from rundlet.plan.seccomp_cache import load_program
from rundlet.plan.seccomp_default import default_seccomp
from rundlet.plan.unit import plan_unit
from rundlet.spec.json import decode, encode_pretty
from rundlet.spec.runtime import Capabilities, Linux, Process, Resources, RuntimeConfig, Seccomp

_CONFIG_FILE = "config.json"


def choose_seccomp(options: ContainerOptions, capabilities: Capabilities) -> Seccomp | None:
    """The profile, or None for a privileged or unconfined container.

    Raises InvalidArgument when the host has no such file.
    """
    if options.security.privileged:
        return None
    if options.seccomp_inline is not None:
        return options.seccomp_inline
    profile = options.security.seccomp
    if profile.kind == "localhost":
        return _read_profile(profile)
    if profile.kind == "runtime-default":
        return default_seccomp(capabilities.bounding or [], os.uname().machine)
    return None


def _read_profile(profile: SecurityProfile) -> Seccomp:
    try:
        with open(profile.path, "rb") as file:
            raw = file.read()
    except OSError as error:
        raise InvalidArgument(
            f"security.seccomp.path: cannot read {profile.path}: {error.strerror}"
        ) from error
    return decode(raw, Seccomp, f"seccomp profile {profile.path}")


def compile_seccomp(parts: Parts, profile: Seccomp | None) -> Filter | None:
    if profile is None:
        return None
    key = (id(profile), parts.settings.seccomp_cache_dir)
    known = _filters.get(key)
    if known is not None:
        return known[1]
    program = load_program(profile, parts.settings.seccomp_cache_dir)
    made = Filter(program.filter, program.flags)
    if len(_filters) >= _FILTERS_MAX:
        _filters.clear()
    _filters[key] = (profile, made)
    return made


# Filters by the identity of their profiles, which stay alive here: the default ones are single objects.
_filters: dict[tuple[int, str], tuple[Seccomp, Filter]] = {}
_FILTERS_MAX = 16


def read_host(parts: Parts, cgroups_path: str) -> Host:
    directories = parts.group(cgroups_path).directories()
    cgroups = directories if parts.layout.version == 1 else {"": directories.get("", "")}
    return Host(_available_capabilities(), cgroups, _security_modules(), parts.host.is_rootless)


@cache
def _available_capabilities() -> int:
    """What this process can give; it never gives any of its own up."""
    sets = read_sets()
    return sets["permitted"] & sets["bounding"]


@cache
def _security_modules() -> tuple[str, ...]:
    """The kernel has the same ones until it is booted again."""
    return read_security_modules()


def plan_create(
    parts: Parts, container_id: str, config: RuntimeConfig, bundle: str, overlay: Overlay | None
) -> ContainerPlan:
    linux = config.linux
    if linux is None:
        raise InvalidArgument("config.json: linux: expected an object, it is missing")
    return plan_container(
        container_id,
        config,
        read_host(parts, linux.cgroups_path),
        bundle=bundle,
        overlay=overlay,
        cgroup=plan_cgroup(parts, linux.cgroups_path, linux.resources or Resources()),
        seccomp=compile_seccomp(parts, linux.seccomp),
    )._replace(traced=parts.settings.tracing.container_steps)


def plan_cgroup(parts: Parts, path: str, resources: Resources) -> CgroupPlan:
    """The files' values; for a unit of systemd its properties before them."""
    if not parts.layout.mounts:
        refuse_limits(resources)
        return CgroupPlan(path)
    version: Literal[1, 2] = 1 if parts.layout.version == 1 else 2
    unit = plan_unit(resources, version) if is_unit_path(path) or is_slice(path) else ()
    writes = (*unit, *plan_resources(resources, version))
    return CgroupPlan(path, tuple((write.controller, write.file, write.value) for write in writes))


def refuse_limits(resources: Resources) -> None:
    """Where no cgroup is this user's to make; rules on devices are left out, as a user cannot make any."""
    for name in ("memory", "cpu", "pids", "block_io", "hugepage_limits", "network", "rdma", "unified"):
        if getattr(resources, name):
            raise FailedPrecondition(
                f"resources.{name}: no cgroup is delegated to this user, so nothing can keep a limit",
                hint="leave the limit out; with cgroup version 2, `systemd-run --user --scope -p Delegate=yes` gives one",
            )


def choose_exec_plan(
    parts: Parts,
    record: ContainerRecord,
    bundle: str,
    argv: Sequence[str],
    *,
    terminal: bool,
    change: Change | None = None,
) -> ProcessPlan | dict[str, Any]:
    """What the keeper needs to run `argv` in a running container, whoever made that.

    `change` is how it differs from the container's first process.
    """
    if record.facts.runtime_type == "oci":
        process = take_after(read_config(bundle), argv, terminal=terminal)
        return (change.make(process) if change else process).to_json()
    return plan_exec(parts, bundle, argv, terminal=terminal, change=change)


def plan_exec(
    parts: Parts, bundle: str, argv: Sequence[str], *, terminal: bool, change: Change | None = None
) -> ProcessPlan:
    """A further process with the identity, environment and limits of the container's first, but for the `change`."""
    key = (bundle, change.key if change else None)
    plan = _execs.get(key) if change is None or change.key else None
    if plan is None:
        plan = _plan_like_first(parts, read_config(bundle), change)
        if change is None or change.key:
            if len(_execs) >= _EXECS_MAX:
                _execs.clear()
            _execs[key] = plan
    check_words(argv, "process.args")
    return plan._replace(args=tuple(argv), terminal=terminal)


# Plans of execs, without their program, by bundle and change: probes come every few seconds, and a bundle
# keeps its config.json as it is.  Of equal filters one is kept.
_execs: dict[tuple[str, ExecOptions | None], ProcessPlan] = {}
_EXECS_MAX = 512


def _plan_like_first(parts: Parts, config: RuntimeConfig, change: Change | None) -> ProcessPlan:
    process = take_after(config, (), terminal=False)
    linux = config.linux or Linux()
    host = read_host(parts, linux.cgroups_path)
    seccomp = compile_seccomp(parts, linux.seccomp)
    plan = plan_process(change.make(process) if change else process, host, seccomp, linux=linux)
    return plan._replace(seccomp=intern(plan.seccomp))


def take_after(config: RuntimeConfig, argv: Sequence[str], *, terminal: bool) -> Process:
    """The first process's, with another program."""
    if config.process is None:
        raise FailedPrecondition("config.json: the container has no process to take after")
    return config.process.replace(args=list(argv), terminal=terminal, console_size=None)


def write_config(bundle: str, config: RuntimeConfig) -> None:
    path = f"{bundle}/{_CONFIG_FILE}"
    with translating(f"write {path}"), open(path, "xb", opener=_private) as file:
        file.write(encode_pretty(config))


def rewrite_config(bundle: str, config: RuntimeConfig) -> None:
    """The whole file or the old one."""
    path = f"{bundle}/{_CONFIG_FILE}"
    fresh = f"{path}.new"
    with translating(f"write {path}"):
        with open(fresh, "wb", opener=_private) as file:
            file.write(encode_pretty(config))
        os.rename(fresh, path)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def read_config(bundle: str) -> RuntimeConfig:
    """Raises FailedPrecondition when the bundle is gone (a reboot empties the run root)."""
    path = f"{bundle}/{_CONFIG_FILE}"
    try:
        with open(path, "rb") as file:
            return decode(file.read(), RuntimeConfig, path)
    except OSError as error:
        raise FailedPrecondition(f"cannot read {path}: {error.strerror}") from error
