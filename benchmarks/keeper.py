"""Our side where OCI runtimes are measured: a warm keeper, and all that is planned before a start."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal, NamedTuple

from benchmarks.bundle import Bundle
from rundlet.cgroup.layout import detect_layout
from rundlet.keeper.client import Keeper
from rundlet.kernel.capability import NUMBERS
from rundlet.plan.container import CgroupPlan, ContainerPlan
from rundlet.plan.planner import Filter, Host, plan_container, plan_process
from rundlet.plan.process import ProcessPlan
from rundlet.plan.resources import plan_resources
from rundlet.plan.seccomp_cache import load_program

WAIT_S = 60.0
HOW = "a warm keeper, through its socket: plan the bundle's config.json, create and start in one request"


class Engine(NamedTuple):
    """What is ready before the first start: a keeper, the compiled filter, the resource writes."""

    keeper: Keeper
    bundle: Bundle
    host: Host
    seccomp: Filter
    writes: tuple[tuple[str, str, str], ...]

    def plan(self, container_id: str, args: Sequence[str] = ()) -> ContainerPlan:
        config = self.bundle.config
        assert config.process is not None
        if args:
            config = config.replace(process=config.process.replace(args=list(args)))
        return plan_container(
            container_id, config, self.host, bundle=self.bundle.directory,
            cgroup=CgroupPlan(f"/bench/{container_id}", self.writes), seccomp=self.seccomp,
        )  # fmt: skip

    def plan_exec(self, args: Sequence[str]) -> ProcessPlan:
        process = self.bundle.config.process
        assert process is not None
        return plan_process(process.replace(args=list(args)), self.host, seccomp=self.seccomp)

    def run_to_end(self, container_id: str, args: Sequence[str]) -> None:
        self.keeper.run(self.plan(container_id, args))
        self.keeper.wait(container_id, WAIT_S)
        self.keeper.delete(container_id)


@contextmanager
def running_keeper(bundle: Bundle, directory: str) -> Iterator[Engine]:
    linux = bundle.config.linux
    assert linux is not None
    assert linux.seccomp is not None
    assert linux.resources is not None
    program = load_program(linux.seccomp, f"{directory}/seccomp")
    version: Literal[1, 2] = 1 if detect_layout().version == 1 else 2
    engine = Engine(
        keeper=Keeper(f"{directory}/run"),
        bundle=bundle,
        host=Host(capabilities=sum(1 << number for number in NUMBERS.values())),
        seccomp=Filter(program.filter, program.flags),
        writes=plan_resources(linux.resources, version),
    )
    try:
        yield engine
    finally:
        engine.keeper.close()
