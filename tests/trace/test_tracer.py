"""Operations, their steps, and the record that outlives a killed process."""

import contextvars
import gc
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from rundlet.errors import NotFound
from rundlet.step import step
from rundlet.trace.chrome import chrome_trace
from rundlet.trace.flight import FlightRecorder, read_flights, take_flights
from rundlet.trace.span import STEPS_MAX, Span, Wait, advances, current, identify, waits
from rundlet.trace.tracer import Tracer, recall_flight
from rundlet.trace.view import clock_offset_ns, failed_leaf, is_about, running_leaves, view_span


@pytest.fixture
def tracer():
    return Tracer()


def names(span):
    return [span.name, [names(inner) for inner in span.steps]]


def view(span):
    return view_span(span, clock_offset_ns())


def test_steps_nest_and_are_kept_when_the_operation_has_ended(tracer):
    with tracer.operation("run", "pod", label="default/web"):
        with step("reserve the name"):
            pass
        with step("set up the network"), step("CNI ADD bridge"):
            pass
    (ended,) = tracer.ended()
    assert names(ended) == [
        "run",
        [["reserve the name", []], ["set up the network", [["CNI ADD bridge", []]]]],
    ]
    assert ended.started_ns <= ended.steps[1].started_ns <= ended.steps[1].ended_ns <= ended.ended_ns
    assert tracer.running() == []


def test_outside_of_an_operation_nothing_happens(tracer):
    with step("alone"):
        waits("process", "sleep", 7)
        advances(1, 2)
        identify("f" * 64)
        assert current() is None
    assert tracer.ended() == []


def test_an_operation_within_another_is_a_step_of_it(tracer):
    with tracer.operation("remove", "pod", "a"), tracer.operation("remove", "container", "b"):
        assert [one.name for one in tracer.running()] == ["remove"]
    (ended,) = tracer.ended()
    assert (ended.steps[0].kind, ended.steps[0].object_id) == ("container", "b")


def test_a_failure_is_kept_with_the_step_where_it_began(tracer):
    with pytest.raises(NotFound), tracer.operation("create", "container"), step("resolve the image"):
        raise NotFound("image x is not here", hint="pull it")
    path = failed_leaf(view(tracer.ended()[0]))
    assert [one.name for one in path] == ["create", "resolve the image"]
    assert (path[-1].failure.code, path[-1].failure.hint) == ("not_found", "pull it")


def test_an_id_found_on_the_way_belongs_to_the_operation(tracer):
    with tracer.operation("run", "pod") as operation, step("reserve the name"):
        identify("c0ffee")
    assert operation.object_id == "c0ffee"
    assert is_about(view(operation), frozenset({"c0ffee"}))


def test_another_thread_works_in_the_context_of_its_starter(tracer):
    inside, leave = threading.Event(), threading.Event()

    def work():
        with step("download a layer"):
            waits("registry", "quay.io")
            inside.set()
            leave.wait()

    with tracer.operation("pull", "image", label="redis") as operation:
        thread = threading.Thread(target=contextvars.copy_context().run, args=(work,))
        thread.start()
        inside.wait()
        with step("read the manifest"):
            paths = [[one.name for one in path] for path in running_leaves(view(operation))]
        leave.set()
        thread.join()
    assert sorted(paths) == [["pull", "download a layer"], ["pull", "read the manifest"]]


def test_memory_is_bounded(tracer):
    for _ in range(300):
        with tracer.operation("exec", "container"), step("wait"):
            pass
    with tracer.operation("run", "pod") as long:
        for _ in range(STEPS_MAX + 5):
            with step("again"):
                pass
    assert sum(one.name == "exec" for one in tracer.ended()) == 32
    assert (len(long.steps), view(long).dropped) == (STEPS_MAX, 5)


def count_spans():
    """Of all tests that ran in this process."""
    return sum(isinstance(one, Span) for one in gc.get_objects())


def test_what_is_forgotten_is_gone_without_the_collector(tracer):
    gc.collect()
    others = count_spans()
    gc.disable()
    try:
        for _ in range(100):
            with tracer.operation("exec", "container"), step("wait"), step("deeper"):
                pass
        kept = sum(1 + len(one.steps) + len(one.steps[0].steps) for one in tracer.ended())
        assert count_spans() - others == kept
    finally:
        gc.enable()


def test_a_step_of_a_thread_that_outlives_its_operation_is_no_error(tracer):
    begun, ended = threading.Event(), threading.Event()

    def work() -> None:
        with step("begun"):
            begun.set()
            ended.wait()
        with step("late"):
            pass

    with tracer.operation("pull"):
        thread = threading.Thread(target=contextvars.copy_context().run, args=(work,))
        thread.start()
        begun.wait()
    ended.set()
    thread.join()
    assert [names(one) for one in tracer.ended()] == [["pull", [["begun", []]]]]


def test_looks_without_steps_are_forgotten_but_their_failures_are_not(tracer):
    with tracer.operation("ListContainers"):
        pass
    with pytest.raises(KeyError), tracer.operation("Status"):
        raise KeyError("x")
    assert [one.name for one in tracer.ended()] == ["Status"]


