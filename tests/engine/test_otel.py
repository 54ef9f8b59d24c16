"""Spans as a real collector receives them: OTLP over gRPC on loopback."""

import queue
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from rundlet.engine.telemetry import TracingSettings
from rundlet.errors import NotFound
from rundlet.step import step
from rundlet.trace.span import waits
from rundlet.trace.tracer import Operation, Tracer

pytest.importorskip("opentelemetry.sdk")
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as service
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as service_grpc

from rundlet.engine.otel import SpanExport

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Collector(service_grpc.TraceServiceServicer):
    def __init__(self):
        self.requests = queue.SimpleQueue()

    def Export(self, request, _):
        self.requests.put(request)
        return service.ExportTraceServiceResponse()

    def spans(self):
        """Everything that has come, by name; call it when the export is closed."""
        found = {}
        while not self.requests.empty():
            for resource in self.requests.get().resource_spans:
                for scope in resource.scope_spans:
                    found |= {span.name: span for span in scope.spans}
        return found


@pytest.fixture
def collector():
    collector = Collector()
    server = grpc.server(ThreadPoolExecutor(2))
    service_grpc.add_TraceServiceServicer_to_server(collector, server)
    collector.endpoint = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    yield collector
    server.stop(0).wait()


def make_export(collector, tracer, rate=1_000_000):
    return SpanExport(tracer, TracingSettings(endpoint=collector.endpoint, sampling_rate_per_million=rate))


def attributes(span):
    return {item.key: item.value.string_value for item in span.attributes}


def fail_pod(tracer):
    with tracer.operation("RunPodSandbox"), tracer.operation("run", "pod", "ab12", "default/web"):
        fail_network()


def fail_network():
    with step("pod.network"):
        waits("process", "/bin/slow", 7)
        raise NotFound("no such network")


def test_operations_arrive_as_a_tree_of_spans(collector):
    tracer = Tracer()
    export = make_export(collector, tracer)
    with pytest.raises(NotFound):
        fail_pod(tracer)
    export.close()
    spans = collector.spans()
    assert set(spans) == {"RunPodSandbox", "run pod", "pod.network"}
    outer, verb, network = spans["RunPodSandbox"], spans["run pod"], spans["pod.network"]
    assert (verb.parent_span_id, network.parent_span_id) == (outer.span_id, verb.span_id)
    assert len({span.trace_id for span in spans.values()}) == 1
    assert outer.start_time_unix_nano <= network.start_time_unix_nano
    assert network.end_time_unix_nano <= outer.end_time_unix_nano
    assert attributes(outer)["rpc.method"] == "RunPodSandbox"
    assert attributes(verb)["rundlet.object.name"] == "default/web"
    assert attributes(network) == {
        "error.type": "not_found",
        "rundlet.wait": "process /bin/slow",
    }
    assert (network.status.code, network.status.message) == (2, "no such network")


def test_the_callers_trace_goes_on_whatever_the_rate(collector):
    tracer = Tracer()
    export = make_export(collector, tracer, rate=0)
    assert tracer.wants_origins
    for origin in (PARENT, "", PARENT.removesuffix("01") + "00", "nonsense"):
        operation = Operation(tracer, f"Call{len(origin)}{origin[-2:]}")
        with operation:
            operation.origin = origin
    export.close()
    spans = collector.spans()
    assert set(spans) == {"Call5501"}  # neither who has no trace nor whose caller is not sampled
    span = spans["Call5501"]
    assert span.trace_id.hex() == "0af7651916cd43dd8448eb211c80319c"
    assert span.parent_span_id.hex() == "b7ad6b7169203331"


def test_it_is_not_imported_when_it_is_off():
    script = "import sys, rundlet.cri.server, rundlet.cri.telemetry; print([m for m in sys.modules if 'opentel' in m or 'prometh' in m])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_missing_package_is_told_with_the_extra_that_brings_it():
    script = (
        "import sys; sys.modules['opentelemetry'] = None\n"
        "from rundlet.errors import Error\n"
        "try:\n    import rundlet.engine.otel\nexcept Error as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "OpenTelemetry is not installed" in done.stdout
    assert "rundlet[otel]" in done.stdout
