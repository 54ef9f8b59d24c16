"""The keeper's socket: packets of anything, with any descriptors; each is answered or its connection closed.

What the verbs read of a request before they do something is done here; no descriptor is left behind.
"""

import json
import os
import socket
from typing import Any

from rundlet.errors import Error
from rundlet.keeper.core import check_id
from rundlet.keeper.loop import Loop
from rundlet.keeper.protocol import PACKET_MAX_BYTES, receive_packet, to_exit, to_state
from rundlet.keeper.server import Request, Server
from rundlet.plan.container import decode_plan, read_outline
from rundlet.plan.process import ProcessPlan, decode_process, encode_process
from tests.fuzz.mutation import of_json
from tests.fuzz.script import read_script, to_bytes, to_number

_PLAN = {
    "container_id": "c", "clone": ["pid"], "pid_namespace": "", "cgroup": ["/a", [["memory", "memory.max", "1"]]],
    "entry": [["JoinCgroup", ["/x"]]], "setup": [["SetHostname", "h"]], "user": None, "hooks": None, "traced": False,
    "process": encode_process(ProcessPlan(("a",), ("A=b",), "/")),
}  # fmt: skip
_VERBS = [
    ["json", {"id": 1, "verb": "remove_pod", "args": {"pod_id": "p"}}, 0], ["json", {"id": 2, "verb": "create", "args": {"plan": _PLAN}}, 1],
    ["json", {"id": 3, "verb": "exec", "args": {"container_id": "c", "process": _PLAN["process"]}}, 3],
    ["json", {"id": 4, "verb": "state", "args": {"fields": ["running", 1, 2, ["c", "", 0, 0, False, 3]]}}, 0], ["body", '{"id":5}', 1],
]  # fmt: skip
SEEDS = tuple(
    json.dumps(script).encode()
    for script in (_VERBS, [["raw", '{"body":true}', 0]], [["raw", "[1]", 2]], [["raw", "[" * 30, 1]])
)
MUTATE = of_json('json raw body id verb args remove_pod create exec state {"body":true} ' + "[" * 3000)


def _serve_remove_pod(request: Request) -> None:
    request.answer({"id": check_id(request.args["pod_id"])})


def _serve_create(request: Request) -> None:
    outline = read_outline(request.args["plan"])
    decode_plan(request.args["plan"])
    request.answer({"id": check_id(outline.container_id)})


def _serve_exec(request: Request) -> None:
    request.answer({"program": decode_process(request.args["process"]).args})


def _serve_state(request: Request) -> None:
    state = to_state(request.args["fields"])
    request.answer({"exit": to_exit(state.exit) if state.exit else None})


_TABLE = {
    "remove_pod": _serve_remove_pod,
    "create": _serve_create,
    "exec": _serve_exec,
    "state": _serve_state,
}


def check(data: bytes) -> None:
    script = read_script(data)
    before = len(os.listdir("/proc/self/fd"))
    loop, listener = Loop(), socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
    try:
        listener.bind(
            ""
        )  # an abstract name of the kernel's choice: no file, and other namespaces do not see it
        listener.listen()
        server = Server(loop, listener, _TABLE)
        for step in script:
            _send(listener.getsockname(), loop, step)
        assert len(server.clients) == 0
        server.close()
    finally:
        listener.close()
        loop.close()
    assert len(os.listdir("/proc/self/fd")) == before


def _send(address: bytes, loop: Loop, step: list[Any]) -> None:
    """One packet on a connection of its own, which the keeper answers or closes."""
    word, value, count = (*step, "", 0)[:3]
    raw = json.dumps(value).encode() if word == "json" else to_bytes(value)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC) as client:
        client.connect(address)
        fds = [os.memfd_create("fuzz", os.MFD_CLOEXEC) for _ in range(to_number(count, 6))]
        try:
            if word == "body" and fds:
                os.write(fds[0], raw)
                raw = b'{"body":true}'
            socket.send_fds(client, [raw[:PACKET_MAX_BYTES]], fds)
        finally:
            for fd in fds:
                os.close(fd)
        while loop.turn(0):
            pass
        client.setblocking(False)
        _read_answer(client)
    while loop.turn(0):
        pass


def _read_answer(client: socket.socket) -> None:
    try:
        packet = receive_packet(client)
    except BlockingIOError:
        raise AssertionError("neither answered nor closed") from None
    except Error as error:
        raise AssertionError(f"an answer that cannot be read: {error}") from error
    assert packet is None or {"ok", "error"} & packet.message.keys()
