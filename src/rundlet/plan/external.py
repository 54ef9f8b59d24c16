"""A container that another program makes, as the keeper takes it: a value in JSON.

    oci      any runtime with runc's command line; it makes the cgroup and the namespaces itself
    bwrap    bubblewrap; the keeper makes the cgroup and joins the namespaces, `plan.bwrap` the command

This module imports nothing but the standard library: the keeper reads it too.
"""

from typing import Any, NamedTuple

from rundlet.plan.container import CgroupPlan


class OciPlan(NamedTuple):
    """`program` is absolute; `args` are its options before the verb (--root …).

    `cgroup` is where the runtime puts the container, empty when it does as it likes.  A `sandboxed`
    runtime (gVisor) keeps the processes out of the host's sight: what it names by --pid-file are
    stand-ins, and a process inside is signalled through the runtime alone.  A verb that takes
    longer than `timeout_s` is killed.  With `images`, those of a checkpoint, the container is restored
    from them and runs at once.
    """

    container_id: str
    program: str
    args: tuple[str, ...]
    bundle: str
    cgroup: str = ""
    terminal: bool = False
    sandboxed: bool = False
    timeout_s: float = 60.0
    images: str = ""

    def describe(self) -> str:
        verb = ("restore", "--image-path", self.images) if self.images else ("create",)
        return " ".join((self.program, *self.args, *verb, "--bundle", self.bundle, self.container_id))


class BwrapPlan(NamedTuple):
    """One bubblewrap command and what the keeper does around it, in this order.

    cgroup with its settings, OOM score, supplementary `groups`, the namespaces of `join` (kind, path),
    then `program` with `options` and `command`; `pid_namespace` is the path of one for the
    container, `seccomp` a BPF program in hexadecimal; either may be empty.
    """

    container_id: str
    program: str
    options: tuple[str, ...]
    command: tuple[str, ...]
    join: tuple[tuple[str, str], ...] = ()
    pid_namespace: str = ""
    seccomp: str = ""
    cgroup: CgroupPlan = CgroupPlan("")
    oom_score_adj: int | None = None
    groups: tuple[int, ...] = ()


ExternalPlan = OciPlan | BwrapPlan


def encode_external(plan: ExternalPlan) -> dict[str, Any]:
    """The JSON form that the keeper takes."""
    return {"kind": "oci" if isinstance(plan, OciPlan) else "bwrap", **plan._asdict()}


def decode_external(raw: dict[str, Any]) -> ExternalPlan:
    """Inverse of `encode_external`."""
    fields = {key: value for key, value in raw.items() if key != "kind"}
    if raw["kind"] == "oci":
        return OciPlan(**fields | {"args": tuple(fields["args"])})
    path, writes = fields["cgroup"]
    fields["cgroup"] = CgroupPlan(
        path, tuple((controller, file, value) for controller, file, value in writes)
    )
    fields["join"] = tuple((kind, path) for kind, path in fields["join"])
    for name in ("options", "command", "groups"):
        fields[name] = tuple(fields[name])
    return BwrapPlan(**fields)
