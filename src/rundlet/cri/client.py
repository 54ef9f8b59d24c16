"""A typed CRI client for any runtime: rundletd, CRI-O, containerd.

with Client("unix:///run/rundlet/rundlet.sock") as client:
    answer = client.call(client.runtime.Version, api.VersionRequest())
"""

from types import TracebackType
from typing import Self, TypeVar

import grpc
from google.protobuf.message import Message

from rundlet.cri.endpoint import check_endpoint, socket_path
from rundlet.cri.errors import error_from_call
from rundlet.cri.proto import api_pb2_grpc
from rundlet.errors import Unavailable

Request = TypeVar("Request", bound=Message)
Answer = TypeVar("Answer", bound=Message)

MESSAGE_LIMIT_BYTES = 80 * (1 << 20)


def _open_channel(address: str) -> grpc.Channel:
    """A proxy from the environment is never wanted for a unix socket."""
    size = [(f"grpc.max_{way}_message_length", MESSAGE_LIMIT_BYTES) for way in ("send", "receive")]
    return grpc.insecure_channel(
        f"unix:{socket_path(address)}", options=[*size, ("grpc.enable_http_proxy", 0)]
    )


class Client:
    """Both services of one runtime; `image_endpoint` may name another socket for images."""

    def __init__(self, endpoint: str, *, image_endpoint: str = "", connect_timeout_s: float = 2.0) -> None:
        """Raises what check_endpoint raises when nobody answers."""
        self._addresses = tuple(dict.fromkeys((endpoint, image_endpoint or endpoint)))
        self._connect_timeout_s = connect_timeout_s
        self._check()
        self._channels = {address: _open_channel(address) for address in self._addresses}
        self.runtime = api_pb2_grpc.RuntimeServiceStub(self._channels[endpoint])
        self.images = api_pb2_grpc.ImageServiceStub(self._channels[image_endpoint or endpoint])
        self.channel = self._channels[endpoint]

    def _check(self) -> None:
        for address in self._addresses:
            check_endpoint(address, self._connect_timeout_s)

    def call(
        self,
        rpc: "grpc.UnaryUnaryMultiCallable[Request, Answer]",
        request: Request,
        timeout_s: float | None = None,
    ) -> Answer:
        """One call; None waits as long as the runtime takes.

        Raises the rundlet error that the gRPC status stands for.
        """
        try:
            return rpc(request, timeout=timeout_s)
        except grpc.RpcError as failure:
            error = error_from_call(failure)
            if isinstance(error, Unavailable):
                self._check()  # says in plain words when the runtime itself is gone
            raise error from failure

    def close(self) -> None:
        """Close the connections; calls under way are cancelled."""
        for channel in self._channels.values():
            channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
