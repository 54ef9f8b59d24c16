"""Images of this machine as objects."""

from collections.abc import Callable
from datetime import UTC, datetime

from rundlet.api.display import show_table
from rundlet.errors import NotFound
from rundlet.image.progress import PullProgress
from rundlet.local.machine import Machine
from rundlet.registry.client import Credentials
from rundlet.store.images import ImageRecord

_MB = 1_000_000


class Image:
    """One image as it was when it was asked for."""

    def __init__(self, record: ImageRecord) -> None:
        self.record = record

    @property
    def id(self) -> str:
        """The digest of its configuration ("sha256:…")."""
        return self.record.id

    @property
    def names(self) -> tuple[str, ...]:
        """Full names with their tags; none for an image that nothing names."""
        return self.record.names

    @property
    def size_bytes(self) -> int:
        """Of its layers and its configuration, as they lie in the store."""
        return self.record.size_bytes

    @property
    def created(self) -> datetime:
        """When it came here."""
        return datetime.fromtimestamp(self.record.created_at_ns / 1e9, UTC)

    @property
    def labels(self) -> dict[str, str]:
        """Those of its configuration."""
        return self.record.config.config.labels

    def __repr__(self) -> str:
        return f"<Image {self.id[7:19]} {', '.join(self.names) or '<none>'}>"

    def _repr_html_(self) -> str:
        return ImageList([self])._repr_html_()


class ImageList(list[Image]):
    """Images, and a table in notebooks."""

    def _repr_html_(self) -> str:
        rows = [
            (
                each.id[7:19],
                ", ".join(each.names),
                f"{each.size_bytes / _MB:.1f} MB",
                f"{each.created:%Y-%m-%d %H:%M}Z",
            )
            for each in self
        ]
        return show_table(("id", "names", "size", "here since"), rows)


class Images:
    """`client.images`: pull, look up, list, remove."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def pull(
        self,
        name: str,
        *,
        username: str = "",
        password: str = "",
        timeout_s: float | None = None,
        progress: Callable[[PullProgress], None] | None = None,
    ) -> Image:
        """From its registry; raises what the engine's pull raises."""
        credentials = Credentials(username=username, password=password) if username else None
        return Image(self._machine.engine.images.pull(name, credentials, timeout_s, progress))

    def get(self, name: str) -> Image:
        """By name, digest, id or the beginning of one id; NotFound."""
        record = self._machine.engine.images.status(name)
        if record is None:
            raise NotFound(f"image {name!r} is not on this machine", hint="pull it first")
        return Image(record)

    def list(self) -> ImageList:
        """Every image of this machine."""
        return ImageList(map(Image, self._machine.engine.images.list()))

    def remove(self, name: str) -> None:
        """Raises FailedPrecondition while a container uses it; an unknown one counts as removed."""
        self._machine.engine.images.remove(name)
