"""Tokens: each lets one client in once, for the session that an RPC has prepared, within a minute."""

import secrets
import threading
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from rundlet.errors import ResourceExhausted
from rundlet.streaming.command import Wanted

TOKEN_BYTES = 12  # 16 characters of base64url
LIFETIME_S = 60.0
IN_FLIGHT_MAX = 1000


class ExecOrder(NamedTuple):
    container_id: str
    argv: Sequence[str]
    wanted: Wanted


class AttachOrder(NamedTuple):
    container_id: str
    wanted: Wanted


class ForwardOrder(NamedTuple):
    pod_id: str
    ports: Sequence[int]


Order = ExecOrder | AttachOrder | ForwardOrder


class _Entry(NamedTuple):
    order: Order
    expires_at_s: float


class Tokens:
    """Those that nobody has used yet; thread-safe."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._entries: dict[str, _Entry] = {}  # in the order in which they expire

    def issue(self, order: Order) -> str:
        """A token for one use; ResourceExhausted when too many wait to be used."""
        with self._lock:
            self._drop_expired()
            if len(self._entries) >= IN_FLIGHT_MAX:
                raise ResourceExhausted(f"{IN_FLIGHT_MAX} streaming requests wait for their clients already")
            token = secrets.token_urlsafe(TOKEN_BYTES)
            self._entries[token] = _Entry(order, self._clock() + LIFETIME_S)
            return token

    def take(self, token: str) -> Order | None:
        """What the token stands for, once; None for one that is unknown, used or too old."""
        with self._lock:
            self._drop_expired()
            entry = self._entries.pop(token, None)
            return entry.order if entry else None

    def _drop_expired(self) -> None:
        now_s = self._clock()
        for token, entry in list(self._entries.items()):
            if entry.expires_at_s > now_s:
                return
            del self._entries[token]
