"""RPCs that send their client on to the streaming server: Exec, Attach, PortForward."""

from grpc import ServicerContext as Context

from rundlet.cri.checks import require_text
from rundlet.cri.proto import api_pb2 as api
from rundlet.cri.proto import api_pb2_grpc
from rundlet.cri.stream_server import StreamServer
from rundlet.cri.stream_tokens import AttachOrder, ExecOrder, ForwardOrder
from rundlet.engine.engine import Engine
from rundlet.errors import FailedPrecondition, InvalidArgument, NotFound, Unavailable
from rundlet.streaming.command import Wanted


def read_wanted(request: api.ExecRequest | api.AttachRequest) -> Wanted:
    """Raises InvalidArgument for no stream at all, and for a terminal with a stderr of its own."""
    if not (request.stdin or request.stdout or request.stderr):
        raise InvalidArgument("one of stdin, stdout, stderr must be set")
    if request.tty and request.stderr:
        raise InvalidArgument("stderr: a terminal has none of its own; tty and stderr cannot be had together")
    return Wanted(request.stdin, request.stdout, request.stderr, request.tty)


class StreamRpcs(api_pb2_grpc.RuntimeServiceServicer):
    engine: Engine
    streams: StreamServer | None

    def _server(self) -> StreamServer:
        if self.streams is None:
            raise Unavailable("this daemon has no streaming server")
        return self.streams

    def Exec(self, request: api.ExecRequest, _: Context) -> api.ExecResponse:
        wanted = read_wanted(request)
        if not request.cmd:
            raise InvalidArgument("cmd: must not be empty")
        container = self.engine.containers.status(require_text(request.container_id, "container_id"))
        if container.state != "running":
            raise NotFound(f"container {container.id} is not running: it is {container.state}")
        order = ExecOrder(container.id, tuple(request.cmd), wanted)
        return api.ExecResponse(url=self._server().url(order))

    def Attach(self, request: api.AttachRequest, _: Context) -> api.AttachResponse:
        wanted = read_wanted(request)
        container = self.engine.containers.status(require_text(request.container_id, "container_id"))
        if container.state not in ("created", "running"):
            raise FailedPrecondition(f"cannot attach to container {container.id}: it is {container.state}")
        return api.AttachResponse(url=self._server().url(AttachOrder(container.id, wanted)))

    def PortForward(self, request: api.PortForwardRequest, _: Context) -> api.PortForwardResponse:
        pod = self.engine.pods.status(require_text(request.pod_sandbox_id, "pod_sandbox_id"))
        if pod.state != "ready":
            raise FailedPrecondition(f"cannot forward ports of pod {pod.id}: it is {pod.state}")
        for port in request.port:
            if not 0 < port <= 65535:
                raise InvalidArgument(f"port: must lie between 1 and 65535, got {port}")
        return api.PortForwardResponse(url=self._server().url(ForwardOrder(pod.id, tuple(request.port))))
