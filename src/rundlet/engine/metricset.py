"""The metrics of every pod on the node and of the containers in it."""

import time
from typing import NamedTuple

from rundlet.cgroup.figures import read_figures
from rundlet.engine.metrics import Inputs, Metric, Subject, count_processes, measure
from rundlet.engine.options import ContainerFilter, PodFilter
from rundlet.engine.parts import Parts
from rundlet.engine.records import ContainerRecord, PodRecord
from rundlet.engine.stats import StatsReader
from rundlet.errors import NotFound


class PodMetrics(NamedTuple):
    """`containers` maps container ids to their metrics; only running ones have any."""

    pod_id: str
    metrics: list[Metric]
    containers: dict[str, list[Metric]]


def read_pod_metrics(parts: Parts, stats: StatsReader) -> list[PodMetrics]:
    """Of all ready pods; what goes away meanwhile is left out."""
    found = []
    for record in parts.pods.list(PodFilter(state="ready")):
        try:
            found.append(_read_pod(parts, stats, record))
        except NotFound:
            continue
    return found


def _read_pod(parts: Parts, stats: StatsReader, record: PodRecord) -> PodMetrics:
    figures = read_figures(parts.group(record.facts.cgroup_parent))
    inputs = Inputs(
        figures,
        count_processes(figures.pids),
        interfaces=stats.read_interfaces(record),
        started_at_ns=record.created_at_ns,
    )
    subject = Subject(record.facts.cgroup_parent, record.options.name, "")
    containers = {}
    for container in parts.containers.list(ContainerFilter(pod_id=record.id, state="running")):
        try:
            containers[container.id] = _read_container(parts, stats, container)
        except NotFound:
            continue
    return PodMetrics(record.id, measure(subject, inputs), containers)


def _read_container(parts: Parts, stats: StatsReader, record: ContainerRecord) -> list[Metric]:
    group = parts.group(record.facts.cgroups_path)
    figures = read_figures(group)
    inputs = Inputs(
        figures,
        count_processes(figures.pids),
        filesystem=stats.read_writable_layer(record.id, time.time_ns()),
        started_at_ns=record.started_at_ns,
    )
    subject = Subject(group.path, record.options.name, record.options.image)
    return measure(subject, inputs)
