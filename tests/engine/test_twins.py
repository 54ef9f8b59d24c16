"""The same request twice, at once and after nobody heard the first answer."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from rundlet.engine.engine import Engine
from rundlet.engine.options import ContainerOptions, PodOptions
from rundlet.engine.twins import Twins
from rundlet.errors import AlreadyExists, NotFound


def test_the_second_waits_and_gets_the_same():
    twins, began, go_on = Twins(lambda _: True), threading.Event(), threading.Event()
    made = []

    def make():
        began.set()
        go_on.wait(10)
        made.append(1)
        return "id"

    with ThreadPoolExecutor() as pool:
        first = pool.submit(twins.run, "key", "asked", make)
        began.wait(10)
        second = pool.submit(twins.run, "key", "asked", make)
        other = pool.submit(twins.run, "key", "something else", lambda: "other")
        assert other.result(10) == "other"
        go_on.set()
        assert (first.result(10), second.result(10)) == ("id", "id")
    assert made == [1]
    assert twins.run("key", "asked", lambda: "new") == "new"


def test_a_failure_is_told_to_both_and_the_next_tries_again():
    twins = Twins(lambda _: True)

    def fail():
        raise NotFound("no such image")

    with pytest.raises(NotFound):
        twins.run("key", "asked", fail)
    assert twins.run("key", "asked", lambda: "id") == "id"


def test_what_nobody_heard_of_goes_to_the_next_twin_once():
    gone = set()
    twins = Twins(lambda made: made not in gone)
    twins.offer("key", "asked", "id")
    assert twins.run("key", "another", lambda: "new") == "new"
    assert twins.run("key", "asked", lambda: "new") == "id"
    assert twins.run("key", "asked", lambda: "new") == "new"
    twins.offer("key", "asked", "id")
    gone.add("id")
    assert twins.run("key", "asked", lambda: "new") == "new"


@pytest.mark.kernel
def test_pods_and_containers_are_made_once(engine: Engine, image: str):
    options = PodOptions(name="p", uid="u", namespace="n")
    with ThreadPoolExecutor(4) as pool:
        answers = [
            call.exception() or call.result()
            for call in [pool.submit(engine.pods.run, options) for _ in range(4)]
        ]
    (pod,) = {answer for answer in answers if isinstance(answer, str)}
    assert all(isinstance(answer, str | AlreadyExists) for answer in answers)
    with pytest.raises(AlreadyExists):
        engine.pods.run(options)
    engine.pods.offer_again(options, pod)
    assert engine.pods.run(options) == pod
    asked = ContainerOptions(name="c", image=image, command=("true",))
    container = engine.containers.create(pod, asked)
    engine.containers.offer_again(asked, container)
    assert engine.containers.create(pod, asked) == container
    with pytest.raises(AlreadyExists):
        engine.containers.create(pod, asked)
