"""Which pods and containers a command is about: filter options and the choice itself."""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, TypeVar

import click

from rundlet.cli.session import Session
from rundlet.cri.proto import api_pb2 as api
from rundlet.errors import InvalidArgument

Command = TypeVar("Command", bound=Callable[..., Any])
Item = TypeVar("Item", api.PodSandbox, api.Container)

POD_NAME_LABEL = "io.kubernetes.pod.name"
POD_NAMESPACE_LABEL = "io.kubernetes.pod.namespace"
POD_STATES = {"ready": api.SANDBOX_READY, "notready": api.SANDBOX_NOTREADY}
CONTAINER_STATES = {
    "created": api.CONTAINER_CREATED,
    "running": api.CONTAINER_RUNNING,
    "exited": api.CONTAINER_EXITED,
    "unknown": api.CONTAINER_UNKNOWN,
}


class Choice(NamedTuple):
    """The filter options' values; empty means "any"."""

    id: str = ""
    pod: str = ""
    name: str = ""
    namespace: str = ""
    state: str | None = None
    image: str = ""
    labels: tuple[str, ...] = ()
    latest: bool = False
    last: int = 0
    all: bool = False

    @property
    def given(self) -> bool:
        return self._replace(all=False) != Choice()


def _apply(options: Iterable[Callable[[Command], Command]], command: Command) -> Command:
    for option in options:
        command = option(command)
    return command


def _common_options(states: Iterable[str], *, short: bool) -> list[Callable[[Command], Command]]:
    """--name --namespace --state --label --last --latest; the short -s belongs to others at times."""
    state = ("-s", "--state") if short else ("--state",)
    return [
        click.option("-l", "--latest", is_flag=True, help="Only the most recently created one."),
        click.option(
            "-n", "--last", type=click.IntRange(min=0), default=0, help="Only the last N created (0: all)."
        ),
        click.option(
            "--label", "labels", multiple=True, metavar="KEY=VALUE", help="With this label; may be repeated."
        ),
        click.option(
            *state, type=click.Choice(list(states), case_sensitive=False), default=None, help="In this state."
        ),
        click.option("--namespace", default="", metavar="REGEX", help="Pod namespace matches."),
        click.option("--name", default="", metavar="REGEX", help="Name matches."),
    ]


def pod_filters(command: Command) -> Command:
    return _apply(_common_options(POD_STATES, short=True), command)


def container_filters(*, short: bool = True) -> Callable[[Command], Command]:
    more: list[Callable[[Any], Any]] = [
        click.option("-p", "--pod", default="", metavar="POD-ID", help="In this pod."),
        click.option("--image", default="", help="Made from this image."),
    ]
    return lambda command: _apply(more + _common_options(CONTAINER_STATES, short=short), command)


def parse_labels(texts: Sequence[str]) -> dict[str, str]:
    """InvalidArgument unless every text is key=value."""
    for text in texts:
        if "=" not in text:
            raise InvalidArgument(f"--label: expected KEY=VALUE, got {text!r}")
    return dict(text.split("=", 1) for text in texts)


def compile_pattern(text: str, option: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as error:
        raise InvalidArgument(f"{option}: not a regular expression: {error}") from error


def _newest(items: Iterable[Item], choice: Choice) -> list[Item]:
    """Newest first, cut to --latest or --last."""
    ordered = sorted(items, key=lambda item: item.created_at, reverse=True)
    limit = choice.last or (1 if choice.latest else len(ordered))
    return ordered[:limit]


def find_pods(session: Session, choice: Choice) -> list[api.PodSandbox]:
    """The runtime filters by id, state and label, we by name and namespace."""
    name = compile_pattern(choice.name, "--name")
    namespace = compile_pattern(choice.namespace, "--namespace")
    state = api.PodSandboxStateValue(state=POD_STATES[choice.state.lower()]) if choice.state else None
    filter = api.PodSandboxFilter(id=choice.id, state=state, label_selector=parse_labels(choice.labels))
    answer = session.call(session.runtime.ListPodSandbox, api.ListPodSandboxRequest(filter=filter))
    matching = (
        pod
        for pod in answer.items
        if name.search(pod.metadata.name) and namespace.search(pod.metadata.namespace)
    )
    return _newest(matching, choice)


def _state_value(choice: Choice) -> api.ContainerStateValue | None:
    """Running ones unless a state, --all, --last or --latest is asked for."""
    if (choice.all and not choice.state) or choice.latest or choice.last:
        return None
    return api.ContainerStateValue(state=CONTAINER_STATES[(choice.state or "running").lower()])


def find_containers(session: Session, choice: Choice) -> list[api.Container]:
    """As find_pods; the namespace is the pod's, from the label that the kubelet sets."""
    name = compile_pattern(choice.name, "--name")
    namespace = compile_pattern(choice.namespace, "--namespace")
    filter = api.ContainerFilter(
        id=choice.id,
        pod_sandbox_id=choice.pod,
        state=_state_value(choice),
        label_selector=parse_labels(choice.labels),
    )
    answer = session.call(session.runtime.ListContainers, api.ListContainersRequest(filter=filter))
    image_id = find_image_id(session, choice.image) if choice.image else ""
    matching = (
        container
        for container in answer.containers
        if name.search(container.metadata.name)
        and namespace.search(container.labels.get(POD_NAMESPACE_LABEL, "unknown"))
        and (not choice.image or image_id in (container.image_id, container.image_ref))
    )
    return _newest(matching, choice)


def find_image_id(session: Session, reference: str) -> str:
    """The image's id; a text that equals no id when the runtime does not have it."""
    request = api.ImageStatusRequest(image=api.ImageSpec(image=reference))
    return session.call(session.images.ImageStatus, request).image.id or "absent"
