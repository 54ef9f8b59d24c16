"""Which policy.json counts: a namespace's own, the one that was named, or the user's or system's.

<directory>/<namespace>.json      when a namespace is known and has one
the named file                    must be there
~/.config/containers/policy.json, /etc/containers/policy.json
none                              anything is accepted, and that is said aloud
"""

import re
from typing import NamedTuple

from rundlet.errors import InvalidArgument, NotFound
from rundlet.registry.conffiles import read_text
from rundlet.spec.policy import ACCEPT_ANYTHING, Policy, parse_policy

_NAMESPACE = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


class PolicyFiles(NamedTuple):
    """`path` was named by somebody, `usual` are looked for, `directory` holds those of namespaces."""

    path: str = ""
    usual: tuple[str, ...] = ()
    directory: str = ""


class LoadedPolicy(NamedTuple):
    """`path` is "" when there is no file, and anything is accepted."""

    policy: Policy
    path: str = ""


def load_policy(files: PolicyFiles, namespace: str = "") -> LoadedPolicy:
    """The policy for images of `namespace` ("" for none) as the files are now.

    Raises NotFound (the named file), InvalidArgument "FILE: default[0].keyPath: …",
    FailedPrecondition (unreadable).
    """
    own = _namespace_path(files.directory, namespace)
    for path in filter(None, (own, files.path, *(() if files.path else files.usual))):
        text = read_text(path)
        if text is not None:
            return LoadedPolicy(parse_policy(text.encode(), path), path)
        if path == files.path:
            raise NotFound(f"no signature policy at {path}")
    return LoadedPolicy(ACCEPT_ANYTHING)


def _namespace_path(directory: str, namespace: str) -> str:
    if not directory or not namespace:
        return ""
    if not _NAMESPACE.fullmatch(namespace):  # it becomes part of a path
        raise InvalidArgument(f"namespace {namespace!r}: malformed")
    return f"{directory}/{namespace}.json"
