"""Changing the limits of a container that has not ended."""

from rundlet.engine.limits import merge_resources, plan_limits
from rundlet.engine.options import Resources
from rundlet.engine.parts import Parts
from rundlet.engine.process import plan_cgroup
from rundlet.engine.records import ContainerRecord
from rundlet.errors import Error, FailedPrecondition


def change_limits(parts: Parts, record: ContainerRecord, wanted: Resources) -> Resources:
    """The merged limits, written; on failure the old ones are put back."""
    if record.facts.restore:
        raise FailedPrecondition(
            f"container {record.id} waits to be restored: its limits can be changed when it runs"
        )
    merged = merge_resources(record.options.resources, wanted)
    try:
        _apply(parts, record, merged)
    except Error:
        _apply(parts, record, record.options.resources)
        raise
    return merged


def _apply(parts: Parts, record: ContainerRecord, resources: Resources) -> None:
    path = record.facts.cgroups_path
    limits = plan_limits(resources, (), swap_accounting=parts.host.swap_accounting)
    if record.facts.runtime_type == "oci" and not record.facts.own_sandbox:
        # The runtime keeps a copy of the limits, and would bring the old ones back with its next update.
        parts.keeper.update(record.id, limits.replace(devices=None).to_json())
        return
    parts.group(path).apply(plan_cgroup(parts, path, limits).writes)