def test_observers_hear_of_ended_operations_until_they_leave(tracer):
    heard = []
    leave = tracer.observe(heard.append)
    with tracer.operation("one"):
        pass
    leave()
    with tracer.operation("two"):
        pass
    assert [one.name for one in heard] == ["one"]


def test_the_record_shows_every_thread_and_is_empty_at_the_end(tmp_path):
    tracer = Tracer(FlightRecorder(str(tmp_path), "boot/1/2"))
    with tracer.operation("run", "pod", label="default/web"):
        with step("set up the network"):
            identify("ab12")
            with step("CNI ADD slow"):
                waits("process", "/bin/slow", 4711, timeout_s=60)
                (flight,) = read_flights(str(tmp_path))
        (after,) = read_flights(str(tmp_path))
    assert flight.identity == "boot/1/2"
    assert [one.name for one in flight.steps] == ["run", "set up the network", "CNI ADD slow"]
    assert (flight.steps[0].object_id, flight.steps[0].label) == ("ab12", "default/web")
    wait = flight.steps[-1].wait
    assert isinstance(wait, Wait)
    assert wait[:3] == ("process", "/bin/slow", 4711)
    assert wait.until_ns > wait.since_ns
    assert [one.name for one in after.steps] == ["run"]
    assert read_flights(str(tmp_path)) == []
    tracer.close()
    assert os.listdir(tmp_path / "trace") == []


def test_deep_and_many_operations_do_not_spill_over_in_the_record(tmp_path):
    tracer = Tracer(FlightRecorder(str(tmp_path), "b/1/2"))

    def dive(depth):
        with step(f"{depth} {'x' * 300}"):
            if depth:
                return dive(depth - 1)
            return read_flights(str(tmp_path))

    with tracer.operation("deep", "pod", "0" * 64, "y" * 300):
        (flight,) = dive(20)
    assert flight.steps[0].name == "deep"
    assert len(flight.steps) <= 7

    def crowd(number):
        with tracer.operation(f"operation {number}"):
            return crowd_inside(number)

    def crowd_inside(number):
        if number == 0:
            return len(read_flights(str(tmp_path)))
        counted = []
        thread = threading.Thread(target=lambda: counted.append(crowd(number - 1)))
        thread.start()
        thread.join()
        return counted[0]

    assert crowd(300) == 128
    assert read_flights(str(tmp_path)) == []


@pytest.mark.kernel
def test_a_full_file_system_is_an_error_not_a_signal(tmp_path):
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(tmp_path)], check=True)
    try:
        with pytest.raises(OSError, match="No space left"):
            FlightRecorder(str(tmp_path), "b/1/2")
        assert os.listdir(tmp_path / "trace") == []
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


KILLED = """
import os, sys, time
from rundlet.trace.flight import FlightRecorder
from rundlet.step import step
from rundlet.trace.span import waits
from rundlet.trace.tracer import Tracer
with Tracer(FlightRecorder(sys.argv[1], "b/7/7")).operation("stop", "container", "c1"):
    with step("wait for the end"):
        waits("process", "redis", 99)
        print("here", flush=True)
        time.sleep(60)
"""


def test_a_killed_process_leaves_what_it_was_doing(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE)
    with process:
        process.stdout.readline()
        process.send_signal(signal.SIGKILL)
    (flight,) = take_flights(str(tmp_path), lambda identity: identity != "b/7/7")
    tracer = Tracer()
    recall_flight(tracer, flight)
    leaf = failed_leaf(view(tracer.ended()[0]))[-1]
    assert (leaf.name, leaf.failure.code, leaf.wait.pid) == ("wait for the end", "killed", 99)
    assert read_flights(str(tmp_path)) == []


def test_chrome_rows_nest_but_never_overlap(tracer):
    with tracer.operation("pull", "image", label="redis") as operation:
        layers = [threading.Thread(target=contextvars.copy_context().run, args=(pause,)) for _ in range(3)]
        for layer in layers:
            layer.start()
        for layer in layers:
            layer.join()
    document = chrome_trace([view(operation)], time.time_ns())
    events = [event for event in document["traceEvents"] if event["ph"] == "X"]
    assert len(events) == 4
    assert len({event["tid"] for event in events}) == 3  # the first layer fits below the operation


TOGETHER = threading.Barrier(3)


def pause():
    with step("layer"):
        TOGETHER.wait()


def test_a_step_costs_microseconds(tmp_path):
    """Bounds far above the truth (2 µs), as others may use the machine."""
    tracer = Tracer(FlightRecorder(str(tmp_path), "b/1/1"))
    best_ns = 10**9
    for _ in range(5):
        with tracer.operation("run", "pod"):
            started = time.perf_counter_ns()
            for _ in range(400):
                with step("a step"):
                    pass
            best_ns = min(best_ns, (time.perf_counter_ns() - started) // 400)
    assert best_ns < 20_000
    tracer.close()
