"""policy.json: which images may come here, and whose signature they need (containers-policy.json(5)).

    {
      "default": [REQUIREMENT, …],
      "transports": {
        "docker": {
          "registry.example/team":  [REQUIREMENT, …],     the most specific scope alone counts,
          "*.example.com":          [REQUIREMENT, …],     and all of its requirements must hold
          "":                       [REQUIREMENT, …]
        },
        "dir": {"/srv/images": [REQUIREMENT, …]}
      }
    }

    {"type": "insecureAcceptAnything"}            {"type": "reject"}
    {"type": "signedBy", "keyType": "GPGKeys", "keyPath"|"keyPaths"|"keyData": …, "signedIdentity": …}
    {"type": "sigstoreSigned", "keyPath"|"keyPaths"|"keyData"|"keyDatas"|"fulcio"|"pki": …,
     "rekorPublicKeyPath"|"…Paths"|"…Data"|"…Datas": …, "signedIdentity": …}

    {"type": "matchExact"|"matchRepoDigestOrExact"|"matchRepository"}
    {"type": "exactReference", "dockerReference": …}   {"type": "exactRepository", "dockerRepository": …}
    {"type": "remapIdentity", "prefix": …, "signedPrefix": …}

Everything is strict: an unknown, doubled or missing key refuses the whole file.
"""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from msgspec import UNSET, Struct, UnsetType

from rundlet.errors import InvalidArgument
from rundlet.spec.base64 import decode_base64
from rundlet.spec.json import convert, decode_unique
from rundlet.spec.reference import is_registry_host, parse_reference

# --- identities ----------------------------------------------------------------


class _Identity(Struct, frozen=True, forbid_unknown_fields=True, tag_field="type", rename="camel"):
    pass


class MatchExact(_Identity, frozen=True, tag="matchExact"):
    pass


class MatchRepoDigestOrExact(_Identity, frozen=True, tag="matchRepoDigestOrExact"):
    pass


class MatchRepository(_Identity, frozen=True, tag="matchRepository"):
    pass


class ExactReference(_Identity, frozen=True, tag="exactReference"):
    docker_reference: str


class ExactRepository(_Identity, frozen=True, tag="exactRepository"):
    docker_repository: str


class RemapIdentity(_Identity, frozen=True, tag="remapIdentity"):
    prefix: str
    signed_prefix: str


SignedIdentity = (
    MatchExact | MatchRepoDigestOrExact | MatchRepository | ExactReference | ExactRepository | RemapIdentity
)
_USUAL = MatchRepoDigestOrExact()

# --- keys and authorities ----------------------------------------------------------


class KeySource(NamedTuple):
    """One file of keys or certificates: a path, or its content when `path` is ""."""

    path: str = ""
    data: bytes = b""

    def describe(self) -> str:
        return self.path or "the policy's own data"


