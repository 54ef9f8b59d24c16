"""The engine: one object that does all that a front can ask.  Synchronous and thread-safe.

    with Engine(Settings(root="/var/lib/rundlet", run_root="/run/rundlet")) as engine:
        engine.images.pull("docker.io/library/redis:alpine")
        pod = engine.pods.run(PodOptions(name="redis"))
        container = engine.containers.create(pod, ContainerOptions(name="redis", image="redis:alpine"))
        engine.containers.start(container)

Fronts (command line, CRI) parse, build options, call one verb and render its answer.
"""

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rundlet.cgroup.layout import detect_layout
from rundlet.engine.containers import Containers
from rundlet.engine.events import ExitWatcher
from rundlet.engine.explain import Explainer
from rundlet.engine.feed import Feed
from rundlet.engine.groups import ParentGroups
from rundlet.engine.handlers import Handlers
from rundlet.engine.images import Images
from rundlet.engine.inside import Inside
from rundlet.engine.insight import Insight
from rundlet.engine.journal import Journal
from rundlet.engine.locks import KeyedLocks
from rundlet.engine.names import is_alive, process_identity
from rundlet.engine.node import read_node_status
from rundlet.engine.parts import Parts, read_host_facts
from rundlet.engine.pods import Pods
from rundlet.engine.provenance import make_gate, open_registries, reload_gate, reload_registries
from rundlet.engine.reconcile import reconcile_containers
from rundlet.engine.records import SCHEMA
from rundlet.engine.recordtables import ContainerRecords, PodRecords
from rundlet.engine.recovery import recover
from rundlet.engine.settings import Settings, check_settings
from rundlet.engine.stats import StatsReader
from rundlet.engine.status import NodeStatus
from rundlet.errors import PermissionDenied
from rundlet.keeper.client import Keeper
from rundlet.keeper.handles import Lease
from rundlet.kernel.failure import translating
from rundlet.kernel.sync import read_boot_id
from rundlet.network.network import Network, NetworkSettings
from rundlet.store.additional import check_lenders
from rundlet.store.store import Store
from rundlet.trace.flight import FlightRecorder, take_flights
from rundlet.trace.tracer import Tracer, recall_flight

if TYPE_CHECKING:
    from rundlet.engine.metricset import PodMetrics

_log = logging.getLogger(__name__)


