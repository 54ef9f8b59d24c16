"""crio.conf's [crio.metrics] and [crio.tracing] as rundlet's [metrics] and [tracing].  Pure.

Several keys there say together what one says here, and a switch says whether any of it counts.
"""

from typing import Any

Table = dict[str, Any]

KEYS = frozenset(
    {
        *(f"crio.metrics.{name}" for name in ("enable_metrics", "metrics_host", "metrics_port")),
        *(f"crio.metrics.{name}" for name in ("metrics_cert", "metrics_key")),
        *(f"crio.tracing.{name}" for name in ("enable_tracing", "tracing_endpoint")),
        "crio.tracing.tracing_sampling_rate_per_million",
    }
)


def take_telemetry(table: Table) -> Table:
    """The tables of a parsed crio.conf, with CRI-O's defaults for what it leaves out; none for what is off."""
    crio = table.get("crio", {})
    metrics, tracing = crio.get("metrics", {}), crio.get("tracing", {})
    taken: Table = {}
    if metrics.get("enable_metrics"):
        host = metrics.get("metrics_host") or "127.0.0.1"
        listen = f"[{host}]" if ":" in host else host
        taken["metrics"] = {"listen": f"{listen}:{metrics.get('metrics_port') or 9090}"}
        for name in ("cert", "key"):
            if metrics.get(f"metrics_{name}"):
                taken["metrics"][f"tls_{name}"] = metrics[f"metrics_{name}"]
    if tracing.get("enable_tracing"):
        taken["tracing"] = {
            "endpoint": tracing.get("tracing_endpoint") or "127.0.0.1:4317",
            "sampling_rate_per_million": int(tracing.get("tracing_sampling_rate_per_million") or 0),
        }
    return taken
