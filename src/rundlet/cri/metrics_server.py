"""Where Prometheus scrapes the daemon: GET /metrics over TCP, TLS or a unix socket.

One registry a process: ours, the process' own numbers (process_*) and Python's (python_*).
"""

import logging
import os
import socket
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    SummaryMetricFamily,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from rundlet.cri.metric_families import FAMILIES, Family, Meter
from rundlet.cri.stream_tls import TlsContext
from rundlet.engine.engine import Engine
from rundlet.engine.tally import DURATION_BUCKETS_S, QUANTILES, SIZE_BUCKETS_BYTES, Snapshot
from rundlet.engine.telemetry import Listen, MetricsSettings, parse_listen
from rundlet.errors import Unavailable

log = logging.getLogger(__name__)

_CLIENT_TIMEOUT_S = 10.0
_PATH = "/metrics"


class FamilyCollector(Collector):
    """Our families as prometheus_client wants them."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter

    def collect(self) -> Iterator[Metric]:
        reading = self._meter.read()
        for family in FAMILIES:
            yield _MAKERS[family.kind](family, list(family.read(reading)))


def _make_plain(family: Family, samples: list[Any]) -> Metric:
    make = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
    metric = make(family.name, family.help, labels=family.labels)
    for labels, value in samples:
        metric.add_metric(labels, value)
    return metric


def _make_summary(family: Family, samples: list[tuple[tuple[str, ...], Snapshot]]) -> Metric:
    metric = SummaryMetricFamily(family.name, family.help, labels=family.labels)
    for labels, one in samples:
        for quantile, value in zip(QUANTILES, one.quantiles, strict=False):
            named = dict(zip(family.labels, labels, strict=True)) | {"quantile": str(quantile)}
            metric.add_sample(family.name, named, value)
        metric.add_metric(labels, one.number, one.sum)
    return metric


def _make_histogram(family: Family, samples: list[tuple[tuple[str, ...], Snapshot]]) -> Metric:
    metric = HistogramMetricFamily(family.name, family.help, labels=family.labels)
    for labels, one in samples:
        bounds = DURATION_BUCKETS_S if family.name.endswith("_seconds") else SIZE_BUCKETS_BYTES
        names = [*(str(float(bound)) for bound in bounds), "+Inf"]
        metric.add_metric(labels, list(zip(names, one.buckets, strict=True)), one.sum)
    return metric


_MAKERS = {
    "counter": _make_plain,
    "gauge": _make_plain,
    "summary": _make_summary,
    "histogram": _make_histogram,
}


def make_registry(meter: Meter) -> CollectorRegistry:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(FamilyCollector(meter))
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    return registry


class MetricsServer:
    """Listens from the moment it is made, serves from `start` to `stop`."""

    def __init__(self, engine: Engine, settings: MetricsSettings) -> None:
        """Raises Unavailable when the address cannot be had, InvalidArgument for unusable TLS files."""
        self._listen = parse_listen(settings.listen, "metrics.listen")
        tls = TlsContext(settings.tls_cert, settings.tls_key) if settings.tls_cert else None
        self._meter = Meter(engine)
        self._server = _Server(self._listen, make_registry(self._meter), tls)
        self._thread = threading.Thread(target=self._server.serve_forever, name="metrics", daemon=True)

    @property
    def address(self) -> str:
        """HOST:PORT, with the port that was taken for 0, or the path of the unix socket."""
        if self._listen.path:
            return self._listen.path
        host, port = self._server.socket.getsockname()[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def start(self) -> None:
        self._meter.start()
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self._meter.stop()
        if self._listen.path:
            os.unlink(self._listen.path)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, listen: Listen, registry: CollectorRegistry, tls: TlsContext | None) -> None:
        self.registry = registry
        self._tls = tls
        self._tls_guard = threading.Lock()
        self.address_family = _choose_family(listen)
        super().__init__((listen.host, listen.port), _Handler, bind_and_activate=False)
        self._bind(listen)

    def _bind(self, listen: Listen) -> None:
        try:
            if listen.path:
                _bind_unix(self.socket, listen.path)
            else:
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                self.socket.bind((listen.host, listen.port))
            self.server_activate()
        except OSError as error:
            self.server_close()
            where = listen.path or f"{listen.host}:{listen.port}"
            raise Unavailable(f"metrics: cannot listen on {where}: {error.strerror}") from error

    def finish_request(self, request: Any, client_address: Any) -> None:
        """In the client's thread: a slow TLS handshake keeps nobody else waiting."""
        request.settimeout(_CLIENT_TIMEOUT_S)
        if self._tls is None:
            super().finish_request(request, client_address)
            return
        with self._tls_guard:
            context = self._tls.get()
        with context.wrap_socket(request, server_side=True) as wrapped:
            super().finish_request(wrapped, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002  # socketserver's signature
        log.info("metrics client %s: %s", client_address, sys.exc_info()[1])


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    timeout = _CLIENT_TIMEOUT_S

    def do_GET(self) -> None:
        if self.path.partition("?")[0] != _PATH:
            self.send_error(404)
            return
        encode, content_type = choose_encoder(self.headers.get("Accept", ""))
        body = encode(self.server.registry)
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def address_string(self) -> str:
        return str(self.client_address)

    def log_message(self, format: str, *args: Any) -> None:
        log.debug(format, *args)


def _choose_family(listen: Listen) -> socket.AddressFamily:
    if listen.path:
        return socket.AF_UNIX
    return socket.AF_INET6 if ":" in listen.host else socket.AF_INET


def _bind_unix(sock: socket.socket, path: str) -> None:
    """For root alone; what a dead daemon has left there is replaced."""
    from rundlet.cri.server import clear_stale_socket

    clear_stale_socket(path)
    previous = os.umask(0o177)
    try:
        sock.bind(path)
    finally:
        os.umask(previous)
