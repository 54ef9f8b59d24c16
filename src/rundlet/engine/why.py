"""Why an object is as it is: the step it is stuck at, since when, what that waits for, or how it failed."""

from collections.abc import Iterable, Iterator, Sequence

from msgspec import Struct

from rundlet.engine.conditions import judge_container, judge_pod
from rundlet.engine.evidence import Evidence
from rundlet.engine.records import ContainerRecord, PodRecord
from rundlet.engine.waits import look_into
from rundlet.errors import NotFound
from rundlet.trace.view import (
    FailureView,
    StepView,
    WaitView,
    failed_leaf,
    is_about,
    is_called,
    running_leaves,
)

_FAILURES_MAX = 3
_LONG_NS = 1_000_000_000


class Stuck(Struct, frozen=True, omit_defaults=True):
    """A step under way.

    `steps` lead from the operation down to it; `since_ns` is when it began, or began to wait;
    `waits` are what it and the steps around it wait for, the outermost first; `found` are lines
    on those, as the kernel and the peers tell it now.
    """

    operation: str
    subject: str
    started_at_ns: int
    steps: tuple[str, ...]
    since_ns: int
    waits: tuple[WaitView, ...] = ()
    progress: tuple[int, int] | None = None
    found: tuple[str, ...] = ()


class Failed(Struct, frozen=True, omit_defaults=True):
    """An operation that failed, and the step where it began."""

    operation: str
    subject: str
    ended_at_ns: int
    steps: tuple[str, ...]
    code: str
    message: str
    hint: str = ""
    wait: WaitView | None = None


class Account(Struct, frozen=True, omit_defaults=True):
    """Of one object; `kind` is pod, container, image or operation.  `state` is that of its record, "" when there is none (any more).

    `notes` are lines on its condition; `failed` has the newest failures first.
    """

    kind: str
    id: str
    name: str
    state: str
    running: tuple[Stuck, ...] = ()
    failed: tuple[Failed, ...] = ()
    notes: tuple[str, ...] = ()


def explain(evidence: Evidence, text: str) -> list[Account]:
    """Of every object that `text` means: an id or its prefix, a name, or of a pod namespace/name.

    Raises NotFound when nothing is, or was lately, called so.
    """
    accounts = [explain_pod(evidence, pod) for pod in _find_pods(evidence, text)]
    accounts += [explain_container(evidence, one) for one in _find_containers(evidence, text)]
    known = frozenset(account.id for account in accounts)
    accounts += _explain_image(evidence, text)
    accounts += _explain_ghosts(evidence, text, known)
    if not accounts:
        raise NotFound(
            f"nothing here is called {text!r}",
            hint="give an id, the beginning of one, or a name; without any, what is under way is told",
        )
    return accounts


def explain_all(evidence: Evidence) -> list[Account]:
    """Everything under way, the oldest first, and the last failure; short looks are passed over."""
    worth = (
        view for view in evidence.running if view.steps or evidence.now_ns - view.started_at_ns > _LONG_NS
    )
    views = sorted(worth, key=lambda view: view.started_at_ns)
    accounts = [
        Account("operation", "", view.name, "running", running=tuple(_describe_running(evidence, view)))
        for view in views
    ]
    last = max(evidence.failed, key=lambda view: view.ended_at_ns, default=None)
    if last:
        accounts.append(Account("operation", "", last.name, "failed", failed=(_describe_failed(last),)))
    return accounts


def explain_pod(evidence: Evidence, pod: PodRecord) -> Account:
    """With what goes on in its containers."""
    containers = [one for one in _all_containers(evidence) if one.pod_id == pod.id]
    ids = frozenset({pod.id, *(one.id for one in containers)})
    notes = judge_pod(pod)
    for one in containers:
        notes += [f"container {one.options.name}: {note}" for note in judge_container(evidence, one)]
    name = f"{pod.options.namespace}/{pod.options.name}"
    return _explain_object(evidence, ids, Account("pod", pod.id, name, pod.state, notes=tuple(notes)))


