"""What a further process of a container has of its own: variables, a directory, a user, more rights."""

from collections.abc import Callable
from typing import NamedTuple

from rundlet.engine import capabilities
from rundlet.engine.options import Capabilities, ExecOptions, Security
from rundlet.engine.parts import Parts
from rundlet.engine.records import ContainerRecord
from rundlet.engine.rootfs import read_file
from rundlet.engine.users import resolve_identity
from rundlet.errors import InvalidArgument, NotFound
from rundlet.spec.runtime import Process, User

_PLAIN = ExecOptions()


class Change(NamedTuple):
    """From a container's first process to a further one.

    `key` is equal for changes that give equal processes in one container; None where a look into it decides.
    """

    make: Callable[[Process], Process]
    key: ExecOptions | None


def plan_change(parts: Parts, record: ContainerRecord, options: ExecOptions) -> Change | None:
    """None when the further process does not differ from the container's first.

    Raises InvalidArgument for a user that the container does not have, or a directory that is not absolute.
    """
    if options == _PLAIN:
        return None
    if options.working_dir and not options.working_dir.startswith("/"):
        raise InvalidArgument(f"working_dir: must be an absolute path, got {options.working_dir!r}")
    user = _find_user(parts, record, options.user) if options.user else _take_ids(options)
    return Change(lambda process: _change(process, options, user), None if options.user else options)


def _take_ids(options: ExecOptions) -> User | None:
    if options.ids is None:
        return None
    uid, gid = options.ids
    return User(uid=uid, gid=gid, additional_gids=[gid])


def _find_user(parts: Parts, record: ContainerRecord, text: str) -> User:
    """Of the container's files as they are now, what it has changed included."""
    snapshot = parts.store.snapshots.find(record.id)
    if snapshot is None:
        raise NotFound(f"container {record.id} has no files any more")
    layers = (snapshot.upper, *snapshot.lower)
    passwd, group = (read_file(layers, path) for path in ("/etc/passwd", "/etc/group"))
    identity = resolve_identity(Security(user_name=text), "", passwd, group)
    return User(uid=identity.uid, gid=identity.gid, additional_gids=list(identity.groups))


def _change(process: Process, options: ExecOptions, user: User | None) -> Process:
    env = dict(item.partition("=")[::2] for item in process.env or [])
    env.update(options.env)
    changed = process.replace(
        env=[f"{name}={value}" for name, value in env.items()],
        cwd=options.working_dir or process.cwd,
        user=user or process.user,
    )
    if options.privileged:
        changed = changed.replace(capabilities=capabilities.choose(Capabilities(), privileged=True))
    return changed
