"""Decides what a copy will do: reads manifests, asks the destination what is there, changes nothing.

read       by `reading`: the tree, its signatures and referrers
fix        whether the digests must stay, and why
decide     each manifest's type, each blob's way
ask        which blobs need not move
"""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

from rundlet.errors import FailedPrecondition, InvalidArgument
from rundlet.image import documents
from rundlet.image.parallel import run_parallel
from rundlet.image.plan import (
    BlobStep,
    CopyOptions,
    CopyPlan,
    ImagePlan,
    IndexPlan,
    Packing,
    Recode,
    Signed,
)
from rundlet.image.reading import (
    Node,
    check_config_size,
    check_platform,
    read_config,
    read_referrers,
    read_signatures,
    read_tree,
)
from rundlet.image.transport import Destination, Document, Source
from rundlet.spec import mediatype
from rundlet.spec.descriptor import Descriptor
from rundlet.spec.manifest import Index, Manifest

if TYPE_CHECKING:
    from rundlet.image.judge import Admit
    from rundlet.spec.schema1 import Schema1

_INDEX_TYPES: Final = {
    mediatype.OCI_MANIFEST: mediatype.OCI_INDEX,
    mediatype.DOCKER_MANIFEST: mediatype.DOCKER_LIST,
}
_LAYERS_MAX: Final = 1000
_PLAIN: Final = Packing("")


def plan_copy(
    source: Source, destination: Destination, options: CopyOptions, admit: "Admit | None" = None
) -> CopyPlan:
    """Decide everything about a copy; `admit` is asked about each image before it is looked into.

    Raises what reading and `admit` raise, InvalidArgument for options that cannot go together, and
    FailedPrecondition for an image that the destination cannot hold as it must be.
    """
    top = read_tree(source, options)
    for node in top.walk() if admit else ():
        if admit and not isinstance(node.parsed, Index):
            admit(node.document)
    check_platform(source, top, options)
    signed = () if options.remove_signatures else tuple(read_signatures(source, top))
    if signed and not destination.traits.signatures:
        raise FailedPrecondition(
            f"{destination.name}: it has no place for the image's signatures",
            hint="--remove-signatures copies without them",
        )
    referrers = tuple(read_referrers(source, destination, top)) if options.with_referrers else ()
    planner = _Planner(source, destination, options, _find_reason(options, signed, referrers))
    plan = CopyPlan(planner.plan_node(top), tuple(map(planner.plan_image, referrers)), signed)
    return _Inventory(source, destination, options.parallel).ask(plan)


def _find_reason(options: CopyOptions, signed: Sequence[Signed], referrers: Sequence[Node]) -> str:
    """Why the digests must stay, "" when they need not."""
    if options.preserve_digests:
        return "--preserve-digests"
    if signed:
        return "its signatures hold for its digest only"
    return "its referrers name it by its digest" if referrers else ""


# --- decide -------------------------------------------------------------------


