"""What a daemon tells of itself, as far as its settings ask for it; nothing is imported for what is off."""

import logging
from contextlib import ExitStack

from rundlet.engine.engine import Engine
from rundlet.engine.settings import Settings

log = logging.getLogger(__name__)


def start_telemetry(engine: Engine, settings: Settings, undo: ExitStack) -> None:
    """The metrics endpoint and the export of spans, ended by `undo`.

    Raises Unavailable when an address cannot be had, FailedPrecondition when a package is missing.
    """
    if settings.metrics.listen:
        from rundlet.cri.metrics_server import MetricsServer

        metrics = MetricsServer(engine, settings.metrics)
        metrics.start()
        undo.callback(metrics.stop)
        log.info("metrics are served on %s", metrics.address)
    if settings.tracing.endpoint:
        from rundlet.engine.otel import SpanExport

        undo.callback(SpanExport(engine.tracer, settings.tracing).close)
        log.info("spans go to %s", settings.tracing.endpoint)
