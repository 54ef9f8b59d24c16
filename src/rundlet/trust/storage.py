"""Where the signatures of images in registries are, by registries.d: read from all kinds of places, added to them."""

from collections.abc import Sequence

from rundlet.errors import FailedPrecondition
from rundlet.registry.access import Registries, Remote
from rundlet.registry.conffiles import list_directory, read_text
from rundlet.registry.places import Places
from rundlet.spec.digest import Digest
from rundlet.spec.reference import Reference
from rundlet.spec.registriesd import RegistriesD, merge_registries_d, parse_registries_d
from rundlet.trust.extension import add_extension, keeps_signatures, read_extension
from rundlet.trust.lookaside import add_lookaside, read_lookaside
from rundlet.trust.signature import SimpleSignature, decode_signature, encode_signature


def load_registries_d(places: Places, directory: str = "") -> RegistriesD:
    """What `directory` says, or else the first of the usual ones that has anything.

    Raises InvalidArgument "FILE: docker.quay.io.lookaside: …".
    """
    for candidate in (directory,) if directory else places.registries_d:
        files = [path for path in list_directory(candidate) if path.endswith(".yaml")]
        texts = [(path, text) for path in files if (text := read_text(path)) is not None]
        if texts:
            return merge_registries_d((path, parse_registries_d(text, path)) for path, text in texts)
    return RegistriesD()


class SignatureStorage:
    """Signatures of remote images, encoded as `trust.signature` draws; the files are read at each call."""

    def __init__(self, registries: Registries, directory: str = "") -> None:
        self._registries = registries
        self._directory = directory

    def read(self, remote: Remote, digest: Digest, *, deadline_ns: int | None = None) -> tuple[bytes, ...]:
        """All signatures of the manifest `digest`, none of them verified."""
        conf = load_registries_d(self._registries.places, self._directory)
        found = self._read_simple(conf, remote, digest, deadline_ns)
        if conf.uses_attachments(remote.reference):
            from rundlet.trust.attachments import read_attachments  # slow, and few hosts have them
            from rundlet.trust.referrers import read_referrers

            attached = read_attachments(remote, digest, deadline_ns=deadline_ns)
            attached += read_referrers(remote, digest, deadline_ns=deadline_ns)
            found += [encode_signature(signature) for signature in attached]
        return tuple(found)

    def add(self, remote: Remote, digest: Digest, signatures: Sequence[bytes]) -> None:
        """Keep signatures of the manifest `digest` beside those that are there.

        Raises FailedPrecondition where registries.d gives them no place.
        """
        conf = load_registries_d(self._registries.places, self._directory)
        decoded = [decode_signature(signature) for signature in signatures]
        simple = [one.message for one in decoded if isinstance(one, SimpleSignature)]
        attached = [one for one in decoded if not isinstance(one, SimpleSignature)]
        if simple and keeps_signatures(remote):
            add_extension(remote, digest, simple)
        elif simple:
            base = self._lookaside(conf, remote.reference, write=True)
            add_lookaside(base, remote.reference, digest, simple)
        if attached and not conf.uses_attachments(remote.reference):
            raise FailedPrecondition(
                f"{remote.reference}: sigstore signatures are switched off for this registry",
                hint="registries.d: use-sigstore-attachments: true",
            )
        from rundlet.trust.attachments import add_attachments  # slow, and most copies only read
        from rundlet.trust.bundle import is_bundle
        from rundlet.trust.referrers import add_referrers

        bundles = [one for one in attached if is_bundle(one.media_type)]
        claims = [one for one in attached if not is_bundle(one.media_type)]
        if claims:
            add_attachments(remote, digest, claims)
        if bundles:
            add_referrers(remote, digest, bundles)

    def _read_simple(
        self, conf: RegistriesD, remote: Remote, digest: Digest, deadline_ns: int | None
    ) -> list[bytes]:
        if keeps_signatures(remote, deadline_ns=deadline_ns):
            return read_extension(remote, digest, deadline_ns=deadline_ns)
        return read_lookaside(
            self._lookaside(conf, remote.reference),
            remote.reference,
            digest,
            lambda url: self._registries.read_url(url, deadline_ns=deadline_ns),
        )

    def _lookaside(self, conf: RegistriesD, reference: Reference, *, write: bool = False) -> str:
        usual = f"file://{self._registries.places.lookaside_dir}"
        return conf.find_lookaside(reference, write=write) or usual
