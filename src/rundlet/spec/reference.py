"""Image references: [domain/]path[:tag][@digest] (distribution, reference grammar).

    redis                          docker.io/library/redis:latest
    crio/redis:alpine              docker.io/crio/redis:alpine
    localhost:5000/redis           localhost:5000/redis:latest
    quay.io/crio/redis@sha256:…    quay.io/crio/redis@sha256:…

The first component is a domain when it holds "." or ":", has an upper-case
letter or is "localhost"; otherwise the name is one of docker.io.
"""

import re
from typing import NamedTuple

from rundlet.errors import InvalidArgument
from rundlet.spec.digest import Digest, parse_digest

DEFAULT_DOMAIN = "docker.io"
DEFAULT_TAG = "latest"
_LEGACY_DOMAIN = "index.docker.io"
_OFFICIAL_PREFIX = "library/"
NAME_LENGTH_MAX = 255

_LABEL = r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)"
_DOMAIN = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?")
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_PATH = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_IMAGE_ID = re.compile(r"[a-f0-9]{64}")


class Reference(NamedTuple):
    """One image in one registry; a tag, a digest or both.

    `tag` is "" when there is a digest, and where a whole repository is meant.
    """

    domain: str
    path: str
    tag: str = DEFAULT_TAG
    digest: Digest | None = None

    @property
    def name(self) -> str:
        """The repository: "docker.io/library/redis"."""
        return f"{self.domain}/{self.path}"

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.name}{tag}{digest}"

    def scopes(self) -> tuple[str, ...]:
        """What configuration files may call it, most specific first: image, repository, namespaces, registry."""
        exact = str(self.with_digest(self.digest) if self.digest else self)
        parts = self.name.split("/")
        names = ["/".join(parts[:length]) for length in range(len(parts), 0, -1)]
        return tuple(dict.fromkeys((exact, *names)))

    def with_tag(self, tag: str) -> "Reference":
        """The same repository at `tag`, without a digest; InvalidArgument when malformed."""
        _check(_TAG.fullmatch(tag), str(self), f"malformed tag {tag!r}")
        return self._replace(tag=tag, digest=None)

    def with_digest(self, digest: Digest) -> "Reference":
        """The same repository at exactly `digest`, without a tag."""
        return self._replace(tag="", digest=digest)


def parse_reference(text: str, default_tag: str = DEFAULT_TAG) -> Reference:
    """`text` as people write it, completed by Docker's rules; InvalidArgument when malformed.

    With a `default_tag` of "" a bare repository stays one: neither tag nor digest.
    """
    _check(not _IMAGE_ID.fullmatch(text), text, "64 hex digits name an image id, not a repository")
    name, tag, digest_text = _split_reference(text)
    domain, path = _split_domain(name)
    _check(_DOMAIN.fullmatch(domain), text, f"malformed registry host {domain!r}")
    _check(path == path.lower(), text, "the repository path must be lower case")
    _check(_PATH.fullmatch(path), text, f"malformed repository path {path!r}")
    _check(len(domain) + 1 + len(path) <= NAME_LENGTH_MAX, text, f"longer than {NAME_LENGTH_MAX} characters")
    _check(tag is None or _TAG.fullmatch(tag), text, f"malformed tag {tag!r}")
    digest = None if digest_text is None else parse_digest(digest_text)
    if tag is None:
        tag = "" if digest else default_tag
    return Reference(domain, path, tag, digest)


def _split_reference(text: str) -> tuple[str, str | None, str | None]:
    """(name, tag, digest); a colon is a tag's only after the last slash."""
    rest, at, digest = text.partition("@")
    head, colon, tag = rest.rpartition(":")
    if not colon or "/" in tag:
        head, colon, tag = rest, "", ""
    return head, (tag if colon else None), (digest if at else None)


def _split_domain(name: str) -> tuple[str, str]:
    """(domain, path) with docker.io's defaults filled in."""
    first, _, rest = name.partition("/")
    if not has_domain(name):
        first, rest = DEFAULT_DOMAIN, name
    if first == _LEGACY_DOMAIN:
        first = DEFAULT_DOMAIN
    if first == DEFAULT_DOMAIN and "/" not in rest:
        rest = _OFFICIAL_PREFIX + rest
    return first, rest


def has_domain(name: str) -> bool:
    """Whether a name as written begins with a registry: "localhost/x" and "quay.io/x" do, "x/y" does not."""
    first, slash, _ = name.partition("/")
    return bool(slash) and (first == "localhost" or "." in first or ":" in first or first != first.lower())


def is_registry_host(text: str) -> bool:
    """Whether `text` can stand as the registry of a reference: a host, perhaps with a port."""
    return bool(_DOMAIN.fullmatch(text))


def _check(fine: object, text: str, reason: str) -> None:
    if not fine:
        raise InvalidArgument(f"image reference {text!r}: {reason}")
