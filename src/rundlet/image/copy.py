"""Carries out a copy's plan: blobs side by side, then manifests from the leaves up, then the name.

What a broken copy leaves at the destination are blobs without a name, which the next one
finds and skips.
"""

import threading
from collections.abc import Callable, Hashable
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from rundlet.errors import Cancelled
from rundlet.image import documents
from rundlet.image.parallel import run_parallel
from rundlet.image.passage import Arrived, Passage, unchanged
from rundlet.image.plan import BlobStep, CopyOptions, CopyPlan, ImagePlan, IndexPlan
from rundlet.image.progress import CopyProgress, CopyWatcher
from rundlet.image.transport import Content, Destination, Document, Source
from rundlet.spec import mediatype
from rundlet.spec.descriptor import Descriptor
from rundlet.spec.digest import Digest

if TYPE_CHECKING:
    from rundlet.spec.schema1 import Schema1

# Signatures for a manifest that has just been copied, each as `dir:` keeps it.
Signer = Callable[[Document], tuple[bytes, ...]]


class CopyResult(NamedTuple):
    """`document` is the top manifest at the destination, `copied_bytes` what was moved."""

    document: Document
    copied_bytes: int


def run_copy(
    plan: CopyPlan,
    source: Source,
    destination: Destination,
    options: CopyOptions,
    *,
    watch: CopyWatcher,
    sign: Signer | None = None,
) -> CopyResult:
    """Do what `plan` says; the image is visible at the destination when this returns.

    Raises what the transports raise, DataLoss for content that is not what it should be.
    """
    return _Copy(source, destination, options, watch).run(plan, sign)


class _Copy:
    def __init__(
        self, source: Source, destination: Destination, options: CopyOptions, watch: CopyWatcher
    ) -> None:
        self._source = source
        self._destination = destination
        self._options = options
        self._watch = watch
        self._arrived: dict[Hashable, Arrived] = {}
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._copied_bytes = 0

    def run(self, plan: CopyPlan, sign: Signer | None) -> CopyResult:
        self._destination.begin()
        self._carry_all(plan)
        for image in plan.referrers:
            self._destination.put_manifest(self._make_manifest(image), top=False)
        top = self._put_node(plan.top, top=True)
        for signed in plan.signed:
            self._destination.put_signatures(signed.digest, signed.signatures)
        if sign is not None:
            kept = next((each.signatures for each in plan.signed if each.digest == top.digest), ())
            self._destination.put_signatures(top.digest, kept + sign(top))
        self._destination.commit()
        return CopyResult(top, self._copied_bytes)

    # --- blobs ----------------------------------------------------------------

    def _carry_all(self, plan: CopyPlan) -> None:
        """All blobs; when one fails the others end soon and its error is raised."""
        steps = list({step.key: step for step in plan.steps()}.values())
        jobs = [partial(self._move, step) for step in steps]
        arrived = run_parallel(jobs, self._options.parallel, self._stop.set)
        self._arrived = {step.key: one for step, one in zip(steps, arrived, strict=True)}

    def _move(self, step: BlobStep) -> Arrived:
        self._check()
        blob = step.blob
        if step.action in ("here", "leave"):
            self._watch(CopyProgress(blob.digest, "skipped", blob.size, blob.size))
            return unchanged(step)
        if step.action == "mount" and self._destination.mount_blob(blob, self._source):
            self._watch(CopyProgress(blob.digest, "mounted", blob.size, blob.size))
            return unchanged(step)
        passage = Passage(self._source, step, self._options, self._report)
        written = self._destination.put_blob(passage.content())
        with self._lock:
            self._copied_bytes += max(written.size_bytes, 0)
        self._watch(CopyProgress(blob.digest, "done", blob.size, blob.size))
        return passage.finish(written)

    def _report(self, progress: CopyProgress) -> None:
        self._check()
        self._watch(progress)

    def _check(self) -> None:
        if self._stop.is_set():
            raise Cancelled("the copy has ended")

    # --- manifests ------------------------------------------------------------

    def _put_node(self, node: ImagePlan | IndexPlan, *, top: bool) -> Document:
        document = self._make_index(node) if isinstance(node, IndexPlan) else self._make_manifest(node)
        self._destination.put_manifest(document, top=top)
        return document

    def _make_index(self, plan: IndexPlan) -> Document:
        replaced = {str(image.document.digest): self._put_node(image, top=False) for image in plan.images}
        return documents.rewrite_index(plan.document, plan.media_type, replaced, drop_others=not plan.sparse)

    def _make_manifest(self, plan: ImagePlan) -> Document:
        layers = [self._arrived[layer.key] for layer in plan.layers]
        if plan.schema1 is not None:
            return self._modernize(plan, plan.schema1, layers)
        if plan.config is None:
            return plan.document
        config = self._arrived[plan.config.key].blob
        return documents.rewrite_manifest(
            plan.document, plan.media_type, config, [layer.blob for layer in layers]
        )

    def _modernize(self, plan: ImagePlan, old: "Schema1", layers: list[Arrived]) -> Document:
        """A schema 1 image with the config that it never had."""
        from rundlet.spec.schema1 import convert_config

        raw = convert_config(old, [layer.diff_id for layer in layers])
        digest = Digest.of(raw)
        self._destination.put_blob(Content(lambda: nullcontext(iter((raw,))), digest, len(raw)))
        config_type = documents.convert_type(mediatype.DOCKER_CONFIG, plan.media_type)
        return documents.make_document(
            {
                "schemaVersion": 2,
                "mediaType": plan.media_type,
                "config": Descriptor(config_type, str(digest), len(raw)),
                "layers": [layer.blob for layer in layers],
            }
        )
