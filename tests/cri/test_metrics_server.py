"""The metrics endpoint: over TCP, TLS and a unix socket, of an idle engine and of a daemon at work."""

import os
import re
import socket
import ssl
import subprocess
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import grpc
import pytest
from prometheus_client.parser import text_string_to_metric_families

from rundlet.cri.client import Client
from rundlet.cri.metric_families import FAMILIES
from rundlet.cri.metrics_server import MetricsServer
from rundlet.cri.proto import api_pb2 as api
from rundlet.engine.feed import Feed
from rundlet.engine.telemetry import MetricsSettings
from rundlet.errors import Error, InvalidArgument, NotFound, Unavailable
from rundlet.registry.server import RegistryServer
from rundlet.step import step
from rundlet.trace.tracer import Tracer
from tests.cri.node import Caller, publish_busybox, start_daemon

LOG_LINE = re.compile(r"metrics are served on (\S+)")
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def engine():
    nothing = SimpleNamespace(list=list)
    return SimpleNamespace(feed=Feed(), tracer=Tracer(), pods=nothing, containers=nothing, keeper_restarts=0)


@pytest.fixture
def serve(engine):
    """serve(**settings): a server that is stopped at the end."""
    servers = []

    def serve(**settings):
        server = MetricsServer(engine, MetricsSettings(**settings))
        servers.append(server)
        server.start()
        return server

    yield serve
    for server in servers:
        server.stop()


@pytest.fixture(scope="module")
def pem(tmp_path_factory):
    """Certificate and key for 127.0.0.1."""
    base = tmp_path_factory.mktemp("tls")
    cert, key = str(base / "cert.pem"), str(base / "key.pem")
    argv = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-subj",
        "/CN=localhost",
        "-days",
        "2",
    ]
    argv += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", cert]
    try:
        subprocess.run(argv, check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("openssl not on this host")
    return cert, key


def read(url, context=None):
    with urllib.request.urlopen(url, timeout=10, context=context) as answer:
        return parse(answer.read().decode())


def parse(text):
    """{(sample name, label values): value}"""
    families = text_string_to_metric_families(text)
    samples = [sample for family in families for sample in family.samples]
    return {(one.name, *one.labels.values()): one.value for one in samples}


def test_what_operations_did_shows_at_the_next_scrape(engine, serve):
    server = serve(listen="127.0.0.1:0")
    with engine.tracer.operation("RunPodSandbox"), step("pod.network"):
        found = read(f"http://{server.address}/metrics")
        assert found["rundlet_operations_in_flight", "RunPodSandbox"] == 1
    found = read(f"http://{server.address}/metrics")
    assert found["container_runtime_crio_operations_total", "RunPodSandbox"] == 1
    assert found["container_runtime_crio_operations_latency_seconds_total_count", "RunPodSandbox"] == 1
    assert found["rundlet_operation_duration_seconds_bucket", "+Inf", "RunPodSandbox"] == 1
    assert found["rundlet_step_duration_seconds_count", "pod.network"] == 1
    assert ("rundlet_operations_in_flight", "RunPodSandbox") not in found
    assert found["process_resident_memory_bytes",] > 1e6
    assert ("process_open_fds",) in found


def test_over_tls(serve, pem):
    server = serve(listen="127.0.0.1:0", tls_cert=pem[0], tls_key=pem[1])
    context = ssl.create_default_context(cafile=pem[0])
    assert ("process_open_fds",) in read(f"https://{server.address}/metrics", context)
    with pytest.raises(OSError):
        read(f"http://{server.address}/metrics")
    with pytest.raises(InvalidArgument):
        serve(listen="127.0.0.1:0", tls_cert="/nonexistent", tls_key="/nonexistent")


def test_over_a_unix_socket_that_is_roots_alone(serve, tmp_path):
    path = tmp_path / "metrics.sock"
    server = serve(listen=f"unix://{path}")
    assert server.address == str(path)
    assert path.stat().st_mode & 0o777 == 0o600
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(path))
        sock.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        with sock.makefile("rb") as file:
            head, _, body = file.read().partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert ("process_open_fds",) in parse(body.decode())


def test_nothing_else_is_served(serve):
    server = serve(listen="127.0.0.1:0")
    with pytest.raises(urllib.error.HTTPError, match="404"):
        read(f"http://{server.address}/")
    request = urllib.request.Request(f"http://{server.address}/metrics", method="POST", data=b"x")
    with pytest.raises(urllib.error.HTTPError, match="501"):
        urllib.request.urlopen(request, timeout=10)


