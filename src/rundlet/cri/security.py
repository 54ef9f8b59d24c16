"""CRI security contexts → engine Security, and namespaces back for the status."""

from collections.abc import Iterable
from typing import Literal

import msgspec

from rundlet.cri.checks import check_range, choose, require_absolute, require_text
from rundlet.cri.proto import api_pb2 as api
from rundlet.engine.options import (
    Capabilities,
    IdMapping,
    NamespaceMode,
    Namespaces,
    Security,
    SecurityProfile,
)
from rundlet.errors import InvalidArgument

ID_LIMIT = 2**32 - 2  # 2**32 - 1 is (uid_t)-1, "no change" to setresuid(2) and chown(2)

_MODES: dict[int, NamespaceMode] = {
    api.POD: "pod",
    api.CONTAINER: "container",
    api.NODE: "node",
    api.TARGET: "target",
}
_SHARED_MODES: dict[int, NamespaceMode] = {api.POD: "pod", api.NODE: "node"}
_POLICIES: dict[int, Literal["merge", "strict"]] = {api.Merge: "merge", api.Strict: "strict"}
_PROFILES: dict[int, Literal["runtime-default", "unconfined", "localhost"]] = {
    api.SecurityProfile.RuntimeDefault: "runtime-default",
    api.SecurityProfile.Unconfined: "unconfined",
    api.SecurityProfile.Localhost: "localhost",
}
_MODE_NUMBERS = {"pod": api.POD, "container": api.CONTAINER, "node": api.NODE, "target": api.TARGET}

_AnyContext = api.LinuxSandboxSecurityContext | api.LinuxContainerSecurityContext


def namespaces_from(message: api.NamespaceOption, path: str) -> Namespaces:
    """An absent message is all POD, the numeric zero, as CRI defines it."""
    users, given = message.userns_options, message.HasField("userns_options")
    return Namespaces(
        network=choose(_SHARED_MODES, message.network, f"{path}.network"),
        pid=choose(_MODES, message.pid, f"{path}.pid"),
        ipc=choose(_SHARED_MODES, message.ipc, f"{path}.ipc"),
        target_id=_target_id(message, path),
        user=choose(_MODES, users.mode, f"{path}.userns_options.mode") if given else "node",
        uid_mappings=id_mappings(users.uids),
        gid_mappings=id_mappings(users.gids),
    )


def id_mappings(messages: Iterable[api.IDMapping]) -> tuple[IdMapping, ...]:
    return tuple(IdMapping(item.container_id, item.host_id, item.length) for item in messages)


def id_mapping_messages(mappings: Iterable[IdMapping]) -> list[api.IDMapping]:
    """The inverse of id_mappings."""
    return [
        api.IDMapping(container_id=item.container_id, host_id=item.host_id, length=item.length)
        for item in mappings
    ]


def _target_id(message: api.NamespaceOption, path: str) -> str:
    if message.pid != api.TARGET:
        return ""
    return require_text(message.target_id, f"{path}.target_id")


def namespaces_message(value: Namespaces) -> api.NamespaceOption:
    """The inverse of namespaces_from."""
    return api.NamespaceOption(
        network=_MODE_NUMBERS[value.network],
        pid=_MODE_NUMBERS[value.pid],
        ipc=_MODE_NUMBERS[value.ipc],
        target_id=value.target_id,
        userns_options=api.UserNamespace(
            mode=_MODE_NUMBERS[value.user],
            uids=id_mapping_messages(value.uid_mappings),
            gids=id_mapping_messages(value.gid_mappings),
        ),
    )


def _identity(context: _AnyContext, field: Literal["run_as_user", "run_as_group"], path: str) -> int | None:
    if not context.HasField(field):
        return None
    return check_range(getattr(context, field).value, 0, ID_LIMIT, f"{path}.{field}")


def _groups(numbers: Iterable[int], path: str) -> tuple[int, ...]:
    return tuple(check_range(number, 0, ID_LIMIT, f"{path}[{index}]") for index, number in enumerate(numbers))


