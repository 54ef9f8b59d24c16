"""Changing the limits of a container that has not ended."""

from rundlet.engine.creation import bundle_path
from rundlet.engine.limits import merge_resources, plan_limits
from rundlet.engine.options import Resources
from rundlet.engine.parts import Parts
from rundlet.engine.process import plan_cgroup, read_config, rewrite_config
from rundlet.engine.records import ContainerRecord
from rundlet.errors import Error
from rundlet.spec.runtime import Linux


def change_limits(parts: Parts, record: ContainerRecord, wanted: Resources) -> Resources:
    """The merged limits, written; on failure the old ones are put back."""
    merged = merge_resources(record.options.resources, wanted)
    if record.facts.restore:
        _plan(parts, record, merged)
        return merged
    try:
        _apply(parts, record, merged)
    except Error:
        _apply(parts, record, record.options.resources)
        raise
    return merged


def _plan(parts: Parts, record: ContainerRecord, resources: Resources) -> None:
    """It has no group yet: the runtime that restores it makes one by config.json."""
    bundle = bundle_path(parts, record.id)
    config = read_config(bundle)
    linux = config.linux or Linux()
    devices = linux.resources.devices if linux.resources else None
    limits = plan_limits(resources, (), swap_accounting=parts.host.swap_accounting)
    rewrite_config(bundle, config.replace(linux=linux.replace(resources=limits.replace(devices=devices))))


def _apply(parts: Parts, record: ContainerRecord, resources: Resources) -> None:
    path = record.facts.cgroups_path
    limits = plan_limits(resources, (), swap_accounting=parts.host.swap_accounting)
    if record.facts.runtime_type == "oci" and not record.facts.own_sandbox:
        # The runtime keeps a copy of the limits, and would bring the old ones back with its next update.
        parts.keeper.update(record.id, limits.replace(devices=None).to_json())
        return
    parts.group(path).apply(plan_cgroup(parts, path, limits).writes)
