"""Metric families: the table itself, the parsers below it, and a pod's real figures."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rundlet.cgroup.figures import DeviceIo, merge_io, parse_io_line
from rundlet.cgroup.pressure import parse_pressure
from rundlet.engine.engine import Engine
from rundlet.engine.metrics import BASE_LABELS, FAMILIES
from rundlet.engine.options import ContainerOptions, PodOptions

# What the conformance suite asks for and rundlet cannot give without swap accounting or huge pages.
NO_VALUE_HERE = {"container_hugetlb_usage_bytes", "container_hugetlb_max_usage_bytes"}
DISK = {name for name in (family.name for family in FAMILIES) if "_fs_reads" in name or "_fs_writes" in name}


def test_every_family_is_described_once() -> None:
    names = [family.name for family in FAMILIES]
    assert len(names) == len(set(names)) == 56
    assert all(family.help for family in FAMILIES)
    assert all(
        len({*BASE_LABELS, *family.labels}) == len(BASE_LABELS) + len(family.labels) for family in FAMILIES
    )
    odd = {family.name for family in FAMILIES if (family.kind == "counter") != family.name.endswith("_total")}
    assert odd == {"container_memory_failcnt", "container_fs_inodes_total"}  # cAdvisor's own exceptions


def test_pressure_and_io_lines() -> None:
    text = "some avg10=0.00 avg60=0.00 avg300=0.00 total=12\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=5\n"
    assert [stall.total_us for stall in parse_pressure(text)] == [12, 5]
    assert parse_io_line("8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0") == DeviceIo("8:0", 1, 2, 3, 4)
    assert parse_io_line("8:16 ") is None
    assert merge_io({"8:0": {"Read": 7}}, {"8:0": {"Write": 2}}) == (DeviceIo("8:0", 7, 0, 0, 2),)


@given(st.text(max_size=200))
def test_any_pressure_text_reads(text: str) -> None:
    some, full = parse_pressure(text)
    assert min(*some, *full) >= 0


@pytest.mark.kernel
def test_a_pod_and_its_container_have_values(engine: Engine, image: str) -> None:
    pod = engine.pods.run(PodOptions(name="p", uid="u", namespace="n"))
    container = engine.containers.create(
        pod, ContainerOptions(name="c", image=image, command=("sleep", "60"))
    )
    engine.containers.start(container)
    (found,) = engine.metrics()
    assert found.pod_id == pod
    assert list(found.containers) == [container]
    values = {(metric.name, metric.label_values[3:]): metric.value for metric in found.containers[container]}
    assert values["container_processes", ()] == 1
    assert values["container_memory_usage_bytes", ()] > 0
    assert values["container_start_time_seconds", ()] > 0
    assert values["container_file_descriptors", ()] >= 3
    keys = {family.name: BASE_LABELS + family.labels for family in FAMILIES}
    for metric in [*found.metrics, *found.containers[container]]:
        assert len(metric.label_values) == len(keys[metric.name])
    have = {metric.name for metric in [*found.metrics, *found.containers[container]]}
    assert keys.keys() - have <= {*NO_VALUE_HERE, *DISK, "container_blkio_device_usage_total"}
    assert values["container_ulimits_soft", ("max_open_files",)] > 0
    assert {metric.label_values[3] for metric in found.metrics if "network" in metric.name} == {"eth0"}
