"""Images of the node: pull, look at, remove."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from tempfile import TemporaryDirectory

from msgspec.structs import replace

from rundlet.engine.external import overlay_options
from rundlet.engine.journal import Journal
from rundlet.engine.parts import Parts
from rundlet.engine.provenance import open_registries
from rundlet.engine.status import FilesystemUsage
from rundlet.errors import Error, FailedPrecondition, NotFound
from rundlet.image.progress import PullProgress
from rundlet.image.pull import pull_remote
from rundlet.kernel import mount
from rundlet.kernel.failure import translating
from rundlet.registry.access import Registries
from rundlet.registry.client import Credentials
from rundlet.spec.descriptor import parse_platform
from rundlet.spec.digest import parse_digest
from rundlet.spec.manifest import parse_manifest
from rundlet.spec.reference import Reference
from rundlet.store.images import ImageRecord
from rundlet.trace.span import identify
from rundlet.trust.check import SignedManifest
from rundlet.trust.gate import Gate

_ANNOTATIONS_MAX = 1024


class Images:
    """The images of one engine; thread-safe."""

    def __init__(self, parts: Parts, gate: Gate, journal: Journal) -> None:
        self._parts = parts
        self._journal = journal
        self._gate = gate
        self._annotations: dict[str, Mapping[str, str]] = {}  # by the manifest's digest

    def pull(
        self,
        reference: str,
        credentials: Credentials | None = None,
        deadline_s: float | None = None,
        progress: Callable[[PullProgress], None] | None = None,
        namespace: str = "",
        platform: str = "",
        auth_file: str = "",
        tls_verify: bool | None = None,
    ) -> ImageRecord:
        """Fetch an image and all its layers; a second pull of the same digest is quick.

        `platform` is OS/ARCH[/VARIANT], this host's unless given.  `credentials` are for the registry in the name; without them auth.json is asked, or
        `auth_file`.  `tls_verify` False allows plain HTTP and certificates that do not verify, None leaves
        that to the configuration.  The signature policy is that of `namespace` when it has one.
        Raises NotFound, Unauthenticated, Unavailable, DataLoss, DeadlineExceeded and
        PolicyRefusal; then nothing of the image is here.
        """
        deadline_ns = None if deadline_s is None else time.monotonic_ns() + int(deadline_s * 1e9)
        with (
            self._parts.tracer.operation("pull", "image", label=reference),
            self._reach(auth_file, tls_verify) as registries,
        ):
            opened = registries.open_any(reference, credentials, deadline_ns=deadline_ns)
            image = pull_remote(
                self._parts.store,
                opened.remote,
                fetched=opened.fetched,
                platform=parse_platform(platform) if platform else None,
                admit=lambda manifest: self._gate.check(
                    opened.remote,
                    SignedManifest(manifest.raw, manifest.digest),
                    namespace=namespace,
                    deadline_ns=deadline_ns,
                ),
                progress=progress,
                deadline_ns=deadline_ns,
            )
            identify(image.id)
        self._tell("pull", image, reference)
        return image

    def _tell(self, action: str, image: ImageRecord, name: str) -> None:
        self._journal.note("image", action, image.id.removeprefix("sha256:"), name)

    @contextmanager
    def _reach(self, auth_file: str, tls_verify: bool | None) -> Iterator[Registries]:
        """The engine's registries, or others for one pull that is to reach them in another way."""
        if not auth_file and tls_verify is None:
            yield self._parts.registries
            return
        changed = self._parts.settings
        if auth_file:
            changed = replace(changed, registry_auth_file=auth_file)
        if tls_verify is not None:
            changed = replace(changed, insecure_registries=() if tls_verify else ("*",))
        registries = open_registries(changed)
        try:
            yield registries
        finally:
            registries.close()

    def resolve_name(self, text: str) -> Sequence[Reference]:
        """The images that a name as written may mean; raises InvalidArgument for what is no name."""
        return self._parts.registries.resolve_name(text)

    def list_choices(self, text: str) -> Sequence[Reference]:
        """Among which images a person should choose who wrote a short name; none where it is clear."""
        return self._parts.registries.list_choices(text)

    def record_choice(self, text: str, chosen: Reference) -> None:
        """That is what the short name means from now on."""
        self._parts.registries.record_choice(text, chosen)

    def list(self, reference: str = "") -> Sequence[ImageRecord]:
        """All images, or the one that `reference` (name, digest, id or its prefix) means."""
        if not reference:
            return list(self._parts.store.images.list())
        found = self.status(reference)
        return [found] if found else []

    def layer_sizes(self) -> Mapping[int, int]:
        """Bytes of each unpacked layer by its row id, as `ImageRecord.layers` names them."""
        return dict(map(tuple, self._parts.store.database.query("SELECT id, size_bytes FROM layers")))

    def status(self, reference: str) -> ImageRecord | None:
        """None when it is not on this node."""
        return self._parts.find_image(reference)

    def annotations(self, image: ImageRecord) -> Mapping[str, str]:
        """Those of its manifest; empty when that is damaged."""
        known = self._annotations.get(image.manifest_digest)
        if known is None:
            if len(self._annotations) >= _ANNOTATIONS_MAX:
                self._annotations.clear()
            known = self._annotations[image.manifest_digest] = self._read_annotations(image)
        return known

    def _read_annotations(self, image: ImageRecord) -> Mapping[str, str]:
        try:
            manifest = parse_manifest(self._parts.store.blobs.read(parse_digest(image.manifest_digest)))
        except Error:
            return {}
        return manifest.annotations or {}

    @contextmanager
    def mounted(self, image: ImageRecord) -> Iterator[str]:
        """A directory that has the image's files, to be read, until the end of the block."""
        run_root = self._parts.settings.run_root
        lower = self._parts.store.layers.stack(image.layers)
        with translating(f"mount image {image.id}"), TemporaryDirectory(dir=run_root, prefix="look-") as path:
            # overlayfs wants two lower directories, and the empty one beneath hides nothing.
            mount.mount(
                "overlay",
                path,
                "overlay",
                mount.MS_RDONLY,
                overlay_options((*lower, path), "", metacopy=False),
            )
            try:
                yield path
            finally:
                mount.umount(path, mount.MNT_DETACH | mount.UMOUNT_NOFOLLOW)

    def remove(self, reference: str) -> None:
        """Remove an image with all its names; an unknown one counts as removed.

        Raises FailedPrecondition while a container uses it.
        """
        image = self.status(reference)
        if image is None:
            return
        users = self._parts.containers.list_users(image.id, image.digests)
        if users:
            raise FailedPrecondition(
                f"cannot remove image {reference!r}: container {users[0]} uses it",
                hint="remove the container first",
            )
        try:
            with self._parts.tracer.operation("remove", "image", image.id, reference):
                self._parts.store.images.remove(image.id)
        except NotFound:
            return  # another caller was faster
        self._tell("remove", image, reference)

    def fs_info(self) -> tuple[FilesystemUsage, ...]:
        """Where images are kept and what they take."""
        store = self._parts.store
        is_whole = store.places.image_root == store.root
        used_bytes, inodes = _add(store.usage(), store.shifted.usage() if is_whole else (0, 0))
        return (FilesystemUsage(time.time_ns(), store.places.image_root, used_bytes, inodes),)

    def container_fs_info(self) -> tuple[FilesystemUsage, ...]:
        """Where containers write and what that takes: the same as images, unless those have a place of their own."""
        store = self._parts.store
        if store.places.image_root == store.root:
            return self.fs_info()
        used_bytes, inodes = _add(store.snapshots.total_usage(), store.shifted.usage())
        return (FilesystemUsage(time.time_ns(), store.root, used_bytes, inodes),)


def _add(one: tuple[int, int], other: tuple[int, int]) -> tuple[int, int]:
    return one[0] + other[0], one[1] + other[1]
