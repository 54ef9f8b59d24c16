"""sd_notify(3): tell the service manager how far the daemon is; nothing happens without one."""

import logging
import os
import socket

log = logging.getLogger(__name__)


def notify(*lines: str) -> None:
    """Send "READY=1" and the like to $NOTIFY_SOCKET; a leading "@" names an abstract socket."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            sock.connect("\0" + address[1:] if address[0] == "@" else address)
            sock.send("\n".join(lines).encode())
    except OSError as error:
        log.warning("cannot notify the service manager at %s: %s", address, error.strerror)
