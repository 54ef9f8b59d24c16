"""CDI devices: the vendors' files of this host, and their edits to a container's configuration.

/etc/cdi/*.{json,yaml}       static, by the administrator
/var/run/cdi/*.{json,yaml}   made by device drivers; wins over a static file of the same kind
"""

import os
import stat
from collections.abc import Iterator, Sequence

from rundlet.errors import FailedPrecondition, InvalidArgument, NotFound
from rundlet.kernel.failure import translating
from rundlet.spec.cdi import ContainerEdits, DeviceNode, Hook, Specification, parse_device_name
from rundlet.spec.document import drop_nulls
from rundlet.spec.json import convert
from rundlet.spec.runtime import Device, DeviceRule, Hooks, Linux, Mount, Resources, RuntimeConfig
from rundlet.spec.runtime import Hook as SpecHook

_FILE_MAX_BYTES = 1 << 20
_SUFFIXES = (".json", ".yaml", ".yml")
_HOOK_FIELDS = {
    "prestart": "prestart",
    "createRuntime": "create_runtime",
    "createContainer": "create_container",
    "startContainer": "start_container",
    "poststart": "poststart",
    "poststop": "poststop",
}


def find_edits(names: Sequence[str], directories: Sequence[str]) -> list[ContainerEdits]:
    """What the devices need, those of each file once; NotFound names a device that no file has."""
    wanted = [parse_device_name(name) for name in names]
    if not wanted:
        return []
    files = {spec.kind: spec for directory in directories for spec in _read_directory(directory)}
    edits: list[ContainerEdits] = []
    for kind, name in wanted:
        spec = files.get(kind)
        device = next((item for item in spec.devices if item.name == name), None) if spec else None
        if spec is None or device is None:
            raise NotFound(
                f"CDI device {kind}={name} is not on this host", hint=f"looked in {', '.join(directories)}"
            )
        if spec.container_edits not in edits:
            edits.append(spec.container_edits)
        edits.append(device.container_edits)
    return edits


def _read_directory(directory: str) -> Iterator[Specification]:
    try:
        names = sorted(os.listdir(directory))
    except FileNotFoundError:
        return
    for name in names:
        if name.endswith(_SUFFIXES):
            yield _read_file(f"{directory}/{name}")


def _read_file(path: str) -> Specification:
    import yaml  # only hosts with such devices pay for it

    with translating(f"read {path}"), open(path, "rb") as file:
        raw = file.read(_FILE_MAX_BYTES)
    try:
        document = yaml.safe_load(raw)  # JSON is YAML
    except yaml.YAMLError as error:
        raise InvalidArgument(f"{path}: {' '.join(str(error).split())}") from error
    return convert(drop_nulls(document), Specification, path)


def apply_edits(config: RuntimeConfig, edits: Sequence[ContainerEdits]) -> RuntimeConfig:
    """`config` with all the edits, in order; looks at the host's device nodes for what the files leave out."""
    for edit in edits:
        config = _apply(config, edit)
    return config


def _apply(config: RuntimeConfig, edit: ContainerEdits) -> RuntimeConfig:
    process, linux = config.process, config.linux or Linux()
    if process is not None:
        user = process.user
        groups = [*(user.additional_gids or []), *edit.additional_gids]
        process = process.replace(
            env=[*(process.env or []), *edit.env],
            user=user.replace(additional_gids=list(dict.fromkeys(groups)) or None),
        )
    nodes = [_complete(node) for node in edit.device_nodes]
    return config.replace(
        process=process,
        mounts=[*(config.mounts or []), *_mounts(edit)],
        hooks=_add_hooks(config.hooks, edit.hooks),
        linux=linux.replace(
            devices=[*(linux.devices or []), *(node for node, _ in nodes)] or None,
            resources=_allow(linux.resources or Resources(), nodes),
        ),
    )


def _mounts(edit: ContainerEdits) -> list[Mount]:
    return [
        Mount(
            destination=item.container_path,
            type=item.type or "bind",
            source=item.host_path,
            options=list(item.options) or ["rbind", "ro"],
        )
        for item in edit.mounts
    ]


def _complete(node: DeviceNode) -> tuple[Device, str]:
    """(device, permissions), with type and numbers of the host's node where the file does not say."""
    kind, major, minor = node.type, node.major, node.minor
    if not kind or (kind != "p" and not major):
        path = node.host_path or node.path
        try:
            found = os.stat(path)
        except OSError as error:
            raise FailedPrecondition(f"CDI device node {path}: {error.strerror}") from error
        if not (stat.S_ISCHR(found.st_mode) or stat.S_ISBLK(found.st_mode)):
            raise FailedPrecondition(f"CDI device node {path}: it is no device")
        kind = "b" if stat.S_ISBLK(found.st_mode) else "c"
        major, minor = os.major(found.st_rdev), os.minor(found.st_rdev)
    device = Device(
        type=kind,
        path=node.path,
        major=major,
        minor=minor,
        file_mode=node.file_mode,
        uid=node.uid,
        gid=node.gid,
    )
    return device, node.permissions or "rwm"


def _allow(resources: Resources, nodes: Sequence[tuple[Device, str]]) -> Resources:
    rules = [
        DeviceRule(allow=True, type=node.type, major=node.major, minor=node.minor, access=permissions)
        for node, permissions in nodes
        if node.type != "p"
    ]
    return resources.replace(devices=[*(resources.devices or []), *rules] or None)


def _add_hooks(hooks: Hooks | None, more: Sequence[Hook]) -> Hooks | None:
    if not more:
        return hooks
    hooks = hooks or Hooks()
    for hook in more:
        field = _HOOK_FIELDS.get(hook.hook_name)
        if field is None:
            raise InvalidArgument(f"CDI hook {hook.path}: unknown hook name {hook.hook_name!r}")
        made = SpecHook(
            path=hook.path, args=list(hook.args) or None, env=list(hook.env) or None, timeout=hook.timeout
        )
        hooks = hooks.replace(**{field: [*(getattr(hooks, field) or []), made]})
    return hooks
