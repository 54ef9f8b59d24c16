"""Work inside another network namespace, by a thread that lives no longer than that.

setns(2) with CLONE_NEWNET changes the calling thread alone.  A thread of its own
cannot be forgotten in the wrong place, and takes 0.2 ms where a process took 50.
"""

import os
import socket
import threading
from collections.abc import Callable
from typing import TypeVar

from rundlet.errors import Error, NotFound, Unavailable
from rundlet.kernel.namespace import CLONE_NEWNET, setns
from rundlet.netlink.socket import NETLINK_ROUTE

T = TypeVar("T")


def run_inside(netns_fd: int, action: Callable[[], T], what: str) -> T:
    """What `action` answers, called by a thread in the namespace; its errors are this function's.

    `what` names the namespace when it cannot be entered, which is Unavailable.
    """
    answers: list[T] = []
    failed: list[BaseException] = []

    def work() -> None:
        try:
            setns(netns_fd, CLONE_NEWNET)
        except OSError as error:
            failed.append(Unavailable(f"cannot enter network namespace {what}: {error.strerror}"))
            return
        try:
            answers.append(action())
        except (Error, OSError) as error:
            failed.append(error)

    thread = threading.Thread(target=work, name="inside a namespace")
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return answers[0]


def open_route_socket(netns_path: str) -> int:
    """A NETLINK_ROUTE socket made inside the namespace; the file descriptor is the caller's to close.

    Raises NotFound when there is no such namespace.
    """
    try:
        netns_fd = os.open(netns_path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise NotFound(f"network namespace {netns_path!r} does not exist") from error
    except OSError as error:
        raise Unavailable(f"cannot enter network namespace {netns_path}: {error.strerror}") from error
    try:
        return run_inside(netns_fd, _open_route, netns_path)
    finally:
        os.close(netns_fd)


def open_host_netns() -> int:
    """The namespace of this thread; the file descriptor is the caller's to close."""
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def _open_route() -> int:
    return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_ROUTE).detach()