def _legacy_profile(text: str, path: str) -> SecurityProfile:
    """The deprecated one-string form: runtime/default, docker/default, localhost/NAME, unconfined."""
    if text in ("runtime/default", "docker/default"):
        return SecurityProfile(kind="runtime-default")
    if text.startswith("localhost/"):
        return SecurityProfile(kind="localhost", path=require_text(text.removeprefix("localhost/"), path))
    if text not in ("", "unconfined"):
        raise InvalidArgument(f"{path}: unknown profile {text!r}")
    return SecurityProfile()


def _profile(message: api.SecurityProfile, path: str) -> SecurityProfile:
    kind = choose(_PROFILES, message.profile_type, f"{path}.profile_type")
    name = require_text(message.localhost_ref, f"{path}.localhost_ref") if kind == "localhost" else ""
    return SecurityProfile(kind=kind, path=name)


def _seccomp(context: _AnyContext, path: str) -> SecurityProfile:
    """No profile at all means unconfined; a localhost profile is a file of the host."""
    if not context.HasField("seccomp"):
        profile = _legacy_profile(context.seccomp_profile_path, f"{path}.seccomp_profile_path")
        where = f"{path}.seccomp_profile_path"
    else:
        profile = _profile(context.seccomp, f"{path}.seccomp")
        where = f"{path}.seccomp.localhost_ref"
    if profile.kind == "localhost":
        require_absolute(profile.path, where)
    return profile


def _apparmor(context: _AnyContext, path: str) -> SecurityProfile:
    """The new field wins; its localhost_ref names a loaded profile, some callers keep the old prefix."""
    if context.HasField("apparmor"):
        profile = _profile(context.apparmor, f"{path}.apparmor")
        return SecurityProfile(kind=profile.kind, path=profile.path.removeprefix("localhost/"))
    legacy = getattr(context, "apparmor_profile", "")  # containers only
    return _legacy_profile(legacy, f"{path}.apparmor_profile")


def pod_security(context: _AnyContext, path: str) -> Security:
    """What a pod's context holds, which every container's context holds too."""
    return Security(
        privileged=context.privileged,
        namespaces=namespaces_from(context.namespace_options, f"{path}.namespace_options"),
        user_id=_identity(context, "run_as_user", path),
        group_id=_identity(context, "run_as_group", path),
        supplemental_groups=_groups(context.supplemental_groups, f"{path}.supplemental_groups"),
        supplemental_groups_policy=choose(
            _POLICIES, context.supplemental_groups_policy, f"{path}.supplemental_groups_policy"
        ),
        readonly_rootfs=context.readonly_rootfs,
        seccomp=_seccomp(context, path),
        apparmor=_apparmor(context, path),
    )


def container_security(context: api.LinuxContainerSecurityContext, path: str) -> Security:
    return msgspec.structs.replace(
        pod_security(context, path),
        user_name=context.run_as_username,
        capabilities=_capabilities(context.capabilities, f"{path}.capabilities"),
        no_new_privileges=context.no_new_privs,
        masked_paths=_paths(context.masked_paths, f"{path}.masked_paths"),
        readonly_paths=_paths(context.readonly_paths, f"{path}.readonly_paths"),
    )


def _capabilities(message: api.Capability, path: str) -> Capabilities:
    return Capabilities(
        add=_names(message.add_capabilities, f"{path}.add_capabilities"),
        drop=_names(message.drop_capabilities, f"{path}.drop_capabilities"),
        add_ambient=_names(message.add_ambient_capabilities, f"{path}.add_ambient_capabilities"),
    )


def _names(values: Iterable[str], path: str) -> tuple[str, ...]:
    return tuple(require_text(value, f"{path}[{index}]") for index, value in enumerate(values))


def _paths(values: Iterable[str], path: str) -> tuple[str, ...]:
    return tuple(require_absolute(value, f"{path}[{index}]") for index, value in enumerate(values))