def explain_container(evidence: Evidence, one: ContainerRecord) -> Account:
    notes = tuple(judge_container(evidence, one))
    known = Account("container", one.id, one.options.name, one.state, notes=notes)
    return _explain_object(evidence, frozenset({one.id}), known)


def _explain_object(evidence: Evidence, ids: frozenset[str], known: Account) -> Account:
    running = [view for view in evidence.running if is_about(view, ids)]
    failed = [view for view in evidence.failed if is_about(view, ids)]
    return _complete(evidence, known, running, failed)


def _complete(
    evidence: Evidence, known: Account, running: Iterable[StepView], failed: Sequence[StepView]
) -> Account:
    return Account(
        known.kind,
        known.id,
        known.name,
        known.state,
        running=tuple(stuck for view in running for stuck in _describe_running(evidence, view)),
        failed=tuple(_describe_failed(view) for view in reversed(failed[-_FAILURES_MAX:])),
        notes=known.notes,
    )


def _explain_image(evidence: Evidence, text: str) -> list[Account]:
    image = evidence.find_image(text)
    if image is None:
        return []
    ids = frozenset({image.id})
    name = next(iter((*image.names, *image.digests)), "")
    users = evidence.containers.list_users(image.id, image.digests)
    notes = (f"used by container {', '.join(user[:12] for user in users)}",) if users else ()
    return [_explain_object(evidence, ids, Account("image", image.id, name, "here", notes=notes))]


def _explain_ghosts(evidence: Evidence, text: str, known: frozenset[str]) -> list[Account]:
    """Objects that have no record: not yet, or not any more."""
    running = [view for view in evidence.running if is_called(view, text)]
    failed = [view for view in evidence.failed if is_called(view, text)]
    subjects = dict.fromkeys(_subject(view, text) for view in (*failed, *running))
    accounts = []
    for kind, object_id, label in subjects:
        if object_id in known or kind not in ("pod", "container", "image"):
            continue
        of_it = [
            [view for view in views if _subject(view, text)[:2] == (kind, object_id)]
            for views in (running, failed)
        ]
        accounts.append(_complete(evidence, Account(kind, object_id, label, ""), *of_it))
    return accounts


def _subject(view: StepView, text: str) -> tuple[str, str, str]:
    """(kind, id, name) of the object that is called so."""
    inner = next((step for step in view.steps if is_called(step, text)), None)
    return (view.kind, view.object_id, view.label) if inner is None else _subject(inner, text)


def _describe_running(evidence: Evidence, view: StepView) -> Iterator[Stuck]:
    for path in running_leaves(view):
        leaf = path[-1]
        yield Stuck(
            operation=path[0].name,
            subject=next((step.subject for step in reversed(path) if step.kind), ""),
            started_at_ns=path[0].started_at_ns,
            steps=tuple(step.name for step in path[1:]),
            since_ns=leaf.wait.since_ns if leaf.wait else leaf.started_at_ns,
            waits=tuple(step.wait for step in path if step.wait),
            progress=leaf.progress,
            found=tuple(look_into(evidence, path)),
        )


def _describe_failed(view: StepView) -> Failed:
    path = failed_leaf(view)
    leaf = path[-1]
    failure = leaf.failure or FailureView("unknown", "it failed")
    return Failed(
        operation=path[0].name,
        subject=next((step.subject for step in path if step.kind), ""),
        ended_at_ns=leaf.ended_at_ns,
        steps=tuple(step.name for step in path[1:]),
        code=failure.code,
        message=failure.message,
        hint=failure.hint,
        wait=leaf.wait,
    )


def _find_pods(evidence: Evidence, text: str) -> list[PodRecord]:
    pods = (*evidence.pods.list_unfinished(), *evidence.pods.list())
    return [
        pod
        for pod in pods
        if pod.id.startswith(text)
        or text in (pod.options.name, f"{pod.options.namespace}/{pod.options.name}")
    ]


def _find_containers(evidence: Evidence, text: str) -> list[ContainerRecord]:
    return [one for one in _all_containers(evidence) if one.id.startswith(text) or text == one.options.name]


def _all_containers(evidence: Evidence) -> list[ContainerRecord]:
    return [*evidence.containers.list_unfinished(), *evidence.containers.list()]
