"""CRI security contexts → engine Security, and namespaces back for the status."""

from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec

from rundlet.cri.choices import choose
from rundlet.cri.proto import api_pb2 as api
from rundlet.engine.options import (
    Capabilities,
    IdMapping,
    NamespaceMode,
    Namespaces,
    Security,
    SecurityProfile,
    SelinuxLabel,
)
from rundlet.errors import InvalidArgument

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
        target_id=message.target_id if message.pid == api.TARGET else "",
        user=choose(_MODES, users.mode, f"{path}.userns_options.mode") if given else "node",
        uid_mappings=_one_mapping(users.uids, f"{path}.userns_options.uids"),
        gid_mappings=_one_mapping(users.gids, f"{path}.userns_options.gids"),
    )


def _one_mapping(messages: Sequence[api.IDMapping], path: str) -> tuple[IdMapping, ...]:
    """CRI has a list and allows one entry, which must be there for a pod with a user namespace of its own."""
    if len(messages) > 1:
        raise InvalidArgument(f"{path}: expected exactly one mapping, got {len(messages)}")
    return id_mappings(messages)


def id_mappings(messages: Iterable[api.IDMapping]) -> tuple[IdMapping, ...]:
    return tuple(IdMapping(item.container_id, item.host_id, item.length) for item in messages)


def id_mapping_messages(mappings: Iterable[IdMapping]) -> list[api.IDMapping]:
    """The inverse of id_mappings."""
    return [
        api.IDMapping(container_id=item.container_id, host_id=item.host_id, length=item.length)
        for item in mappings
    ]


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


def _identity(context: _AnyContext, field: Literal["run_as_user", "run_as_group"]) -> int | None:
    return getattr(context, field).value if context.HasField(field) else None


def _legacy_profile(text: str, path: str) -> SecurityProfile:
    """The deprecated one-string form: runtime/default, docker/default, localhost/NAME, unconfined."""
    if text in ("runtime/default", "docker/default"):
        return SecurityProfile(kind="runtime-default")
    if text.startswith("localhost/"):
        return SecurityProfile(kind="localhost", path=text.removeprefix("localhost/"))
    if text not in ("", "unconfined"):
        raise InvalidArgument(f"{path}: unknown profile {text!r}")
    return SecurityProfile()


def _profile(message: api.SecurityProfile, path: str) -> SecurityProfile:
    kind = choose(_PROFILES, message.profile_type, f"{path}.profile_type")
    return SecurityProfile(kind=kind, path=message.localhost_ref if kind == "localhost" else "")


def _seccomp(context: _AnyContext, path: str) -> SecurityProfile:
    """No profile at all means unconfined; a localhost profile is a file of the host."""
    if context.HasField("seccomp"):
        return _profile(context.seccomp, f"{path}.seccomp")
    return _legacy_profile(context.seccomp_profile_path, f"{path}.seccomp_profile_path")


def _apparmor(context: _AnyContext, path: str) -> SecurityProfile | None:
    """The new field wins; its localhost_ref names a loaded profile, some callers keep the old prefix.

    None when nothing is said.
    """
    if context.HasField("apparmor"):
        profile = _profile(context.apparmor, f"{path}.apparmor")
        return SecurityProfile(kind=profile.kind, path=profile.path.removeprefix("localhost/"))
    legacy = getattr(context, "apparmor_profile", "")  # containers only
    return _legacy_profile(legacy, f"{path}.apparmor_profile") if legacy else None


def _selinux(message: api.SELinuxOption) -> SelinuxLabel:
    return SelinuxLabel(user=message.user, role=message.role, type=message.type, level=message.level)


def pod_security(context: _AnyContext, path: str) -> Security:
    """What a pod's context holds, which every container's context holds too."""
    return Security(
        privileged=context.privileged,
        namespaces=namespaces_from(context.namespace_options, f"{path}.namespace_options"),
        user_id=_identity(context, "run_as_user"),
        group_id=_identity(context, "run_as_group"),
        supplemental_groups=tuple(context.supplemental_groups),
        supplemental_groups_policy=choose(
            _POLICIES, context.supplemental_groups_policy, f"{path}.supplemental_groups_policy"
        ),
        readonly_rootfs=context.readonly_rootfs,
        seccomp=_seccomp(context, path),
        apparmor=_apparmor(context, path),
        selinux=_selinux(context.selinux_options),
    )


def container_security(context: api.LinuxContainerSecurityContext, path: str) -> Security:
    capabilities = context.capabilities
    return msgspec.structs.replace(
        pod_security(context, path),
        user_name=context.run_as_username,
        capabilities=Capabilities(
            add=tuple(capabilities.add_capabilities),
            drop=tuple(capabilities.drop_capabilities),
            add_ambient=tuple(capabilities.add_ambient_capabilities),
        ),
        no_new_privileges=context.no_new_privs,
        masked_paths=tuple(context.masked_paths),
        readonly_paths=tuple(context.readonly_paths),
    )