class _Keyed(Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    pass


class Fulcio(_Keyed, frozen=True):
    """A certificate of this authority, given to this mail address of this identity provider."""

    oidc_issuer: str
    subject_email: str
    ca_path: str | UnsetType = UNSET
    ca_data: str | UnsetType = UNSET

    @property
    def authority(self) -> KeySource:
        return _sources(self, "ca_path", "ca_data")[0]


class Pki(_Keyed, frozen=True):
    """A certificate of somebody's own authority, for a mail address, a host name or both."""

    subject_email: str = ""
    subject_hostname: str = ""
    ca_roots_path: str | UnsetType = UNSET
    ca_roots_data: str | UnsetType = UNSET
    ca_intermediates_path: str | UnsetType = UNSET
    ca_intermediates_data: str | UnsetType = UNSET

    @property
    def roots(self) -> KeySource:
        return _sources(self, "ca_roots_path", "ca_roots_data")[0]

    @property
    def intermediates(self) -> tuple[KeySource, ...]:
        return _sources(self, "ca_intermediates_path", "ca_intermediates_data")


# --- requirements --------------------------------------------------------------------


class _Requirement(Struct, frozen=True, forbid_unknown_fields=True, tag_field="type", rename="camel"):
    pass


class AcceptAnything(_Requirement, frozen=True, tag="insecureAcceptAnything"):
    pass


class Reject(_Requirement, frozen=True, tag="reject"):
    pass


class SignedBy(_Requirement, frozen=True, tag="signedBy"):
    """Simple signing by one of these GPG keys."""

    key_type: Literal["GPGKeys"]
    key_path: str | UnsetType = UNSET
    key_paths: tuple[str, ...] | UnsetType = UNSET
    key_data: str | UnsetType = UNSET
    signed_identity: SignedIdentity = _USUAL

    @property
    def keys(self) -> tuple[KeySource, ...]:
        return _sources(self, "key_path", "key_paths", "key_data")


class SigstoreSigned(_Requirement, frozen=True, tag="sigstoreSigned"):
    """A sigstore signature by one of these keys, or by one that an authority vouches for."""

    key_path: str | UnsetType = UNSET
    key_paths: tuple[str, ...] | UnsetType = UNSET
    key_data: str | UnsetType = UNSET
    key_datas: tuple[str, ...] | UnsetType = UNSET
    fulcio: Fulcio | UnsetType = UNSET
    pki: Pki | UnsetType = UNSET
    rekor_public_key_path: str | UnsetType = UNSET
    rekor_public_key_paths: tuple[str, ...] | UnsetType = UNSET
    rekor_public_key_data: str | UnsetType = UNSET
    rekor_public_key_datas: tuple[str, ...] | UnsetType = UNSET
    signed_identity: SignedIdentity = _USUAL

    @property
    def keys(self) -> tuple[KeySource, ...]:
        return _sources(self, *_SIGSTORE_KEYS)

    @property
    def rekor_keys(self) -> tuple[KeySource, ...]:
        return _sources(self, *_REKOR_KEYS)


_SIGSTORE_KEYS = ("key_path", "key_paths", "key_data", "key_datas")
_REKOR_KEYS = tuple(f"rekor_public_{name}" for name in _SIGSTORE_KEYS)

Requirement = AcceptAnything | Reject | SignedBy | SigstoreSigned
Requirements = tuple[Requirement, ...]


class Policy(NamedTuple):
    """`transports` maps a transport's name and a scope to requirements; scope "" is all of the transport."""

    default: Requirements
    transports: Mapping[str, Mapping[str, Requirements]] = {}


ACCEPT_ANYTHING = Policy((AcceptAnything(),))
REJECT_ALL = Policy((Reject(),))


# --- parsing -----------------------------------------------------------------------


def parse_policy(raw: bytes, what: str) -> Policy:
    """A policy file; InvalidArgument "FILE: transports.docker.quay.io[0].keyPath: …" for any fault."""
    document = _members(decode_unique(raw, what), what, ("default", "transports"))
    if "default" not in document:
        raise InvalidArgument(f"{what}: default: missing")
    default = _parse_requirements(document["default"], f"{what}: default")
    transports = _members(document.get("transports", {}), f"{what}: transports")
    return Policy(
        default,
        {
            name: _parse_scopes(name, scopes, f"{what}: transports.{name}")
            for name, scopes in transports.items()
        },
    )


def _members(value: Any, what: str, known: tuple[str, ...] = ()) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidArgument(f"{what}: expected object, got {type(value).__name__}")
    for key in value:
        if known and key not in known:
            raise InvalidArgument(f"{what}: {key}: unknown key", hint=f"known are {', '.join(known)}")
    return value


def _parse_scopes(transport: str, value: Any, what: str) -> dict[str, Requirements]:
    scopes = _members(value, what)
    for scope in scopes:
        fault = _find_scope_fault(transport, scope)
        if fault:
            raise InvalidArgument(f"{what}.{scope}: {fault}")
    return {scope: _parse_requirements(listed, f"{what}.{scope}") for scope, listed in scopes.items()}


_PATHS = frozenset({"dir", "oci", "oci-archive", "sif"})
_NO_SCOPES = frozenset({"docker-archive", "tarball"})


def _find_scope_fault(transport: str, scope: str) -> str:
    """Why no image of the transport can ever have this scope, "" when one can."""
    if not scope:
        return ""
    if transport in _NO_SCOPES:
        return 'this transport has the scope "" only'
    if transport in _PATHS:
        parts = scope.split("/")
        plain = scope.startswith("/") and not {"", ".", ".."} & set(parts[1:])
        return "" if plain else "expected an absolute path without . or .. and other than /"
    if transport == "containers-storage" and not scope.startswith("["):
        return "expected [DRIVER@ROOT] and perhaps a name"
    return ""


def _parse_requirements(value: Any, what: str) -> Requirements:
    if not isinstance(value, list):
        raise InvalidArgument(f"{what}: expected array, got {type(value).__name__}")
    if not value:
        raise InvalidArgument(
            f"{what}: no requirements", hint="insecureAcceptAnything and reject say it aloud"
        )
    return tuple(_parse_requirement(one, f"{what}[{index}]") for index, one in enumerate(value))


def _parse_requirement(value: Any, what: str) -> Requirement:
    requirement: Requirement = convert(value, Requirement, what)  # type: ignore[arg-type]
    if isinstance(requirement, SignedBy):
        _require_one(requirement, what, ("key_path", "key_paths", "key_data"))
    if isinstance(requirement, SigstoreSigned):
        _check_sigstore(requirement, what)
    if isinstance(requirement, SignedBy | SigstoreSigned):
        _check_identity(requirement.signed_identity, f"{what}.signedIdentity")
    return requirement


def _check_sigstore(requirement: SigstoreSigned, what: str) -> None:
    _require_one(requirement, what, (*_SIGSTORE_KEYS, "fulcio", "pki"))
    _require_one(requirement, what, _REKOR_KEYS, least=1 if requirement.fulcio else 0)
    if requirement.fulcio:
        _require_one(requirement.fulcio, f"{what}.fulcio", ("ca_path", "ca_data"))
        _require(requirement.fulcio.oidc_issuer, f"{what}.fulcio.oidcIssuer", "empty")
        _require(requirement.fulcio.subject_email, f"{what}.fulcio.subjectEmail", "empty")
    if requirement.pki:
        pki = requirement.pki
        _require_one(pki, f"{what}.pki", ("ca_roots_path", "ca_roots_data"))
        _require_one(pki, f"{what}.pki", ("ca_intermediates_path", "ca_intermediates_data"), least=0)
        _require(
            pki.subject_email or pki.subject_hostname, f"{what}.pki", "no subjectEmail and no subjectHostname"
        )
        _require(not requirement.rekor_keys, f"{what}.pki", "Rekor keys cannot be combined with it")


def _require_one(value: Struct, what: str, names: tuple[str, ...], least: int = 1) -> None:
    """Exactly one of the fields is there (at most one with `least` 0), and it can be used."""
    given = [name for name in names if getattr(value, name) is not UNSET]
    if not least <= len(given) <= 1:
        listed = ", ".join(_camel(name) for name in names)
        raise InvalidArgument(f"{what}: {'exactly' if least else 'at most'} one of {listed} is needed")
    for name in given:
        _check_source(getattr(value, name), f"{what}.{_camel(name)}", is_data="data" in name)


def _check_source(value: object, what: str, *, is_data: bool) -> None:
    if not isinstance(value, str | tuple):
        return  # fulcio and pki have checks of their own
    listed = (value,) if isinstance(value, str) else value
    _require(listed and all(listed), what, "empty")
    for one in listed if is_data else ():
        decode_base64(one, what)


def _sources(value: Struct, *names: str) -> tuple[KeySource, ...]:
    """What the fields name, which `_require_one` has checked."""
    found: list[KeySource] = []
    for name in names:
        given = getattr(value, name)
        listed = () if given is UNSET else (given,) if isinstance(given, str) else given
        found += [
            KeySource(data=decode_base64(one, name)) if "data" in name else KeySource(one) for one in listed
        ]
    return tuple(found)


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def _check_identity(identity: SignedIdentity, what: str) -> None:
    if isinstance(identity, ExactReference):
        reference = _parse_name(identity.docker_reference, f"{what}.dockerReference")
        _require(reference, f"{what}.dockerReference", "neither a tag nor a digest")
    if isinstance(identity, ExactRepository):
        _parse_name(identity.docker_repository, f"{what}.dockerRepository")
    if isinstance(identity, RemapIdentity):
        _check_prefix(identity.prefix, f"{what}.prefix")
        _check_prefix(identity.signed_prefix, f"{what}.signedPrefix")


def _parse_name(text: str, what: str) -> bool:
    """Whether the valid name `text` has a tag or digest."""
    try:
        reference = parse_reference(text, default_tag="")
    except InvalidArgument as error:
        raise InvalidArgument(f"{what}: {error.message}") from error
    return bool(reference.tag or reference.digest)


def _check_prefix(prefix: str, what: str) -> None:
    """A registry, or a complete name without tag and digest."""
    if is_registry_host(prefix):
        return
    bare = not _parse_name(prefix, what) and str(parse_reference(prefix, default_tag="")) == prefix
    _require(bare, what, "expected a registry, a namespace or a repository, in full")


def _require(fine: object, what: str, reason: str) -> None:
    if not fine:
        raise InvalidArgument(f"{what}: {reason}")
