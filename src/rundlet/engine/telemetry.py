"""Settings of what a daemon tells of itself: the metrics endpoint, and spans for a collector."""

from typing import NamedTuple

from msgspec import Struct

from rundlet.errors import InvalidArgument

PER_MILLION = 1_000_000


class MetricsSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[metrics]`; see METRICS_NOTES for what each field means."""

    listen: str = ""
    tls_cert: str = ""
    tls_key: str = ""


class TracingSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[tracing]`; see TRACING_NOTES for what each field means."""

    endpoint: str = ""
    sampling_rate_per_million: int = 0
    container_steps: bool = False


METRICS_NOTES = {
    "listen": "Where Prometheus scrapes /metrics: HOST:PORT or unix:///PATH; empty: nowhere.",
    "tls_cert": "Certificate (PEM) to serve them by TLS; empty: plain HTTP.",
    "tls_key": "The certificate's key (PEM).",
}
TRACING_NOTES = {
    "endpoint": "HOST:PORT of an OpenTelemetry collector (OTLP, gRPC) for spans; empty: none. Needs rundlet[otel].",
    "container_steps": "Whether a container's first process tells the times of its own steps (mounts and so on).",
    "sampling_rate_per_million": "Of a million operations without a caller's trace, so many get spans.",
}


class Listen(NamedTuple):
    """A TCP address, or the path of a unix socket."""

    host: str
    port: int
    path: str = ""


def parse_listen(text: str, where: str) -> Listen:
    """ "127.0.0.1:9537", "[::1]:9537" or "unix:///run/rundlet/metrics.sock"; InvalidArgument else."""
    if text.startswith("unix://"):
        path = text.removeprefix("unix://")
        if not path.startswith("/"):
            raise InvalidArgument(f"{where}: the path of a unix socket must be absolute, got {text!r}")
        return Listen("", 0, path)
    host, _, port = text.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    if not bare or not port.isascii() or not port.isdecimal() or int(port) > 0xFFFF:
        raise InvalidArgument(f"{where}: expected HOST:PORT or unix:///PATH, got {text!r}")
    return Listen(bare, int(port))


def check_telemetry(metrics: MetricsSettings, tracing: TracingSettings) -> None:
    """Raises InvalidArgument with the key that is wrong."""
    if metrics.listen:
        parse_listen(metrics.listen, "metrics.listen")
    if bool(metrics.tls_cert) != bool(metrics.tls_key):
        raise InvalidArgument("metrics.tls_key: certificate and key go together")
    if tracing.endpoint and not parse_listen(tracing.endpoint, "tracing.endpoint").host:
        raise InvalidArgument("tracing.endpoint: expected HOST:PORT")
    if not 0 <= tracing.sampling_rate_per_million <= PER_MILLION:
        raise InvalidArgument(
            f"tracing.sampling_rate_per_million: must be 0 to {PER_MILLION}, got {tracing.sampling_rate_per_million}"
        )
