"""What every command shares: where the runtime is, and one client to it, made on first use.

Each setting comes from the option, else the environment, else /etc/crictl.yaml,
else the default.
"""

import os
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self, TypeVar

from rundlet.cli.duration import parse_duration
from rundlet.cri.endpoint import check_endpoint, find_endpoint
from rundlet.errors import InvalidArgument, NotFound

if TYPE_CHECKING:
    import grpc
    from google.protobuf.message import Message

    from rundlet.cri.client import Client
    from rundlet.cri.proto.api_pb2_grpc import ImageServiceStub, RuntimeServiceStub

    Request = TypeVar("Request", bound=Message)
    Answer = TypeVar("Answer", bound=Message)

DEFAULT_CONFIG = "/etc/crictl.yaml"
DEFAULT_TIMEOUT_S = 2.0


class FileSettings(NamedTuple):
    """The keys of crictl.yaml that this client knows."""

    runtime_endpoint: str = ""
    image_endpoint: str = ""
    timeout_s: float = DEFAULT_TIMEOUT_S
    pull_image_on_create: bool = False


def read_settings(path: str, *, required: bool) -> FileSettings:
    """crictl.yaml as FileSettings; defaults when the file is absent and not `required`."""
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except FileNotFoundError as error:
        if required:
            raise NotFound(f"no client configuration at {path}") from error
        return FileSettings()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidArgument(f"cannot read {path}: {error}") from error
    return _parse_settings(text, path)


def _parse_settings(text: str, path: str) -> FileSettings:
    import yaml

    try:
        table = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise InvalidArgument(f"{path}: {' '.join(str(error).split())}") from error
    if not isinstance(table, dict):
        raise InvalidArgument(f"{path}: expected key: value lines")
    timeout_s = parse_duration(str(table.get("timeout", ""))) if table.get("timeout") else DEFAULT_TIMEOUT_S
    return FileSettings(
        runtime_endpoint=str(table.get("runtime-endpoint") or ""),
        image_endpoint=str(table.get("image-endpoint") or ""),
        timeout_s=timeout_s,
        pull_image_on_create=table.get("pull-image-on-create") is True,
    )


class Session:
    """One command's connection; closed when the command ends."""

    def __init__(
        self, runtime_endpoint: str, image_endpoint: str, timeout: float | None, config: str, **_: Any
    ) -> None:
        path = config or os.environ.get("CRI_CONFIG_FILE", "")
        self.settings = read_settings(path or DEFAULT_CONFIG, required=bool(path))
        self.endpoint = (
            runtime_endpoint
            or os.environ.get("CONTAINER_RUNTIME_ENDPOINT", "")
            or self.settings.runtime_endpoint
            or find_endpoint()
        )
        self.image_endpoint = (
            image_endpoint
            or os.environ.get("IMAGE_SERVICE_ENDPOINT", "")
            or self.settings.image_endpoint
            or self.endpoint
        )
        self.timeout_s = timeout or self.settings.timeout_s

    @cached_property
    def client(self) -> "Client":
        """Raises what check_endpoint raises, before the 0.2 s that gRPC takes to import."""
        check_endpoint(self.endpoint, self.timeout_s)
        import rundlet.cri.absent  # noqa: F401 - before gRPC, which imports what it leaves out
        from rundlet.cri.client import Client

        return Client(self.endpoint, image_endpoint=self.image_endpoint, connect_timeout_s=self.timeout_s)

    @property
    def runtime(self) -> "RuntimeServiceStub":
        return self.client.runtime

    @property
    def images(self) -> "ImageServiceStub":
        return self.client.images

    def call(
        self,
        rpc: "grpc.UnaryUnaryMultiCallable[Request, Answer]",
        request: "Request",
        timeout_s: float | None = None,
    ) -> "Answer":
        """One call; no time limit unless given."""
        import logging  # slow for commands that never come here

        log = logging.getLogger(__name__)
        log.debug("request %s: %s", type(request).__name__, request)
        answer = self.client.call(rpc, request, timeout_s)
        log.debug("answer %s: %s", type(answer).__name__, answer)
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if "client" in self.__dict__:
            self.client.close()
