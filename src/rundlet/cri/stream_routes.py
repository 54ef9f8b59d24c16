"""From a client's request to its session: token, transport, protocol."""

from rundlet.cri.stream_command import CommandSession
from rundlet.cri.stream_forward import ForwardSession
from rundlet.cri.stream_session import Session
from rundlet.cri.stream_socket import ClientSocket
from rundlet.cri.stream_tokens import AttachOrder, ExecOrder, ForwardOrder, Order, Tokens
from rundlet.engine.engine import Engine
from rundlet.engine.streams import ProcessStreams
from rundlet.streaming import channels, portforward
from rundlet.streaming.channels import choose_protocol
from rundlet.streaming.command import CommandServer
from rundlet.streaming.handshake import SPDY, WEBSOCKET, Upgrade, refuse
from rundlet.streaming.lanes import Lanes, SpdyLanes, WebSocketLanes
from rundlet.streaming.portforward import (
    PORTS_MAX,
    ForwardServer,
    PlainWire,
    SpdyForwardServer,
    TunnelWire,
    WebSocketForwardServer,
)

KINDS: dict[type[Order], str] = {ExecOrder: "exec", AttachOrder: "attach", ForwardOrder: "portforward"}

_COMMAND_PROTOCOLS = {SPDY: tuple(channels.SPDY_DIALECTS), WEBSOCKET: tuple(channels.WEBSOCKET_DIALECTS)}
_FORWARD_PROTOCOLS = {
    SPDY: (portforward.SPDY_PROTOCOL,),
    WEBSOCKET: (portforward.TUNNEL_PROTOCOL, *portforward.WEBSOCKET_DIALECTS),
}


class Refused(Exception):
    """The client gets this HTTP answer instead of a session."""

    def __init__(self, status: int, message: str, accepted: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.answer = refuse(status, message, accepted)


class Ticket:
    """A request that may come in: what it is for, and the protocol that both ends speak."""

    def __init__(self, order: Order, upgrade: Upgrade, protocol: str) -> None:
        self.order = order
        self.upgrade = upgrade
        self.protocol = protocol


def check_request(upgrade: Upgrade, tokens: Tokens) -> Ticket:
    """Raises Refused; the token is used up only by a request that could use it."""
    kind, _, token = upgrade.path.removeprefix("/").partition("/")
    if upgrade.method not in ("GET", "POST") or kind not in KINDS.values():
        raise Refused(404, "there is nothing here")
    if not upgrade.transport:
        raise Refused(400, "unable to upgrade: ask for SPDY/3.1 or websocket")
    known = (_FORWARD_PROTOCOLS if kind == "portforward" else _COMMAND_PROTOCOLS)[upgrade.transport]
    if upgrade.transport == SPDY and not upgrade.protocols:
        raise Refused(400, "unable to upgrade: X-Stream-Protocol-Version is missing")
    protocol = choose_protocol(upgrade.protocols, known)
    if protocol is None:
        raise Refused(403, f"unable to upgrade: none of {', '.join(upgrade.protocols)} is spoken here", known)
    order = tokens.take(token)
    if order is None or KINDS[type(order)] != kind:
        raise Refused(404, "no such token: it is unknown, used or older than a minute")
    return Ticket(order, upgrade, protocol)


def make_session(engine: Engine, ticket: Ticket, sock: ClientSocket, idle_timeout_s: float) -> Session:
    """Raises Refused for ports that are none."""
    order = ticket.order
    if isinstance(order, ForwardOrder):
        forward = _make_forward(ticket, order)
        return ForwardSession(
            sock, forward, lambda port: engine.pods.port_forward(order.pod_id, port), idle_timeout_s
        )
    return CommandSession(sock, _make_command(ticket, order), lambda: _start(engine, order), idle_timeout_s)


def _make_command(ticket: Ticket, order: ExecOrder | AttachOrder) -> CommandServer:
    lanes: Lanes
    if ticket.upgrade.transport == WEBSOCKET:
        dialect = channels.WEBSOCKET_DIALECTS[ticket.protocol]
        lanes = WebSocketLanes(dialect, is_client=False)
    else:
        dialect = channels.SPDY_DIALECTS[ticket.protocol]
        lanes = SpdyLanes(order.wanted.lanes(dialect), is_client=False)
    return CommandServer(lanes, order.wanted, dialect)


def _start(engine: Engine, order: ExecOrder | AttachOrder) -> ProcessStreams:
    wanted = order.wanted
    if isinstance(order, AttachOrder):
        return engine.containers.attach(
            order.container_id, stdin=wanted.stdin, stdout=wanted.stdout, stderr=wanted.stderr
        )
    return engine.containers.exec_stream(
        order.container_id,
        order.argv,
        stdin=wanted.stdin,
        stdout=wanted.stdout,
        stderr=wanted.stderr,
        terminal=wanted.terminal,
    )


def _make_forward(ticket: Ticket, order: ForwardOrder) -> ForwardServer:
    if ticket.upgrade.transport == SPDY:
        return SpdyForwardServer(PlainWire())
    if ticket.protocol == portforward.TUNNEL_PROTOCOL:
        return SpdyForwardServer(TunnelWire(is_client=False))
    ports = _read_ports(ticket.upgrade) or order.ports
    if not 0 < len(ports) <= PORTS_MAX:
        raise Refused(400, f"port: name 1 to {PORTS_MAX} ports")
    return WebSocketForwardServer(ports, portforward.WEBSOCKET_DIALECTS[ticket.protocol])


def _read_ports(upgrade: Upgrade) -> tuple[int, ...]:
    """From "?port=80,443&port=8080"."""
    texts = [text for key, value in upgrade.query if key == "port" for text in value.split(",")]
    if not all(text.isascii() and text.isdigit() and 0 < int(text[:6]) <= 65535 for text in texts):
        raise Refused(400, "port: expected numbers from 1 to 65535")
    return tuple(map(int, texts))