class Engine:
    """Pods, containers and images of one state root.

    Making it brings the records up to date with what runs; closing it leaves
    everything running.
    Raises PermissionDenied without root.
    """

    def __init__(self, settings: Settings = Settings(), schema: Sequence[str] = ()) -> None:  # noqa: B008 - immutable
        """`schema` are further tables of who builds on the engine, in the same database (CREATE IF NOT EXISTS)."""
        check_settings(settings)
        if os.geteuid() != 0:
            raise PermissionDenied(
                "the engine needs root",
                hint="run it with sudo, or enter the user's namespaces (rundlet.rootless.enter)",
            )
        self.settings = settings
        self.journal = Journal(settings.run_root)
        self.feed = Feed(self.journal)
        self._parts = _open_parts(settings, self.feed, schema)
        stats = self._stats = StatsReader(self._parts)
        self.database = self._parts.store.database
        self._watcher = ExitWatcher(self._parts)
        self.containers = Containers(self._parts, stats, self._watcher)
        self.pods = Pods(self._parts, self.containers, stats)
        self._gate = make_gate(settings, self._parts.registries)
        self.images = Images(self._parts, self._gate, self.journal)
        self.tracer = self._parts.tracer
        self.insight = Insight(self._parts)
        self.inside = Inside(self._parts)
        self.explain = Explainer(self._parts)
        with self.tracer.operation("recover"):  # nobody answers yet, but the record tells where it hangs
            recover(self._parts, self.pods, self.containers)
        if self._parts.containers.list():
            self._watcher.ensure()

    @property
    def keeps_limits(self) -> bool:
        """Whether containers have cgroups; an ordinary user's have where one is delegated."""
        return bool(self._parts.layout.mounts)

    @property
    def controllers(self) -> frozenset[str]:
        """Names of the cgroup controllers that can limit containers here."""
        return frozenset(self._parts.layout.mounts)

    def status(self) -> NodeStatus:
        """Conditions and abilities of this node."""
        return read_node_status(self._parts)

    def metrics(self) -> "list[PodMetrics]":
        """Every metric family of every ready pod and its running containers."""
        from rundlet.engine.metricset import read_pod_metrics  # slow, and wanted by daemons only

        return read_pod_metrics(self._parts, self._stats)

    @property
    def keeper_restarts(self) -> int:
        """Times that the keeper's supervisor went away since this engine listens to it."""
        return self._watcher.losses

    def on_exit(self, listener: Callable[[str], None]) -> None:
        """Have `listener` called with the id of each container that has ended, "" when some may have been missed.

        It is called by a thread of the engine's, and must not wait.
        """
        self._watcher.tell(listener)

    def reconcile(self) -> None:
        """Record at once what has ended, without waiting for the thread that listens."""
        reconcile_containers(self._parts)

    def keep_minder(self, argv: Sequence[str], env: Mapping[str, str], *, look: bool) -> None:
        """Have the keeper run this program until it exits with 0, and again whenever it dies (`keeper.minder`)."""
        self._parts.keeper.mind(argv, env, look=look)

    def expect_minder(self, argv: Sequence[str], env: Mapping[str, str]) -> Lease:
        """Have the keeper run this program should this process end before it releases the lease."""
        return self._parts.keeper.expect(argv, env)

    def reload(self, settings: Settings) -> None:
        """Take runtime handlers, registries, policies, additional stores and pins of other settings.

        Pods that are there keep their handlers, pulls under way their registry.  Raises
        InvalidArgument, NotFound and DataLoss, and changes nothing, when the settings are wrong.
        """
        check_settings(settings)
        Handlers(settings)  # what is wrong is told before anything changes
        check_lenders(settings.additional_image_stores)
        reload_registries(self._parts.registries, settings)
        self._parts.store.reload(settings.additional_image_stores, settings.pinned_images)
        reload_gate(self._gate, settings, self._parts.registries)
        self._parts.handlers.reload(settings)

    def close(self) -> None:
        """Let go of files and threads; pods and containers go on."""
        self.feed.close()
        self._watcher.close()
        self._parts.network.settle()
        self._parts.keeper.close()
        self._parts.registries.close()
        _tidy_run_root(self._parts)
        self._parts.store.close()
        self._parts.tracer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _tidy_run_root(parts: Parts) -> None:
    """The directories of pods and containers go when there are none; nobody can begin one meanwhile."""
    with parts.store.database.write() as connection:
        if connection.execute("SELECT 1 FROM pods").fetchone():
            return
        for directory in (parts.settings.pods_dir, parts.settings.containers_dir):
            try:
                os.rmdir(directory)
            except OSError:
                pass  # never made, or something is left that the next recovery looks after


def _open_parts(settings: Settings, feed: Feed, schema: Sequence[str]) -> Parts:
    with translating(f"open the engine's roots {settings.root} and {settings.run_root}"):
        for directory in (settings.root, settings.run_root):
            os.makedirs(directory, mode=0o711, exist_ok=True)
    store = Store.open(
        settings.root,
        settings.run_root,
        schema=(*SCHEMA, *schema),
        image_root=settings.imagestore,
        additional_roots=settings.additional_image_stores,
        pinned=settings.pinned_images,
    )
    layout = detect_layout()
    locks = KeyedLocks()
    identity = process_identity(os.getpid())
    return Parts(
        settings=settings,
        store=store,
        keeper=Keeper(settings.run_root),
        network=Network(_choose_network(settings)),
        layout=layout,
        groups=ParentGroups(layout, locks),
        pods=PodRecords(store.database, feed),
        containers=ContainerRecords(store.database, feed),
        locks=locks,
        tracer=_open_tracer(settings.run_root, identity),
        handlers=Handlers(settings),
        registries=open_registries(settings),
        host=read_host_facts(layout),
        identity=identity,
        boot_id=read_boot_id(),
    )


def _open_tracer(run_root: str, identity: str) -> Tracer:
    """What killed processes were doing is told as failures of theirs; no room for a record is no reason to fail."""
    try:
        tracer = Tracer(FlightRecorder(run_root, identity))
        flights = take_flights(run_root, is_alive)
    except OSError as error:
        _log.warning("steps under way are not recorded under %s: %s", run_root, error)
        return Tracer()
    for flight in flights:
        recall_flight(tracer, flight)
    return tracer


def _choose_network(settings: Settings) -> NetworkSettings:
    return NetworkSettings(
        conf_dir=settings.cni_conf_dir,
        bin_dirs=settings.cni_bin_dirs,
        cache_dir=settings.cni_cache_dir,
        builtin=settings.cni_builtin,
        engine=settings.root,
        named_dir=settings.networks_dir,
        run_dir=f"{settings.run_root}/network",
    )
