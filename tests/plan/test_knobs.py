import pytest

from rundlet.errors import FailedPrecondition
from rundlet.plan.knobs import DEVICE_PROGRAM, filter_writes

HOST = {
    ("memory", ""),
    ("memory", "memory.max"),
    ("memory", "memory.limit_in_bytes"),
    ("io", ""),
    ("io", "io.weight"),
}


def fit(*writes, more=()):
    present = HOST | set(more)
    return list(filter_writes(writes, lambda controller, file: (controller, file) in present))


def test_what_the_host_has_passes_in_order():
    writes = [("memory", "memory.max", "1"), ("io", "io.weight", "5"), ("memory", "memory.max", "2")]
    assert fit(*writes) == writes


@pytest.mark.parametrize(
    ("writes", "words"),
    [
        ([("pids", "pids.max", "5")], "no pids controller"),
        ([("hugetlb", "hugetlb.2MB.max", "4096")], "no hugetlb controller"),
        ([("rdma", "rdma.max", "mlx5_1 hca_handle=3")], "no rdma controller"),
        ([("memory", "memory.swap.max", "4096")], "no such file .*swapaccount=1"),
        (
            [("memory", "memory.limit_in_bytes", "4096"), ("memory", "memory.memsw.limit_in_bytes", "8192")],
            "no such file .*swapaccount=1",
        ),
        ([("cpu", "cpu.idle", "1")], "no cpu controller"),
        ([("memory", "memory.unheard", "1")], "memory.unheard to '1': this kernel has no such file"),
    ],
)
def test_a_limit_that_cannot_be_kept_is_refused_by_name(writes, words):
    with pytest.raises(FailedPrecondition, match=words):
        fit(*writes)


@pytest.mark.parametrize(
    "write",
    [
        ("memory", "memory.swap.max", "max"),
        ("memory", "memory.swap.max", "0"),
        ("memory", "memory.memsw.limit_in_bytes", "-1"),
        ("hugetlb", "hugetlb.2MB.max", "0"),
        ("hugetlb", "hugetlb.2MB.rsvd.limit_in_bytes", "0"),
    ],
)
def test_what_would_not_be_missed_is_dropped(write):
    assert fit(write) == []


def test_no_swap_beyond_memory_is_dropped_without_swap_accounting():
    limit = ("memory", "memory.limit_in_bytes", "4096")
    assert fit(limit, ("memory", "memory.memsw.limit_in_bytes", "4096")) == [limit]


def test_reserved_huge_pages_are_optional_beside_used_ones():
    more = [("hugetlb", ""), ("hugetlb", "hugetlb.2MB.max")]
    used, reserved = ("hugetlb", "hugetlb.2MB.max", "4"), ("hugetlb", "hugetlb.2MB.rsvd.max", "4")
    assert fit(used, reserved, more=more) == [used]
    with pytest.raises(FailedPrecondition, match=r"hugetlb.1GB.max .* no such file"):
        fit(("hugetlb", "hugetlb.1GB.max", "0"), more=more)


@pytest.mark.parametrize("bfq", [True, False])
def test_block_weights_go_to_the_one_name_that_is_there(bfq):
    both = [("io", "io.bfq.weight", "500"), ("io", "io.weight", "4950")]
    assert fit(*both, more=[("io", "io.bfq.weight")] if bfq else []) == [both[0 if bfq else 1]]


def test_block_weights_without_any_scheduler_that_weighs_are_refused():
    with pytest.raises(FailedPrecondition, match="blkio.weight"):
        fit(("blkio", "blkio.bfq.weight", "5"), ("blkio", "blkio.weight", "5"), more=[("blkio", "")])


def test_a_device_program_is_no_file():
    write = ("devices", DEVICE_PROGRAM, "AAAA")
    assert fit(write) == [write]
