"""The limits of a pod as a whole (CRI LinuxPodSandboxConfig.resources and overhead).

They are the containers' limits added up, so for a pod of kubelet's they say less than the group that
kubelet made and keeps: one container without a limit, and the sum is no limit of the pod.  They are
written therefore only to a group that rundlet made itself; of the others they are kept and told.
"""

from rundlet.engine.limits import add_overhead, merge_resources, plan_limits
from rundlet.engine.options import PodOptions, Resources
from rundlet.engine.parts import Parts
from rundlet.engine.process import plan_cgroup
from rundlet.errors import Error


def apply_pod_limits(parts: Parts, path: str, resources: Resources, overhead: Resources) -> None:
    """Write the limits of a pod to its group at `path`; raises what the kernel refuses."""
    total = add_overhead(resources, overhead)
    if total == Resources() or (parts.layout.mounts and not parts.groups.is_made(path)):
        return
    # A pod without a word on swap has no limit of it, whatever limits its containers have.
    swap = parts.host.swap_accounting and total.memory_swap_limit_bytes is not None
    parts.group(path).apply(plan_cgroup(parts, path, plan_limits(total, (), swap_accounting=swap)).writes)


def change_pod_limits(
    parts: Parts, path: str, options: PodOptions, resources: Resources, overhead: Resources
) -> tuple[Resources, Resources]:
    """The merged resources and overhead, written; on failure the old ones are put back."""
    merged = merge_resources(options.resources, resources)
    merged_overhead = merge_resources(options.overhead, overhead)
    try:
        apply_pod_limits(parts, path, merged, merged_overhead)
    except Error:
        apply_pod_limits(parts, path, options.resources, options.overhead)
        raise
    return merged, merged_overhead
