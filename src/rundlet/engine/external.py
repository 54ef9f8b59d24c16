"""Containers of a pod whose runtime is not the built-in one.

The engine mounts the rootfs where the program looks for it, on the host's side, and takes it
away again with the container:

    <run_root>/containers/<id>/rootfs    overlay of the snapshot
    <run_root>/runtimes/<handler>/       what the runtime itself keeps
"""

import errno
import os
from collections.abc import Sequence

from rundlet.cgroup.systemd import is_unit_path
from rundlet.engine.handlers import Handler
from rundlet.engine.parts import Parts
from rundlet.engine.process import compile_seccomp, plan_cgroup
from rundlet.errors import InvalidArgument
from rundlet.kernel.failure import translating
from rundlet.kernel.mount import MNT_DETACH, MS_PRIVATE, UMOUNT_NOFOLLOW, mount, umount
from rundlet.kernel.overlay import marking_option
from rundlet.oci.entry import own_command
from rundlet.plan.bwrap import covered_paths, plan_bwrap
from rundlet.plan.external import BwrapPlan, ExternalPlan, OciPlan
from rundlet.runtime.kinds import find_kinds
from rundlet.spec.runtime import Mount, Resources, Root, RuntimeConfig, User
from rundlet.store.shifted import ShiftedStack
from rundlet.store.snapshots import Snapshot

# cri-api's pkg/errors: the kubelet knows this failure by the beginning of the message.
READONLY_UNSUPPORTED = "RROUnsupported"
_OPTIONS_MAX = 4000  # one page less the terminator and what mount(2) may add
# The oldest version that all of the runtimes take; rundlet's own fields beyond it are not written for them.
_OCI_VERSION = "1.0.2"


def mount_rootfs(
    bundle: str, snapshot: Snapshot, label: str = "", shifted: ShiftedStack | None = None
) -> None:
    """The snapshot's overlay on <bundle>/rootfs, in this process's mount namespace, with the SELinux `label` if any.

    `shifted` takes the place of the snapshot's layers.
    """
    layers, metacopy = shifted or ShiftedStack(snapshot.lower, metacopy=False)
    options = overlay_options(layers, label, metacopy=metacopy)
    options += f",upperdir={_escape(snapshot.upper)},workdir={_escape(snapshot.work)}"
    if len(options) > _OPTIONS_MAX:
        raise InvalidArgument(
            f"image: {len(snapshot.lower)} layers are too many to mount for this runtime handler",
            hint="use the built-in one",
        )
    with translating(f"mount the root file system on {bundle}/rootfs"):
        mount("overlay", f"{bundle}/rootfs", "overlay", 0, options)
        # A container with shared propagation must not show its mounts to the host.
        mount(None, f"{bundle}/rootfs", None, MS_PRIVATE)


def overlay_options(layers: Sequence[str], label: str, *, metacopy: bool) -> str:
    """mount(2)'s options for the `layers`, top first; `label` is what SELinux takes the files for, if any."""
    lower = ":".join(map(_escape, layers))
    context = f',context="{label}"' if label else ""
    return f"lowerdir={lower}{',metacopy=on' if metacopy else ''}{context}{marking_option()}"


def _escape(path: str) -> str:
    """overlayfs splits its options at commas and colons."""
    return path.replace("\\", "\\\\").replace(":", "\\:").replace(",", "\\,")


def unmount_rootfs(bundle: str) -> None:
    """Nothing happens when it is not mounted; what hangs on it is detached with it."""
    with translating(f"unmount {bundle}/rootfs"):
        try:
            while True:
                umount(f"{bundle}/rootfs", MNT_DETACH | UMOUNT_NOFOLLOW)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOENT):
                raise


def adapt_config(
    config: RuntimeConfig, handler: Handler, container_id: str, bundle: str, hostname: str
) -> RuntimeConfig:
    """The configuration as this handler's program wants it; of the built-in runtime's only annotations change.

    A sandbox with a kernel of its own does not look into the pod's UTS namespace: it is told the `hostname`.
    """
    annotations = {**handler.default_annotations, **(config.annotations or {})}
    if handler.type == "builtin":
        return config.replace(annotations=annotations)
    config = config.replace(annotations=_annotate(annotations, handler, container_id))
    if handler.type == "bwrap":
        return _adapt_to_bwrap(config, bundle)
    namespaces = (config.linux.namespaces if config.linux else None) or []
    if handler.own_sandbox and any(item.type == "uts" for item in namespaces):
        config = config.replace(hostname=hostname)
    return config.replace(oci_version=_OCI_VERSION)


