"""How a container lives and ends: `--restart`, `--health-*`, `--log-*`, `--pull`, `--platform`."""

import json
from collections.abc import Sequence
from typing import Literal, cast

from rundlet.errors import InvalidArgument
from rundlet.local.options import HealthCheck, ImageVolumes, Logging, PullPolicy, RestartName, RestartPolicy
from rundlet.local.words.numbers import parse_size, parse_span, parse_whole, split_pair, suggest

RESTARTS = ("no", "on-failure", "always", "unless-stopped")
PULLS = ("missing", "always", "never", "newer")
ON_FAILURE = ("none", "kill", "restart", "stop")
_LOG_DRIVERS = {
    "k8s-file": "k8s-file",
    "json-file": "k8s-file",
    "": "k8s-file",
    "none": "none",
    "passthrough": "none",
}


def parse_restart(text: str) -> RestartPolicy:
    """no, always, unless-stopped, on-failure[:RETRIES]."""
    name, colon, retries = text.partition(":")
    name = name or "no"
    if name not in RESTARTS:
        raise InvalidArgument(f"unknown policy {name!r}", hint=suggest(name, RESTARTS))
    if colon and name != "on-failure":
        raise InvalidArgument(f"only on-failure has a number of retries, not {name}")
    return RestartPolicy(cast("RestartName", name), parse_whole(retries, "retries") if colon else 0)


def parse_pull(text: str) -> PullPolicy:
    """Docker's words, and those of podman's earlier switch."""
    policy = {"true": "missing", "false": "never", "ifnotpresent": "missing"}.get(text.lower(), text.lower())
    if policy not in PULLS:
        raise InvalidArgument(f"unknown policy {text!r}", hint=suggest(text, PULLS))
    return cast("PullPolicy", policy)


def parse_image_volume(text: str) -> ImageVolumes:
    """What becomes of the volumes that an image asks for; podman calls anonymous ones bind."""
    kind = {"bind": "volume", "anonymous": "volume"}.get(text, text)
    if kind not in ("volume", "tmpfs", "ignore"):
        raise InvalidArgument(f"unknown kind {text!r}", hint="bind, tmpfs or ignore")
    return cast("ImageVolumes", kind)


def parse_health(
    command: str | None,
    *,
    interval: str = "",
    timeout: str = "",
    retries: int | None = None,
    start_period: str = "",
    on_failure: str = "",
    disabled: bool = False,
) -> HealthCheck | None:
    """None leaves the image's own; a check without a command is none at all."""
    given = [interval, timeout, start_period, on_failure, "" if retries is None else "retries"]
    if disabled:
        if command is not None:
            raise InvalidArgument("--no-healthcheck and --health-cmd exclude each other")
        return HealthCheck()
    if command is None:
        if any(given):
            raise InvalidArgument("--health-* options need --health-cmd")
        return None
    argv, shell = _parse_check(command)
    plain = HealthCheck()
    if on_failure and on_failure not in ON_FAILURE:
        raise InvalidArgument(
            f"--health-on-failure {on_failure}: unknown", hint=suggest(on_failure, ON_FAILURE)
        )
    return HealthCheck(
        command=argv,
        shell=shell,
        interval_s=0.0 if interval == "disable" else _span("interval", interval, plain.interval_s),
        timeout_s=_span("timeout", timeout, plain.timeout_s),
        retries=plain.retries if retries is None else retries,
        start_period_s=_span("start-period", start_period, plain.start_period_s),
        on_failure=cast("Literal['none', 'kill', 'restart', 'stop']", on_failure or "none"),
    )


def _span(name: str, text: str, otherwise: float) -> float:
    try:
        return parse_span(text) if text else otherwise
    except InvalidArgument as error:
        raise InvalidArgument(f"--health-{name}: {error.message}", hint=error.hint) from error


def _parse_check(text: str) -> tuple[tuple[str, ...], bool]:
    """A line for the shell, or a JSON array as an image has it: ["CMD", …], ["CMD-SHELL", LINE], ["NONE"]."""
    if text.lower() in ("none", ""):
        return (), False
    words = parse_words(text)
    if words is None:
        return (text,), True
    kind, *rest = words or ["NONE"]
    if kind == "CMD-SHELL":
        return (" ".join(rest),), True
    return ((), False) if kind == "NONE" else (tuple(rest if kind == "CMD" else words), False)


def parse_words(text: str) -> list[str] | None:
    """The texts of a JSON array; None when it is none."""
    if not text.lstrip().startswith("["):
        return None
    try:
        words = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return words if isinstance(words, list) and all(isinstance(word, str) for word in words) else None


def parse_entrypoint(text: str) -> tuple[str, ...]:
    """A JSON array, or one program; "" is none at all."""
    words = parse_words(text)
    return tuple(words) if words is not None else (text,) if text else ()


def parse_logging(driver: str, options: Sequence[str]) -> Logging:
    if driver not in _LOG_DRIVERS:
        raise InvalidArgument(f"--log-driver {driver}: not supported", hint="k8s-file, json-file or none")
    kind = cast("Literal['k8s-file', 'none']", _LOG_DRIVERS[driver])
    size_bytes = 0
    for option in options:
        name, value = split_pair(option)
        if name != "max-size":
            raise InvalidArgument(f"--log-opt {option}: not supported", hint="max-size=SIZE is")
        size_bytes = 0 if value == "-1" else parse_size(value)
    return Logging(kind, size_bytes)


def join_platform(platform: str, system: str, architecture: str, variant: str) -> str:
    """OS/ARCH[/VARIANT]; "" is this machine's."""
    if platform and (system or architecture or variant):
        raise InvalidArgument("--platform excludes --os, --arch and --variant")
    if platform or not (system or architecture or variant):
        return platform
    from rundlet.spec.descriptor import host_platform

    here = host_platform()
    parts = [system or here.os, architecture or here.architecture, variant]
    return "/".join(part for part in parts if part)
