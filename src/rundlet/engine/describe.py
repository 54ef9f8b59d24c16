"""Records as the engine's answers.  Pure."""

from rundlet.engine.handlers import BUILTIN
from rundlet.engine.records import ContainerRecord, PodRecord
from rundlet.engine.status import ContainerStatus, PodStatus


def describe_pod(record: PodRecord) -> PodStatus:
    return PodStatus(
        id=record.id,
        options=record.options,
        state="ready" if record.state == "ready" else "notready",
        created_at_ns=record.created_at_ns,
        ips=record.facts.ips,
        netns_path=record.facts.namespaces.get("net", ""),
        runtime_handler=record.options.runtime_handler,
    )


def describe_container(record: ContainerRecord) -> ContainerStatus:
    facts = record.facts
    state = "unknown" if record.state == "creating" else record.state  # nobody can look up the former
    return ContainerStatus(
        id=record.id,
        pod_id=record.pod_id,
        options=record.options,
        state=state,
        created_at_ns=record.created_at_ns,
        started_at_ns=record.started_at_ns,
        finished_at_ns=record.finished_at_ns,
        exit_code=record.exit_code,
        reason=record.reason,
        message=record.message,
        image_id=facts.image_id,
        image_ref=facts.image_ref,
        log_path=facts.log_path,
        pid=facts.pid if record.state in ("created", "running") else 0,
        user=facts.user,
        stop_signal=facts.stop_signal,
        runtime_handler=facts.runtime_handler or BUILTIN,
        volumes=facts.volumes,
        lives=facts.lives,
    )
