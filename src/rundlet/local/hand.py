"""The minder's hand: has the engine, does what is due, and leaves when the next thing is a while away.

    stdin    a line each time that something has happened; its end: the minder has gone
    stdout   one JSON object at the end: heeded, at_ns, needed (`rundlet.local.minder.Answer`)

What comes soon is waited for here: another hand would cost more than the wait.
"""

import fcntl
import json
import os
import queue
import sys
import threading
import time
from typing import Literal

from rundlet.local.machine import Machine
from rundlet.local.minding import Outlook
from rundlet.local.wish import SETTINGS, read_settings

Word = Literal["look", "done", "end"]

_LINGER_NS = 3 * 10**9
_NS = 10**9


def _listen(words: "queue.Queue[Word]") -> None:
    for _ in sys.stdin.buffer:
        words.put("look")
    words.put("end")


def work(machine: Machine, words: "queue.Queue[Word]") -> dict[str, object]:
    """Until nothing is to be done for a while, or the minder has gone; what it is to hear."""
    heeded = 0
    minding = machine.open_minding(lambda: words.put("done"))
    outlook = minding.look()
    while outlook.busy or _is_soon(outlook) or not words.empty():
        for word in _await(words, outlook):
            if word == "end":
                return {}
            heeded += word == "look"
        outlook = minding.look()
    return {"heeded": heeded, "at_ns": outlook.at_ns, "needed": outlook.needed}


def _is_soon(outlook: Outlook) -> bool:
    return bool(outlook.at_ns) and outlook.at_ns - time.time_ns() < _LINGER_NS


def _await(words: "queue.Queue[Word]", outlook: Outlook) -> list[Word]:
    """All words that are there, once there is one or the time has come."""
    patience_s = max(0.0, (outlook.at_ns - time.time_ns()) / _NS) if outlook.at_ns else None
    found: list[Word] = []
    try:
        found.append(words.get(timeout=patience_s))
        while True:
            found.append(words.get_nowait())
    except queue.Empty:
        return found


def main() -> None:
    settings = read_settings(os.environ[SETTINGS])
    directory = f"{settings.places.run_root}/local"
    os.makedirs(directory, mode=0o700, exist_ok=True)
    # A killed minder's hand may still be finishing its last act.
    lock = os.open(f"{directory}/hand.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    words: queue.Queue[Word] = queue.Queue()
    threading.Thread(target=_listen, args=(words,), daemon=True).start()
    with Machine(settings) as machine:
        answer = work(machine, words)
    if answer:
        os.write(1, json.dumps(answer).encode())
    os._exit(0)  # threads that listen are not waited for


if __name__ == "__main__":
    main()
