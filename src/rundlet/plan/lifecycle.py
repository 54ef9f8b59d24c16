"""hooks of config.json and the state document that they are given."""

from collections.abc import Sequence
from typing import Any

from rundlet.plan.checks import check_absolute, check_range
from rundlet.plan.container import Hook, Hooks
from rundlet.spec.runtime import Hook as SpecHook
from rundlet.spec.runtime import RuntimeConfig

_DAY_S = 86_400
_KINDS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")


def plan_state(container_id: str, config: RuntimeConfig, bundle: str) -> dict[str, Any]:
    """The state document without status and pid (runtime.md#state)."""
    state: dict[str, Any] = {"ociVersion": config.oci_version, "id": container_id, "bundle": bundle}
    if config.annotations:
        state["annotations"] = config.annotations
    return state


def plan_hooks(config: RuntimeConfig, state: dict[str, Any]) -> Hooks | None:
    """None where the configuration has no hook at all."""
    given = config.hooks
    if given is None:
        return None
    lists = (given.prestart, given.create_runtime, given.create_container,
             given.start_container, given.poststart, given.poststop)  # fmt: skip
    if not any(lists):
        return None
    return Hooks(state, *(_plan_hooks(hooks or [], kind) for hooks, kind in zip(lists, _KINDS, strict=True)))


def _plan_hooks(hooks: Sequence[SpecHook], kind: str) -> tuple[Hook, ...]:
    return tuple(_plan_hook(hook, f"hooks.{kind}[{index}]") for index, hook in enumerate(hooks))


def _plan_hook(hook: SpecHook, where: str) -> Hook:
    check_absolute(hook.path, f"{where}.path")
    if hook.timeout is not None:
        check_range(hook.timeout, 1, _DAY_S, f"{where}.timeout")
    return Hook(hook.path, tuple(hook.args or (hook.path,)), tuple(hook.env or ()), hook.timeout or 0)
