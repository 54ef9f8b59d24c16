"""A health check from without: a connection to a port of a container's loopback, and with http its answer.

tcp://:PORT          somebody listens
http://:PORT/PATH    the answer to GET has a status from 200 to 399, as the kubelet has it
"""

import select
import socket
import time
from urllib.parse import urlsplit

from rundlet.engine.engine import Engine
from rundlet.engine.streams import Dial
from rundlet.errors import DeadlineExceeded, InvalidArgument

_ANSWER_MAX = 500
_GOOD = range(200, 400)


def probe_url(engine: Engine, container_id: str, url: str, timeout_s: float) -> tuple[int, str]:
    """0 for a success, else 1, and what was seen.

    Raises Unavailable where nobody listens, DeadlineExceeded, and InvalidArgument for another kind of url.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("tcp", "http") or not parts.port:
        raise InvalidArgument(f"health check {url!r}: expected tcp://:PORT or http://:PORT/PATH")
    deadline = time.monotonic() + timeout_s
    pod_id = engine.containers.status(container_id).pod_id
    with _connect(engine.pods.port_forward(pod_id, parts.port), url, deadline) as connection:
        if parts.scheme == "tcp":
            return 0, ""
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        return _ask(connection, path or "/", url, deadline)


def _connect(dial: Dial, url: str, deadline: float) -> socket.socket:
    try:
        while True:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([], [dial], [], left)[1]:
                raise DeadlineExceeded(f"{url}: no connection in time")
            connection = dial.advance()
            if connection is not None:
                return connection
    finally:
        dial.close()


def _ask(connection: socket.socket, path: str, url: str, deadline: float) -> tuple[int, str]:
    import http.client  # slow, and few containers are asked by HTTP

    connection.settimeout(max(0.001, deadline - time.monotonic()))
    client = http.client.HTTPConnection("localhost")
    client.sock = connection
    try:
        client.request("GET", path, headers={"User-Agent": "rundlet-probe", "Connection": "close"})
        answer = client.getresponse()
        text = answer.read(_ANSWER_MAX).decode(errors="replace")
    except TimeoutError as error:
        raise DeadlineExceeded(f"{url}: no answer in time") from error
    except (OSError, http.client.HTTPException) as error:
        return 1, f"{url}: {error}"
    return (0 if answer.status in _GOOD else 1), f"{answer.status} {answer.reason}: {text}"
