"""An account of `why` in lines for people.  Pure."""

import time
from collections.abc import Iterator

from rundlet.engine.why import Account, Failed, Stuck
from rundlet.trace.view import WaitView

_ARROW = " › "
_MIB = 1 << 20


def format_account(account: Account, now_ns: int) -> list[str]:
    """The object, then what goes on, what failed, and what else is to be said, indented."""
    lines = [_format_head(account)]
    for stuck in account.running:
        lines += _indent(_format_stuck(stuck, now_ns))
    for failed in account.failed:
        lines += _indent(_format_failed(failed, now_ns))
    lines += _indent(account.notes)
    if len(lines) == 1:
        lines.append("  nothing is under way with it, and nothing has failed since this runtime started")
    return lines


def _format_head(account: Account) -> str:
    if account.kind == "operation":
        return account.name
    short = account.id.removeprefix("sha256:")[:12]
    state = account.state or "has no record"
    return f"{account.kind} {f'{account.name} ({short})' if account.name and short else account.name or short}: {state}"


def _format_stuck(stuck: Stuck, now_ns: int) -> Iterator[str]:
    verb = f"{stuck.operation} {stuck.subject}".strip()
    yield f"{verb}: under way for {format_span(now_ns - stuck.started_at_ns)}"
    if stuck.steps:
        yield f"  at {_ARROW.join(stuck.steps)}, for {format_span(now_ns - stuck.since_ns)}"
    for wait in stuck.waits:
        yield f"  waits for {format_wait(wait, now_ns)}"
    if stuck.progress:
        done, total = stuck.progress
        yield f"  has {done / _MIB:.1f} of {total / _MIB:.1f} MiB"
    for line in stuck.found:
        yield f"  {line}"


def _format_failed(failed: Failed, now_ns: int) -> Iterator[str]:
    verb = f"{failed.operation} {failed.subject}".strip()
    yield f"{verb}: failed {format_span(now_ns - failed.ended_at_ns)} ago ({failed.code}): {failed.message}"
    if failed.steps:
        yield f"  at {_ARROW.join(failed.steps)}"
    if failed.wait:
        yield f"  it waited for {format_wait(failed.wait, failed.ended_at_ns)}"
    if failed.hint:
        yield f"  hint: {failed.hint}"


def format_wait(wait: WaitView, now_ns: int) -> str:
    """`process 4711 (/opt/cni/bin/bridge), 19.0 s more at most`."""
    name = (
        f"process {wait.pid} ({wait.name})"
        if wait.kind == "process" and wait.pid
        else f"{wait.kind} {wait.name}"
    )
    if wait.kind == "registry":
        name += f", which has sent nothing for {format_span(now_ns - wait.since_ns)}"
    if wait.until_ns > now_ns:
        clock = time.strftime("%H:%M:%S", time.localtime(wait.until_ns / 1e9))
        return f"{name}, until {clock} at most ({format_span(wait.until_ns - now_ns)} more)"
    return name


def format_span(span_ns: int) -> str:
    """0.8 ms, 41.2 s, 3 min 20 s, 2 h 5 min."""
    seconds = max(0, span_ns) / 1e9
    if seconds < 1:
        return f"{seconds * 1000:.1f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def _indent(lines: Iterator[str] | tuple[str, ...]) -> list[str]:
    return [f"  {line}" for line in lines]
