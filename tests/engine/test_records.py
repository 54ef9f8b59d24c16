"""Names, states and look-ups in a real database."""

import time

import pytest

from rundlet.engine.feed import Feed
from rundlet.engine.names import new_id
from rundlet.engine.options import ContainerFilter, ContainerOptions, PodFilter, PodOptions, Resources
from rundlet.engine.records import (
    SCHEMA,
    ContainerFacts,
    ContainerRecord,
    Exit,
    PodFacts,
    PodRecord,
    require_state,
)
from rundlet.engine.recordtables import ContainerRecords, PodRecords
from rundlet.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound
from rundlet.store.database import Database


@pytest.fixture
def database(tmp_path):
    database = Database(str(tmp_path / "state.db"), SCHEMA)
    yield database
    database.close()


@pytest.fixture
def pods(database):
    return PodRecords(database, Feed())


@pytest.fixture
def containers(database):
    return ContainerRecords(database, Feed())


def add_pod(pods: PodRecords, pod_id: str = "", **fields: object) -> PodRecord:
    options = PodOptions(**({"name": "p", "namespace": "ns", "uid": "u"} | fields))
    record = PodRecord(pod_id or new_id(), options, "creating", "me", time.time_ns())
    pods.reserve(record)
    return record


def add_container(containers: ContainerRecords, pod_id: str, **fields: object) -> ContainerRecord:
    options = ContainerOptions(**({"name": "c", "image": "i"} | fields))
    record = ContainerRecord(new_id(), pod_id, options, "creating", "me", time.time_ns())
    containers.reserve(record)
    return record


def test_a_pod_comes_back_as_it_was(pods):
    record = add_pod(pods, labels={"app": "x"}, annotations={"a": "b"})
    facts = PodFacts(hostname="h", namespaces={"net": "/n"}, ips=("10.0.0.2",))
    pods.publish(record.id, facts)
    found = pods.get(record.id)
    assert found.options == record.options
    assert found.facts == facts
    assert found.state == "ready"
    assert found.created_at_ns == record.created_at_ns


def test_a_name_is_taken_once_and_free_again(pods):
    record = add_pod(pods)
    with pytest.raises(AlreadyExists):
        add_pod(pods)
    add_pod(pods, attempt=1)
    pods.delete(record.id)
    add_pod(pods)


def test_half_made_pods_are_invisible(pods):
    record = add_pod(pods)
    assert pods.list() == []
    with pytest.raises(NotFound):
        pods.resolve(record.id)
    assert [found.id for found in pods.list_unfinished()] == [record.id]


def test_prefixes(pods):
    for number, digit in enumerate("12"):
        pods.publish(add_pod(pods, f"ab{digit}{'0' * 61}", attempt=number).id, PodFacts())
    assert pods.resolve("ab1").startswith("ab1")
    with pytest.raises(InvalidArgument):
        pods.resolve("ab")
    for wrong in ("", "ff", "AB1", "*"):
        with pytest.raises(NotFound):
            pods.resolve(wrong)


def test_filters(pods):
    first = add_pod(pods, labels={"a": "1", "b": "2"})
    second = add_pod(pods, attempt=1, labels={"a": "1"})
    for record in (first, second):
        pods.publish(record.id, PodFacts())
    pods.mark_stopped(second.id)
    assert [record.id for record in pods.list()] == [second.id, first.id]
    assert [record.id for record in pods.list(PodFilter(state="ready"))] == [first.id]
    assert [record.id for record in pods.list(PodFilter(labels={"b": "2"}))] == [first.id]
    assert [record.id for record in pods.list(PodFilter(id=second.id[:20]))] == [second.id]
    assert pods.list(PodFilter(id=second.id, state="ready")) == []


def test_life_of_a_container(pods, containers):
    pod = add_pod(pods)
    record = add_container(containers, pod.id)
    containers.publish(record.id, ContainerFacts(pid=7, image_id="sha256:1"))
    assert containers.get(record.id).state == "created"
    containers.mark_started(record.id, 5)
    assert containers.get(record.id).state == "running"
    containers.mark_exited(record.id, Exit(137, 9, "OOMKilled"))
    containers.mark_exited(record.id, Exit(0, 10, "Completed"))
    found = containers.get(record.id)
    assert (found.state, found.exit_code, found.finished_at_ns, found.reason) == (
        "exited",
        137,
        9,
        "OOMKilled",
    )
    assert found.facts.pid == 7
    assert containers.list_users("sha256:1", ()) == [record.id]
    with pytest.raises(FailedPrecondition):
        require_state(found, "created", action="start")


def test_an_end_may_be_heard_of_before_the_start(pods, containers):
    record = add_container(containers, add_pod(pods).id)
    containers.publish(record.id, ContainerFacts())
    containers.mark_exited(record.id, Exit(0, 9, "Completed"))
    containers.mark_started(record.id, 5)
    found = containers.get(record.id)
    assert (found.state, found.started_at_ns) == ("exited", 5)


def test_containers_of_a_pod(pods, containers):
    first, second = add_pod(pods), add_pod(pods, attempt=1)
    mine = add_container(containers, first.id, labels={"k": "v"})
    other = add_container(containers, second.id)
    for record in (mine, other):
        containers.publish(record.id, ContainerFacts())
    assert [found.id for found in containers.list(ContainerFilter(pod_id=first.id[:12]))] == [mine.id]
    assert [found.id for found in containers.list(ContainerFilter(labels={"k": "v"}))] == [mine.id]
    with pytest.raises(AlreadyExists):
        add_container(containers, first.id)
    with pytest.raises(FailedPrecondition):
        pods.delete(first.id)


def test_updated_resources_show(pods, containers):
    record = add_container(containers, add_pod(pods).id)
    containers.save_resources(record.id, Resources(cpu_shares=7))
    assert containers.get(record.id).options.resources.cpu_shares == 7
