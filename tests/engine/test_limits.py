from rundlet.engine.limits import add_overhead, clamp_oom_score, merge_resources, plan_limits
from rundlet.engine.options import Resources


def test_zero_and_none_are_not_asked_for():
    asked = Resources(cpu_quota_us=0, cpu_shares=0, memory_limit_bytes=0, pids_limit=0)
    limits = plan_limits(asked, (), swap_accounting=True)
    assert (limits.cpu, limits.memory, limits.pids) == (None, None, None)


def test_swap_is_left_out_where_it_is_not_counted():
    asked = Resources(memory_limit_bytes=5, memory_swap_limit_bytes=9)
    assert plan_limits(asked, (), swap_accounting=True).memory.swap == 9
    assert plan_limits(asked, (), swap_accounting=False).memory.swap is None


def test_oom_scores_only_rise_without_the_capability():
    assert clamp_oom_score(-998, own=0, may_lower=False) == 0
    assert clamp_oom_score(-998, own=0, may_lower=True) == -998
    assert clamp_oom_score(1000, own=0, may_lower=False) == 1000
    assert clamp_oom_score(None, own=0, may_lower=False) is None


def test_an_update_keeps_what_it_does_not_mention():
    old = Resources(cpu_shares=5, cpuset_cpus="0", unified={"a": "1"})
    assert merge_resources(old, Resources(cpu_shares=6)) == Resources(
        cpu_shares=6, cpuset_cpus="0", unified={"a": "1"}
    )


def test_a_pods_overhead_is_added_where_there_is_a_limit():
    overhead = Resources(memory_limit_bytes=5, cpu_quota_us=500, cpu_period_us=1000, cpu_shares=2)
    wanted = Resources(
        memory_limit_bytes=10, cpu_quota_us=100_000, cpu_shares=1024, hugepage_limits={"2MB": 1}
    )
    total = add_overhead(wanted, overhead)
    assert (total.memory_limit_bytes, total.cpu_quota_us, total.cpu_shares) == (15, 150_000, 1026)
    assert total.hugepage_limits == {"2MB": 1}
    unlimited = Resources(memory_limit_bytes=None, cpu_quota_us=-1)
    assert add_overhead(unlimited, overhead) == unlimited
