"""RPCs that send their client on to the streaming server: Exec, Attach, PortForward."""

from grpc import ServicerContext as Context

from rundlet.cri.proto import api_pb2 as api
from rundlet.cri.proto import api_pb2_grpc
from rundlet.cri.stream_server import StreamServer
from rundlet.cri.stream_tokens import AttachOrder, ExecOrder, ForwardOrder
from rundlet.engine.engine import Engine
from rundlet.errors import Unavailable
from rundlet.streaming.command import Wanted


def read_wanted(request: api.ExecRequest | api.AttachRequest) -> Wanted:
    return Wanted(request.stdin, request.stdout, request.stderr, request.tty)


class StreamRpcs(api_pb2_grpc.RuntimeServiceServicer):
    engine: Engine
    streams: StreamServer | None

    def _server(self) -> StreamServer:
        if self.streams is None:
            raise Unavailable("this daemon has no streaming server")
        return self.streams

    def Exec(self, request: api.ExecRequest, _: Context) -> api.ExecResponse:
        wanted, argv = read_wanted(request), tuple(request.cmd)
        container_id = self.engine.containers.check_exec(request.container_id, argv, **wanted._asdict())
        return api.ExecResponse(url=self._server().url(ExecOrder(container_id, argv, wanted)))

    def Attach(self, request: api.AttachRequest, _: Context) -> api.AttachResponse:
        wanted = read_wanted(request)
        container_id = self.engine.containers.check_attach(request.container_id, **wanted._asdict())
        return api.AttachResponse(url=self._server().url(AttachOrder(container_id, wanted)))

    def PortForward(self, request: api.PortForwardRequest, _: Context) -> api.PortForwardResponse:
        ports = tuple(request.port)
        pod_id = self.engine.pods.check_port_forward(request.pod_sandbox_id, ports)
        return api.PortForwardResponse(url=self._server().url(ForwardOrder(pod_id, ports)))
