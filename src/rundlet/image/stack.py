"""The layers of one image brought into the store: unpacked in parallel, published bottom first."""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import Final

from rundlet.archive.inherit import copy_implied
from rundlet.errors import Cancelled, InvalidArgument
from rundlet.image.layer import LayerPlan, Source, Unpacked, bring_layer
from rundlet.kernel.failure import translating
from rundlet.spec.image import ImageConfig, chain_ids
from rundlet.spec.manifest import Manifest
from rundlet.store.layers import STACK_MAX, LayerRecord
from rundlet.store.store import Store

# Downloads wait for the network and unpacking for the disk, so a few more than the cores help.
_WORKERS: Final = 4


class LayerStack:
    """The layers of one image; `source` has what the store lacks."""

    def __init__(self, store: Store, source: Source) -> None:
        self._store = store
        self._source = source
        self._failures: list[BaseException] = []

    def bring(self, plans: Sequence[LayerPlan]) -> list[LayerRecord]:
        """All layers, published bottom first; when one fails the others end and its error is raised."""
        with ThreadPoolExecutor(_WORKERS, thread_name_prefix="layer") as pool:
            futures = [pool.submit(copy_context().run, self._bring_one, plan) for plan in plans]
            try:
                return self._publish_all(futures)
            except BaseException as error:  # noqa: BLE001  raised below, when the workers have ended
                self._source.patience.set()  # the others end soon, and the pool waits for them
                self._failures.append(error)
            finally:
                for future in futures:
                    future.add_done_callback(_let_go)
        raise self._root_failure()

    def _bring_one(self, plan: LayerPlan) -> LayerRecord | Unpacked:
        try:
            self._source.patience.check(f"layer {plan.descriptor.digest}")
            return bring_layer(self._store, self._source, plan)
        except BaseException as error:
            self._failures.append(error)
            self._source.patience.set()
            raise

    def _root_failure(self) -> BaseException:
        """The first failure that is not just a worker that was told to stop by another's."""
        causes = (error for error in self._failures if not isinstance(error, Cancelled))
        return next(causes, self._failures[0])

    def _publish_all(self, futures: "Sequence[Future[LayerRecord | Unpacked]]") -> list[LayerRecord]:
        layers: list[LayerRecord] = []
        for future in futures:
            brought = future.result()
            if isinstance(brought, Unpacked):
                brought = self._publish_one(brought, [layer.id for layer in layers])
            layers.append(brought)
        return layers

    def _publish_one(self, unpacked: Unpacked, below: Sequence[int]) -> LayerRecord:
        with unpacked.held:
            with translating(f"layer {unpacked.layer.chain_id}"):
                copy_implied(unpacked.path, self._store.layers.stack(below), unpacked.stats.implied)
            layer_id = self._store.layers.publish(unpacked.path, unpacked.layer, unpacked.stats.checksums)
        return LayerRecord(layer_id, *unpacked.layer)


def plan_layers(manifest: Manifest, config: ImageConfig) -> tuple[LayerPlan, ...]:
    """Each layer's descriptor beside its diff id and chain id; InvalidArgument when their numbers do not fit."""
    diff_ids = config.rootfs.diff_ids
    if len(manifest.layers) != len(diff_ids):
        raise InvalidArgument(
            f"manifest has {len(manifest.layers)} layers but the config {len(diff_ids)} diff ids",
            hint="this may be an artifact, not an image",
        )
    if len(diff_ids) > STACK_MAX:
        raise InvalidArgument(f"image has {len(diff_ids)} layers, more than the {STACK_MAX} of overlayfs")
    return tuple(map(LayerPlan, chain_ids(diff_ids), diff_ids, manifest.layers))


def _let_go(future: "Future[LayerRecord | Unpacked]") -> None:
    """Close the lock and directory of a layer that was unpacked but not published."""
    if not future.cancelled() and future.exception() is None:
        brought = future.result()
        if isinstance(brought, Unpacked):
            brought.held.close()
