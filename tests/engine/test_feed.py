"""Events: in order, to everybody, never waiting for a slow listener."""

import threading

import pytest

from rundlet.engine import feed as feed_module
from rundlet.engine.engine import Engine
from rundlet.engine.feed import Feed
from rundlet.engine.options import ContainerOptions, PodOptions


def test_every_listener_hears_in_order():
    feed = Feed()
    with feed.subscribe() as first, feed.subscribe() as second:
        for change in ("created", "started", "stopped"):
            feed.tell("container", "c", "p", change)
        for listener in (first, second):
            events = iter(listener)
            assert [next(events).change for _ in range(3)] == ["created", "started", "stopped"]


def test_a_slow_listener_loses_the_oldest_and_is_told(monkeypatch):
    monkeypatch.setattr(feed_module, "_QUEUE_MAX", 2)
    feed = Feed()
    with feed.subscribe() as listener:
        for name in "abcd":
            feed.tell("container", name, "p", "started")
        assert listener.lost == 2
        assert next(iter(listener)).id == "c"


def test_closing_ends_a_waiting_listener():
    feed = Feed()
    heard = []
    with feed.subscribe() as listener:
        thread = threading.Thread(target=lambda: heard.extend(listener))
        thread.start()
        feed.tell("pod", "p", "p", "started")
        feed.close()
        thread.join(10)
        assert not thread.is_alive()
    feed.tell("pod", "p", "p", "stopped")


@pytest.mark.kernel
def test_a_life_is_told_once_a_step(engine: Engine, image: str):
    with engine.feed.subscribe() as events:
        pod = engine.pods.run(PodOptions(name="p", uid="u", namespace="n"))
        container = engine.containers.create(
            pod, ContainerOptions(name="c", image=image, command=("sleep", "60"))
        )
        engine.containers.start(container)
        engine.containers.stop(container, 0)
        engine.pods.remove(pod)
        told = []
        for event in events:
            told.append((event.kind, event.change))
            assert event.pod_id == pod
            if event.kind == "pod" and event.change == "deleted":
                break
    assert told == [
        ("pod", "started"),
        ("container", "created"),
        ("container", "started"),
        ("container", "stopped"),
        ("pod", "stopped"),
        ("container", "deleted"),
        ("pod", "deleted"),
    ]
