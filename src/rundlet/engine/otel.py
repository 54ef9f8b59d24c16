"""Spans of operations and their steps for an OpenTelemetry collector (OTLP over gRPC).

Needs the extra rundlet[otel]; imported only when an endpoint is configured.  An operation becomes
spans after it has ended, in a thread of its own: the work itself pays one queue entry.  Who called
with a W3C traceparent, as a kubelet does, decides whether its call is sampled; the rest is by rate.
"""

import logging
import queue
import socket
import threading

import rundlet
from rundlet.engine.telemetry import PER_MILLION, TracingSettings
from rundlet.errors import FailedPrecondition
from rundlet.trace.span import Span
from rundlet.trace.tracer import Operation, Tracer
from rundlet.trace.view import clock_offset_ns

try:
    from opentelemetry.context import Context
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
    from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
except ImportError as error:
    raise FailedPrecondition(
        f"tracing.endpoint: OpenTelemetry is not installed: {error}",
        hint="install rundlet with its extra: rundlet[otel]",
    ) from error

log = logging.getLogger(__name__)

_QUEUE_MAX = 2048
_SERVICE = "rundletd"


class SpanExport:
    """Exports what a tracer tells of, until it is closed."""

    def __init__(self, tracer: Tracer, settings: TracingSettings) -> None:
        self._rate = settings.sampling_rate_per_million
        self._provider = _make_provider(settings)
        self._spans = self._provider.get_tracer("rundlet", rundlet.__version__)
        self._propagator = TraceContextTextMapPropagator()
        self._ended: queue.Queue[Operation | None] = queue.Queue(_QUEUE_MAX)
        self._thread = threading.Thread(target=self._run, name="span-export", daemon=True)
        self._thread.start()
        tracer.wants_origins = True
        self._leave = tracer.observe(self._put)

    def close(self) -> None:
        """Send what has ended so far; a collector that does not answer is waited for for some seconds."""
        self._leave()
        self._ended.put(None)
        self._thread.join()
        self._provider.shutdown()

    def _put(self, operation: Operation) -> None:
        """A collector's delay must not become the node's: what is too much is lost."""
        if not operation.origin and not self._rate:
            return
        try:
            self._ended.put_nowait(operation)
        except queue.Full:
            log.warning("spans of %s are lost: the export does not keep up", operation.name)

    def _run(self) -> None:
        while (operation := self._ended.get()) is not None:
            context = Context()
            if operation.origin:
                context = self._propagator.extract({"traceparent": operation.origin}, context)
            self._export(operation, context, clock_offset_ns(), SpanKind.SERVER)

    def _export(self, span: Span, context: Context, offset_ns: int, kind: SpanKind) -> None:
        made = self._spans.start_span(
            f"{span.name} {span.kind}".rstrip(),
            context,
            kind=kind,
            attributes=_describe(span),
            start_time=span.started_ns + offset_ns,
        )
        if made.is_recording():  # not sampled: nor are its steps
            inner = set_span_in_context(made, context)
            for step in tuple(span.steps):
                self._export(step, inner, offset_ns, SpanKind.INTERNAL)
        if span.failure is not None:
            made.set_attribute("error.type", span.failure.code)
            made.set_status(Status(StatusCode.ERROR, span.failure.message))
        made.end(span.ended_ns + offset_ns)


def _make_provider(settings: TracingSettings) -> TracerProvider:
    resource = Resource.create(
        {
            "service.name": _SERVICE,
            "service.version": rundlet.__version__,
            "host.name": socket.gethostname(),
        }
    )
    sampler = ParentBased(TraceIdRatioBased(settings.sampling_rate_per_million / PER_MILLION))
    provider = TracerProvider(resource=resource, sampler=sampler, shutdown_on_exit=False)
    exporter = OTLPSpanExporter(endpoint=f"http://{settings.endpoint}", insecure=True)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider


def _describe(span: Span) -> dict[str, str | int]:
    """OpenTelemetry's conventions where they have a word, ours below `rundlet.`."""
    found: dict[str, str | int] = {}
    if isinstance(span, Operation) and not span.kind:
        found |= {"rpc.system": "grpc", "rpc.method": span.name}
    if span.object_id:
        found["container.id" if span.kind == "container" else "rundlet.object.id"] = span.object_id
    if span.label:
        found["rundlet.object.name"] = span.label
    if span.wait is not None:
        found["rundlet.wait"] = f"{span.wait.kind} {span.wait.name}"
    return found
