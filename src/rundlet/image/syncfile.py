"""The YAML file that says what a sync copies (skopeo-sync(1)).

registry.example.com:
  images:                          repository → tags and digests; [] means all tags
    busybox: []
    redis: ["1.0", "sha256:…"]
  images-by-tag-regex:             repository → a regular expression that a tag contains
    nginx: ^1[.]13[.][12]$
  images-by-semver:                repository → a range of versions
    alpine: ">= 3.12"
  platforms:                       rundlet's own: repository → the images of an index to take
    redis: [linux/amd64, linux/arm64]
  credentials: {username: john, password: this is a secret}
  tls-verify: true
  cert-dir: /home/john/certs
"""

import re
from typing import Any

from msgspec import Struct, field

from rundlet.errors import InvalidArgument
from rundlet.image.files import read_document
from rundlet.image.semver import Range, parse_range
from rundlet.spec.descriptor import Platform, parse_platform
from rundlet.spec.json import convert

_PATTERN_LENGTH_MAX = 1000


class Login(Struct, frozen=True, forbid_unknown_fields=True):
    username: str = ""
    password: str = ""


class _Registry(Struct, frozen=True, rename="kebab", forbid_unknown_fields=True):
    images: dict[str, tuple[str, ...]] = field(default_factory=dict)
    images_by_tag_regex: dict[str, str] = field(default_factory=dict)
    images_by_semver: dict[str, str] = field(default_factory=dict)
    platforms: dict[str, tuple[str, ...]] = field(default_factory=dict)
    credentials: Login = Login()
    tls_verify: bool | None = None
    cert_dir: str = ""


class Wanted(Struct, frozen=True):
    """Images of one repository: `tags` (or digests), or those that `pattern` or `versions` fits.

    Without any of them, all tags.
    """

    repository: str
    tags: tuple[str, ...] = ()
    pattern: re.Pattern[str] | None = None
    versions: Range | None = None
    platforms: tuple[Platform, ...] = ()


class SyncRegistry(Struct, frozen=True):
    """What is wanted of one registry, and how it is reached."""

    host: str
    wanted: tuple[Wanted, ...]
    credentials: Login
    tls_verify: bool | None
    cert_dir: str


def read_sync_file(path: str) -> list[SyncRegistry]:
    """Raises NotFound, InvalidArgument "FILE: registry.example.com.images.redis: …"."""
    import yaml

    try:
        value = yaml.safe_load(read_document(path, f"sync file {path}"))
    except yaml.YAMLError as error:
        raise InvalidArgument(f"{path}: {' '.join(str(error).split())}") from error
    if not isinstance(value, dict):
        raise InvalidArgument(f"{path}: expected registries, each with its images")
    return [_read_registry(path, str(host), table) for host, table in value.items()]


def _read_registry(path: str, host: str, table: Any) -> SyncRegistry:
    what = f"{path}: {host}"
    registry = convert(_fill_in(table), _Registry, what)
    wanted = [Wanted(name, tuple(tags)) for name, tags in registry.images.items()]
    for name, pattern in registry.images_by_tag_regex.items():
        wanted.append(Wanted(name, pattern=_compile(pattern, f"{what}.images-by-tag-regex.{name}")))
    for name, text in registry.images_by_semver.items():
        wanted.append(Wanted(name, versions=parse_range(text)))
    unknown = registry.platforms.keys() - {each.repository for each in wanted}
    if unknown:
        raise InvalidArgument(f"{what}.platforms.{min(unknown)}: no such image is wanted")
    platforms = {name: tuple(map(parse_platform, texts)) for name, texts in registry.platforms.items()}
    return SyncRegistry(
        host,
        tuple(
            Wanted(
                each.repository, each.tags, each.pattern, each.versions, platforms.get(each.repository, ())
            )
            for each in wanted
        ),
        registry.credentials,
        registry.tls_verify,
        registry.cert_dir,
    )


def _fill_in(table: Any) -> Any:
    """YAML writes a repository without tags as null, and some tags as numbers."""
    if not isinstance(table, dict):
        return table
    images = table.get("images")
    if isinstance(images, dict):
        table = {**table, "images": {str(name): _fill_in_tags(tags) for name, tags in images.items()}}
    return {key: value for key, value in table.items() if value is not None}


def _fill_in_tags(tags: Any) -> Any:
    return [str(tag) for tag in tags] if isinstance(tags, list) else [] if tags is None else tags


def _compile(pattern: str, what: str) -> re.Pattern[str]:
    if len(pattern) > _PATTERN_LENGTH_MAX:
        raise InvalidArgument(f"{what}: longer than {_PATTERN_LENGTH_MAX} characters")
    try:
        return re.compile(pattern)
    except re.error as error:
        raise InvalidArgument(f"{what}: {error}") from error