class _Planner:
    """`fixed` is why the digests must stay, "" when they need not."""

    def __init__(self, source: Source, destination: Destination, options: CopyOptions, fixed: str) -> None:
        self._source = source
        self._name = destination.name
        self._traits = destination.traits
        self._options = options
        self._fixed = fixed
        if fixed and not self._traits.keeps_digests:
            raise FailedPrecondition(f"{self._name}: it keeps no manifest as it is ({fixed})")

    def plan_node(self, node: Node) -> ImagePlan | IndexPlan:
        if not isinstance(node.parsed, Index):
            return self.plan_image(node)
        if not self._traits.indexes:
            raise InvalidArgument(f"{self._name}: it holds one image, not an index of several")
        images = tuple(self.plan_node(child) for child in node.children)
        sparse = self._options.instances == "index-only" or bool(self._fixed)
        return IndexPlan(node.document, self._index_type(node.document), images, sparse)

    def _index_type(self, document: Document) -> str:
        current = document.media_type
        if not self._options.format and self._needs_annotations():
            return mediatype.OCI_INDEX
        if self._options.format:
            return self._check_type(current, _INDEX_TYPES[self._options.format])
        accepted = [_INDEX_TYPES[kind] for kind in self._accepted()]
        return current if current in accepted else self._check_type(current, accepted[0])

    def plan_image(self, node: Node) -> ImagePlan:
        if isinstance(node.parsed, Index):
            raise InvalidArgument(f"{self._source.name}: an index where an image was expected")
        if not isinstance(node.parsed, Manifest):
            return self._plan_schema1(node.document, node.parsed)
        manifest, wanted = node.parsed, self._manifest_type(node.document)
        if len(manifest.layers) > _LAYERS_MAX:
            raise InvalidArgument(f"{self._source.name}: more than {_LAYERS_MAX} layers")
        config = BlobStep(manifest.config, documents.convert_type(manifest.config.media_type, wanted), "copy")
        if manifest.config.media_type not in mediatype.CONFIGS:
            return self._plan_artifact(node.document, manifest, wanted, config)
        check_config_size(self._source, manifest)
        count = len(manifest.layers)
        layers = [
            self._plan_layer(layer, wanted, self._is_encrypted(position, count))
            for position, layer in enumerate(manifest.layers)
        ]
        return ImagePlan(node.document, wanted, config, self._add_diff_ids(manifest, layers))

    def _plan_artifact(
        self, document: Document, manifest: Manifest, wanted: str, config: BlobStep
    ) -> ImagePlan:
        """Content that is no image's layers is never touched."""
        if wanted != document.media_type:
            raise FailedPrecondition(
                f"{self._name}: an artifact of type {manifest.config.media_type} has no other form"
            )
        layers = tuple(BlobStep(layer, layer.media_type, "copy") for layer in manifest.layers)
        return ImagePlan(document, wanted, config, layers)

    def _manifest_type(self, document: Document) -> str:
        current, options = document.media_type, self._options
        if options.format:
            return self._check_type(current, options.format)
        if self._needs_annotations():
            return self._check_type(current, mediatype.OCI_MANIFEST)
        accepted = self._accepted()
        return current if current in accepted else self._check_type(current, accepted[0])

    def _needs_annotations(self) -> bool:
        """Whether layers are to become what only OCI's descriptors can tell."""
        packing = self._options.packing
        return bool(self._options.recipients or (packing and packing.chunked))

    def _accepted(self) -> tuple[str, ...]:
        """The types that are not converted."""
        return self._traits.manifest_types + (self._traits.tolerated if self._fixed else ())

    def _check_type(self, current: str, wanted: str) -> str:
        if self._fixed and wanted != current:
            raise FailedPrecondition(
                f"{self._source.name}: {current} would have to become {wanted} ({self._fixed})"
            )
        if wanted in _INDEX_TYPES and wanted not in self._traits.manifest_types + self._traits.tolerated:
            raise InvalidArgument(f"{self._name}: it does not hold manifests of type {wanted}")
        return wanted

    def _is_encrypted(self, position: int, count: int) -> bool:
        chosen = {each % count if -count <= each < count else -1 for each in self._options.encrypt_layers}
        if -1 in chosen:
            raise InvalidArgument(f"{self._source.name}: it has {count} layers, from 0 on")
        return bool(self._options.recipients) and (not chosen or position in chosen)

    def _plan_layer(self, blob: Descriptor, wanted: str, encrypt: bool) -> BlobStep:
        layer = mediatype.parse_layer_type(blob.media_type)
        if layer is None:
            return BlobStep(blob, blob.media_type, "copy")
        if layer.foreign and blob.urls and self._traits.layers != "plain":
            return BlobStep(blob, documents.convert_type(blob.media_type, wanted), "leave")
        decrypt = layer.encrypted and bool(self._options.keys)
        if layer.encrypted and not decrypt:
            return self._keep_encrypted(blob, wanted)
        packing = self._choose_packing(blob, layer, wanted)
        recode = Recode(
            decrypt=decrypt,
            unpack=packing is not None and bool(layer.compression),
            packing=packing if packing and packing.format else None,
            encrypt=encrypt,
        )
        if recode == Recode():
            return BlobStep(blob, documents.convert_type(blob.media_type, wanted), "copy")
        if self._fixed:
            told = " and ".join(recode.describe())
            raise FailedPrecondition(f"{self._source.name}: a layer would change: {told} ({self._fixed})")
        compression = layer.compression if packing is None else packing.format
        changed = str(layer._replace(compression=compression, encrypted=encrypt))
        return BlobStep(blob, documents.convert_type(changed, wanted), "recode", recode)

    def _keep_encrypted(self, blob: Descriptor, wanted: str) -> BlobStep:
        if wanted == mediatype.DOCKER_MANIFEST or not self._traits.encrypted:
            raise FailedPrecondition(
                f"{self._source.name}: layer {blob.digest} is encrypted and {self._name} needs it plain",
                hint="give its key with --decryption-key",
            )
        return BlobStep(blob, blob.media_type, "copy")

    def _choose_packing(self, blob: Descriptor, layer: mediatype.LayerType, wanted: str) -> Packing | None:
        """What the layer is to become, None for what it is."""
        asked = self._options.packing
        if self._traits.layers == "plain":
            asked = _PLAIN
        elif asked is None and not self._fixed:
            zstd_in_docker = wanted == mediatype.DOCKER_MANIFEST and layer.compression == "zstd"
            plain = self._traits.layers == "compressed" and not layer.compression
            asked = Packing() if zstd_in_docker or plain else None
        if asked is None or asked.format != layer.compression:
            return asked
        return asked if asked.chunked and not _is_chunked(blob) else None

    def _add_diff_ids(self, manifest: Manifest, layers: Sequence[BlobStep]) -> tuple[BlobStep, ...]:
        """What is unpacked on the way can be held against the config."""
        if not any(layer.recode.unpack for layer in layers):
            return tuple(layers)
        diff_ids = read_config(self._source, manifest).rootfs.diff_ids
        if len(diff_ids) != len(layers):
            raise InvalidArgument(f"{self._source.name}: {len(layers)} layers but {len(diff_ids)} diff ids")
        return tuple(layer._replace(diff_id=diff_id) for layer, diff_id in zip(layers, diff_ids, strict=True))

    def _plan_schema1(self, document: Document, manifest: "Schema1") -> ImagePlan:
        """Its config must be made from the layers' diff ids, so every layer is read."""
        wanted = self._options.format or (
            mediatype.OCI_MANIFEST if self._needs_annotations() else mediatype.DOCKER_MANIFEST
        )
        if wanted not in self._traits.manifest_types:
            wanted = self._traits.manifest_types[0]
        self._check_type(document.media_type, wanted)
        steps = []
        for position, digest in enumerate(manifest.layers):
            blob = Descriptor(mediatype.DOCKER_LAYER_GZIP, digest, 0)
            step = self._plan_layer(blob, wanted, self._is_encrypted(position, len(manifest.layers)))
            steps.append(step._replace(action="recode", recode=step.recode._replace(measure=True)))
        return ImagePlan(document, wanted, None, tuple(steps), manifest)