def test_a_taken_address_is_told(serve):
    server = serve(listen="127.0.0.1:0")
    with pytest.raises(
        Unavailable, match=f"metrics: cannot listen on {server.address}: Address already in use"
    ):
        serve(listen=server.address)


def test_the_table_in_the_docs_is_the_code():
    rows = [f"| `{one.name}` | {one.kind} | {', '.join(one.labels)} | {one.help} |" for one in FAMILIES]
    page = Path(__file__).parents[2] / "docs" / "observability.md"
    found = [
        line for line in page.read_text().splitlines() if re.match(r"\| `(rundlet|container_runtime)_", line)
    ]
    assert found == rows


# -- a daemon ---------------------------------------------------------------------


@pytest.fixture
def collector():
    """An OTLP collector; `.endpoint`, `.received` are requests."""
    pytest.importorskip("opentelemetry.proto")
    from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

    class Collector(trace_service_pb2_grpc.TraceServiceServicer):
        received = []

        def Export(self, request, _):
            self.received.append(request)
            return trace_service_pb2.ExportTraceServiceResponse()

    server = grpc.server(ThreadPoolExecutor(2))
    collector = Collector()
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(collector, server)
    collector.endpoint = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    yield collector
    server.stop(0).wait()


@pytest.mark.kernel
def test_a_daemon_at_work_is_measured_and_traced(tmp_path, collector):
    registry = RegistryServer(str(tmp_path / "registry"))
    registry.start()
    image = publish_busybox(registry.address, tmp_path)
    config = tmp_path / "rundlet.toml"
    config.write_text(f'[metrics]\nlisten = "127.0.0.1:0"\n[tracing]\nendpoint = "{collector.endpoint}"\n')
    daemon = start_daemon(tmp_path, "--config", str(config))
    try:
        with Client(daemon.endpoint) as client:
            work(Caller(client, image, tmp_path))
            address = LOG_LINE.search(daemon.log.read_text()).group(1)
            found = read(f"http://{address}/metrics")
    finally:
        daemon.stop()
        registry.stop()
    crio = "container_runtime_crio_"
    assert found[f"{crio}operations_total", "RunPodSandbox"] == 2
    assert found[f"{crio}operations_errors_total", "RunPodSandbox"] == 1
    assert found[f"{crio}operations_total", "network_setup_pod"] == 1
    assert found[f"{crio}image_pulls_success_total",] == 2
    assert found[f"{crio}image_pulls_failure_total", "NOT_FOUND"] == 1
    assert found[f"{crio}image_layer_reuse_total",] >= 1
    assert found[f"{crio}image_pulls_layer_size_count",] >= 1
    assert sum(value for key, value in found.items() if key[0] == f"{crio}image_pulls_bytes_total") > 1000
    assert found[f"{crio}containers_oom_total",] == 1
    assert found[f"{crio}containers_oom_count_total", "hungry"] == 1
    assert found["rundlet_pods", "ready"] == 0
    assert found["rundlet_step_duration_seconds_count", "network.add.bridge"] == 1
    spans = [
        span
        for request in collector.received
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
    names = {span.name for span in spans}
    assert {"RunPodSandbox", "run pod", "pod.reserve", "network.add.bridge", "keeper.make_pod"} <= names
    assert {span.trace_id.hex() for span in spans} == {"0af7651916cd43dd8448eb211c80319c"}


def work(caller):
    for _ in range(2):
        caller.PullImage(image={"image": caller.image})
    with pytest.raises(NotFound):
        caller.PullImage(image={"image": caller.image + "-absent"})
    request = api.RunPodSandboxRequest(config=caller.pod_config())
    pod_id = caller.client.runtime.RunPodSandbox(
        request, timeout=30, metadata=(("traceparent", PARENT),)
    ).pod_sandbox_id
    with pytest.raises(Error):
        caller.RunPodSandbox(config=request.config, runtime_handler="absent")
    container_id = caller.start(
        pod_id,
        "sh", "-c", "x=a; while :; do x=$x$x; done",
        metadata={"name": "hungry"},
        linux={"resources": {"memory_limit_in_bytes": 16 << 20}},
    )  # fmt: skip
    while caller.status(container_id).state == api.CONTAINER_RUNNING:
        os.sched_yield()
    caller.RemovePodSandbox(pod_sandbox_id=pod_id)
