"""registries.d: where the signatures of a registry's images are (containers-registries.d(5)).

    default-docker: SECTION
    docker:
      registry.example/team:            a registry, namespace, repository or image
        lookaside: https://…            read from here, and written here when it is file:///…
        lookaside-staging: file:///…    written here instead
        use-sigstore-attachments: true  signatures beside the image, in the registry

The old names sigstore and sigstore-staging mean the lookaside ones.  The files of the directory
count as one; no scope may be there twice.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from msgspec import Struct

from rundlet.errors import InvalidArgument
from rundlet.spec.json import convert
from rundlet.spec.reference import Reference


class Section(Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    """What is said of one scope; None is what is left to a wider one."""

    lookaside: str | None = None
    lookaside_staging: str | None = None
    sigstore: str | None = None
    sigstore_staging: str | None = None
    use_sigstore_attachments: bool | None = None

    @property
    def reading(self) -> str | None:
        return self.lookaside or self.sigstore

    @property
    def writing(self) -> str | None:
        return self.lookaside_staging or self.sigstore_staging or self.reading


class RegistriesD(NamedTuple):
    """`default` is that of registries without a section."""

    default: Section | None = None
    docker: Mapping[str, Section] = {}

    def sections(self, reference: Reference) -> Iterator[Section]:
        """What is said of an image, the most specific first."""
        yield from (self.docker[scope] for scope in reference.scopes() if scope in self.docker)
        if self.default:
            yield self.default

    def find_lookaside(self, reference: Reference, *, write: bool = False) -> str:
        """The URL below which an image's signatures are, "" for none."""
        urls = (one.writing if write else one.reading for one in self.sections(reference))
        return next(filter(None, urls), "")

    def uses_attachments(self, reference: Reference) -> bool:
        """Whether sigstore signatures are read and written beside the image in its registry."""
        said = (one.use_sigstore_attachments for one in self.sections(reference))
        return next((one for one in said if one is not None), False)


class _Document(Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    default_docker: Section | None = None
    docker: dict[str, Section] | None = None


def _load_yaml(text: str, what: str) -> Any:
    """Plain values; a key that stands twice in one mapping is refused: YAML's own rule, which PyYAML passes over."""
    import yaml  # a slow import, and most hosts have no such file

    class UniqueLoader(yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader):  # type: ignore[misc]
        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            keys = [key.value for key, _ in node.value]
            for key in keys:
                if keys.count(key) > 1:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"key {key!r} is there twice", node.start_mark
                    )
            found: dict[Any, Any] = super().construct_mapping(node, deep)
            return found

    try:
        return yaml.load(text, Loader=UniqueLoader)  # noqa: S506 - a SafeLoader
    except yaml.YAMLError as error:
        raise InvalidArgument(f"{what}: {' '.join(str(error).split())}") from error


def parse_registries_d(text: str, what: str) -> RegistriesD:
    """One file; InvalidArgument "FILE: docker.quay.io.lookaside: …"."""
    value = _load_yaml(text, what)
    if value is None:
        return RegistriesD()
    document = convert(value, _Document, what)
    return RegistriesD(document.default_docker, document.docker or {})


def merge_registries_d(files: Iterable[tuple[str, RegistriesD]]) -> RegistriesD:
    """All files by name; InvalidArgument when two speak of the same scope."""
    merged = RegistriesD()
    origin: dict[str, str] = {}
    for path, file in files:
        scopes = [*file.docker, *(["default-docker"] if file.default else [])]
        for scope in scopes:
            if scope in origin:
                raise InvalidArgument(f"{path}: {scope}: said in {origin[scope]} already")
            origin[scope] = path
        merged = RegistriesD(file.default or merged.default, {**merged.docker, **file.docker})
    return merged
