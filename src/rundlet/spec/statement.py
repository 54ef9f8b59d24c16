"""What an attested signature says of an image: in-toto's statement, as `cosign sign` makes it since version 3.

    {"_type":         "https://in-toto.io/Statement/v1",
     "subject":       [{"name": "registry.example/app", "digest": {"sha256": hex}}],     name: may be missing
     "predicateType": "https://sigstore.dev/cosign/sign/v1",
     "predicate":     {}}

Statements of other predicate types (provenance, bills of materials) are about an image, too, but nobody
says by them that it may run.
"""

from typing import Any, Final, Literal

from msgspec import Struct, field

from rundlet.errors import InvalidArgument
from rundlet.spec.claim import Claim
from rundlet.spec.digest import parse_digest
from rundlet.spec.json import convert, decode_unique
from rundlet.spec.reference import parse_reference

STATEMENT_TYPE: Final = "application/vnd.in-toto+json"
SIGN_PREDICATE: Final = "https://sigstore.dev/cosign/sign/v1"
_ALGORITHMS: Final = ("sha256", "sha512")


class _Subject(Struct, frozen=True):
    digest: dict[str, str]
    name: str = ""


class _Statement(Struct, frozen=True, rename="camel"):
    type: Literal["https://in-toto.io/Statement/v1", "https://in-toto.io/Statement/v0.1"] = field(
        name="_type"
    )
    predicate_type: str
    subject: tuple[_Subject, ...]
    predicate: dict[str, Any] = {}


def parse_statement(payload: bytes, what: str) -> Claim:
    """A verified payload as a Claim, without a reference when the signer named no image.

    Raises InvalidArgument for anything but one image that somebody signed.
    """
    statement = convert(decode_unique(payload, what), _Statement, what)
    if statement.predicate_type != SIGN_PREDICATE:
        raise InvalidArgument(f"{what}: a statement of another kind, {statement.predicate_type!r}")
    if len(statement.subject) != 1:
        raise InvalidArgument(f"{what}: expected one subject, got {len(statement.subject)}")
    (subject,) = statement.subject
    algorithm = next((known for known in _ALGORITHMS if known in subject.digest), None)
    if algorithm is None:
        raise InvalidArgument(f"{what}: subject[0].digest: neither sha256 nor sha512")
    digest = parse_digest(f"{algorithm}:{subject.digest[algorithm]}")
    return Claim(digest, parse_reference(subject.name, default_tag="") if subject.name else None)