def _annotate(annotations: dict[str, str], handler: Handler, container_id: str) -> dict[str, str]:
    """By CRI-O's names as well as containerd's: runtimes look for either.

    A runtime that groups containers into sandboxes expects a sandbox's own container first.
    There is none here, so each container is announced as one.
    """
    kind, sandbox = "container", annotations.get("io.kubernetes.cri.sandbox-id", container_id)
    if handler.own_sandbox:
        kind, sandbox = "sandbox", container_id
    return {
        **annotations,
        "io.kubernetes.cri.container-type": kind,
        "io.kubernetes.cri.sandbox-id": sandbox,
        "io.kubernetes.cri-o.ContainerType": kind,
        "io.kubernetes.cri-o.SandboxID": sandbox,
    }


def _adapt_to_bwrap(config: RuntimeConfig, bundle: str) -> RuntimeConfig:
    """Our own defaults in bubblewrap's words: its --dev makes /dev with all that belongs there."""
    mounts = []
    user = config.process.user if config.process else User()
    for item in config.mounts or []:
        if item.type == "mqueue" and (user.uid or user.gid):
            continue  # of the pod's IPC namespace, which the user namespace of this user may not mount
        if item.destination in ("/dev/pts", "/sys/fs/cgroup"):
            continue  # in --dev; in the host's /sys, which is bound
        if item.destination == "/dev" and item.type == "tmpfs":
            mounts.append(Mount(destination="/dev", type="tmpfs", source="tmpfs"))
        elif item.destination == "/dev/shm" and item.type == "bind":  # noqa: S108
            mounts.append(item.replace(options=["rbind", "rprivate", "nosuid", "nodev"]))
        else:
            mounts.append(item)
    root = config.root or Root(path="rootfs")
    return config.replace(mounts=mounts, root=root.replace(path=f"{bundle}/rootfs"))


def check_features(parts: Parts, handler: Handler, config: RuntimeConfig) -> None:
    """Raises InvalidArgument for what the program would take in silence and not do."""
    asked = [index for index, item in enumerate(config.mounts or []) if "rro" in (item.options or [])]
    if asked and not parts.handlers.read_features(handler).recursive_readonly_mounts:
        raise InvalidArgument(
            f"{READONLY_UNSUPPORTED}: mounts[{asked[0]}]: runtime handler {handler.name!r} cannot make what is"
            " mounted below read-only too"
        )


def runtime_command(parts: Parts, handler: Handler, cgroup: str) -> list[str]:
    """The command line of a handler's runtime up to the verb; of the built-in one it is rundlet-runtime's.

    `cgroup` is where its container is.
    """
    systemd = ["--systemd-cgroup"] if is_unit_path(cgroup) else []
    if handler.type == "builtin":
        return [*own_command(), "--root", f"{parts.settings.run_root}/runtimes/{handler.name}", *systemd]
    return [handler.path, "--root", handler.root, *systemd, *handler.args]


def plan_external(
    parts: Parts, handler: Handler, container_id: str, config: RuntimeConfig, bundle: str
) -> ExternalPlan:
    """What the keeper needs to have the container made."""
    cgroup = config.linux.cgroups_path if config.linux else ""
    if handler.type == "bwrap":
        return _plan_bwrap(parts, handler, container_id, config, bundle)
    with translating(f"make {handler.root}"):
        os.makedirs(handler.root, mode=0o700, exist_ok=True)
    program, *args = runtime_command(parts, handler, cgroup)
    return OciPlan(
        container_id=container_id,
        program=program,
        args=tuple(args),
        bundle=bundle,
        cgroup=cgroup,
        terminal=bool(config.process and config.process.terminal),
        sandboxed=handler.own_sandbox,
        timeout_s=handler.timeout_s,
    )


def _plan_bwrap(
    parts: Parts, handler: Handler, container_id: str, config: RuntimeConfig, bundle: str
) -> BwrapPlan:
    cgroup = config.linux.cgroups_path if config.linux else ""
    resources = (config.linux.resources if config.linux else None) or Resources()
    seccomp = compile_seccomp(parts, config.linux.seccomp if config.linux else None)
    return plan_bwrap(
        container_id,
        config,
        program=handler.path,
        options=handler.args,
        kinds=find_kinds(f"{bundle}/rootfs", covered_paths(config)),
        cgroup=plan_cgroup(parts, cgroup, resources),
        seccomp=seccomp.program if seccomp else b"",
    )
