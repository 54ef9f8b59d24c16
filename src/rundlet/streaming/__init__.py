"""Exec, attach and port-forward on the wire: SPDY/3.1 and WebSocket as values, without sockets or clocks."""
