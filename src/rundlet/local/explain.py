"""What `run` would do, without doing it: every step, from the plans that would be carried out.

    image       the requests of a pull, or the layers that are here
    volumes     those that would be made
    pod         sandbox and network, when the container gets a pod of its own
    container   files, cgroup, seccomp, the steps of the first process, the program

Of an image that is not here its manifest is read, and nothing more can be said before it is pulled.
"""

from collections.abc import Callable

from msgspec.structs import replace

from rundlet.engine.engine import Engine
from rundlet.engine.explain import Section
from rundlet.engine.names import new_id
from rundlet.engine.options import PodFilter
from rundlet.local.holdings import Holdings
from rundlet.local.options import RunOptions
from rundlet.local.plan import LocalPlan, plan_run
from rundlet.local.ports import choose_ports
from rundlet.local.records import LocalRecord
from rundlet.local.settings import Places

_NAMELESS = "nameless"


def explain_run(
    engine: Engine,
    holdings: Holdings,
    asked: RunOptions,
    pod_id: str,
    find: Callable[[str], LocalRecord],
    places: Places,
) -> list[Section]:
    """`pod_id` is that of the pod that it joins, "" for one of its own; `find` knows other containers.

    Raises what `create` raises for wrong options.
    """
    image = engine.images.status(asked.image)
    pull = asked.pull == "always" or image is None
    sections = [_explain_pull(places, asked.image)] if pull and asked.pull != "never" else []
    if image is None:
        return [*sections, Section("container", ("what it is made of is known once the image is here",))]
    if not sections:
        sections = [Section("image", (f"{asked.image} is here: {image.id}",))]
    record = _imagine(asked, pod_id)
    named = holdings.name(replace(asked, name=record.name), image, find)
    record = replace(record, asked=named)
    facts = holdings.foresee(record, image, choose_ports(named, image.config.config))
    volumes = holdings.describe(record)
    if volumes:
        sections.append(Section("volumes", volumes))
    return [*sections, *_explain_plan(engine, plan_run(named, facts), record)]


def _imagine(asked: RunOptions, pod_id: str) -> LocalRecord:
    return LocalRecord(
        id=new_id(),
        name=asked.name or _NAMELESS,
        pod_id=pod_id or new_id(),
        own_pod=not pod_id,
        owner="",
        created_at_ns=0,
        asked=asked,
    )


def _explain_plan(engine: Engine, plan: LocalPlan, record: LocalRecord) -> list[Section]:
    if plan.pod is not None:
        before = engine.explain.pod(plan.pod, record.pod_id)
        options = plan.pod
    else:
        options = next(pod.options for pod in engine.pods.list(PodFilter(id=record.pod_id)))
        before = [Section("pod", (f"join pod {options.name}",))]
    return [*before, *engine.explain.container(record.pod_id, options, plan.container, record.id)]


def _explain_pull(places: Places, name: str) -> Section:
    """The requests, of which only those for the manifest are made."""
    from rundlet.image.api import describe_copy
    from rundlet.image.location import Location
    from rundlet.image.place import Host

    with Host(places.root, places.run_root) as host:
        reference = host.registries().resolve_name(name)[0]
        lines = describe_copy(
            host, Location("docker", reference=reference), Location("containers-storage", name=str(reference))
        )
    return Section(f"pull {reference}", tuple(lines))