def _is_chunked(blob: Descriptor) -> bool:
    from rundlet.image.chunked import is_chunked

    return is_chunked(blob.annotations)


# --- ask ----------------------------------------------------------------------


class _Inventory:
    """Asks the destination, once for each blob and several at a time, what is there."""

    def __init__(self, source: Source, destination: Destination, parallel: int) -> None:
        self._source = source
        self._destination = destination
        self._parallel = parallel
        self._found: dict[str, BlobStep] = {}

    def ask(self, plan: CopyPlan) -> CopyPlan:
        steps = {step.blob.digest: step for step in plan.steps() if step.action == "copy"}
        answers = run_parallel([partial(self._ask_one, step) for step in steps.values()], self._parallel)
        self._found = dict(zip(steps, answers, strict=True))
        return plan._replace(
            top=self._apply(plan.top), referrers=tuple(map(self._apply_image, plan.referrers))
        )

    def _ask_one(self, step: BlobStep) -> BlobStep:
        if self._destination.find_blob(step.blob):
            return step._replace(action="here")
        origin = self._destination.may_mount(step.blob, self._source)
        return step._replace(action="mount", origin=origin) if origin else step

    def _apply(self, node: ImagePlan | IndexPlan) -> ImagePlan | IndexPlan:
        if isinstance(node, IndexPlan):
            return node._replace(images=tuple(map(self._apply, node.images)))
        return self._apply_image(node)

    def _apply_image(self, image: ImagePlan) -> ImagePlan:
        config = self._answer(image.config) if image.config else None
        return image._replace(config=config, layers=tuple(map(self._answer, image.layers)))

    def _answer(self, step: BlobStep) -> BlobStep:
        answer = self._found.get(step.blob.digest)
        if answer is None or step.action != "copy":
            return step
        return step._replace(action=answer.action, origin=answer.origin)
