from rundlet.engine.limits import clamp_oom_score, merge_resources, plan_limits
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
