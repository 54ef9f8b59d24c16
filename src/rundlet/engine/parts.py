"""What the engine's use cases share: the parts below it, the records, the locks."""

import os
from typing import NamedTuple

from rundlet.cgroup.group import Group
from rundlet.cgroup.layout import Layout
from rundlet.cgroup.systemd import is_running, open_group
from rundlet.engine.cgrouppaths import child_path, choose_parent
from rundlet.engine.config import HostFacts
from rundlet.engine.groups import ParentGroups
from rundlet.engine.handlers import Handlers
from rundlet.engine.locks import KeyedLocks
from rundlet.engine.recordtables import ContainerRecords, PodRecords
from rundlet.engine.selinux import read_defaults
from rundlet.engine.settings import Settings
from rundlet.errors import InvalidArgument
from rundlet.keeper.client import Keeper
from rundlet.kernel.capability import has_capability
from rundlet.kernel.namespace import in_user_namespace, is_mapped
from rundlet.network.network import Network
from rundlet.registry.access import Registries
from rundlet.store.images import ImageRecord
from rundlet.store.store import Store
from rundlet.trace.tracer import Tracer

_TTY_GROUP = 5  # "tty" on every distribution; devpts(5) mounts give terminals to it


class Parts(NamedTuple):
    """`identity` names this process in records that it is making (names.process_identity)."""

    settings: Settings
    store: Store
    keeper: Keeper
    network: Network
    layout: Layout
    groups: ParentGroups
    pods: PodRecords
    containers: ContainerRecords
    locks: KeyedLocks
    tracer: Tracer
    handlers: Handlers
    registries: Registries
    host: HostFacts
    identity: str
    boot_id: str

    def group(self, path: str) -> Group:
        """Of a path, a slice's path or a scope as slice:prefix:name."""
        return open_group(self.layout, path, threaded=True)

    def parent_of(self, pod_id: str, wanted: str) -> str:
        """The path of the group that holds a pod's groups, when its maker asked for `wanted`."""
        default, driver = self.settings.default_cgroup_parent, self.settings.cgroup_driver
        return choose_parent(wanted, default, driver, pod_id, has_systemd=is_running())

    def child_of(self, parent: str, name: str) -> str:
        """The path of a group in a pod's, for `group`."""
        return child_path(parent, name, has_systemd=is_running())

    def find_image(self, text: str) -> ImageRecord | None:
        """The image on this node that `text` means: a name, completed as a pull would, an id or its beginning.

        InvalidArgument when it is malformed, or the beginning of several ids.
        """
        try:
            names = [str(name) for name in self.registries.resolve_name(text)]
        except InvalidArgument:  # ambiguous for a pull, or no name at all
            names = []
        return next(filter(None, map(self.store.images.find, dict.fromkeys((*names, text)))), None)


def read_host_facts(layout: Layout) -> HostFacts:
    with open("/proc/self/oom_score_adj", encoding="ascii") as file:
        oom_score_adj = int(file.read())
    return HostFacts(
        oom_score_adj=oom_score_adj,
        may_lower_oom_score=has_capability("CAP_SYS_RESOURCE"),
        swap_accounting=_has_swap_accounting(layout),
        apparmor=_is_apparmor_on(),
        selinux=read_defaults(),
        is_rootless=in_user_namespace(),
        has_tty_group=is_mapped("gid_map", _TTY_GROUP),
    )


def _has_swap_accounting(layout: Layout) -> bool:
    """Whether memory groups can limit swap; version 2's root group has no memory.swap.max, children have."""
    if layout.version == 1:
        return os.path.exists(f"{layout.mounts.get('memory', '')}/memory.memsw.limit_in_bytes")
    return os.path.exists("/proc/swaps")


def _is_apparmor_on() -> bool:
    """In the kernel, switched on, and its files to be seen, without which no profile can be loaded."""
    if not os.path.isdir("/sys/kernel/security/apparmor"):
        return False
    try:
        with open("/sys/module/apparmor/parameters/enabled", encoding="ascii") as file:
            return file.read().strip() == "Y"
    except OSError:
        return False
