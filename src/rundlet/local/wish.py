"""The wish that somebody minds this machine's containers, as the keeper is told it."""

import os
import sys
import threading
from collections.abc import Sequence

from msgspec import json

from rundlet.engine.engine import Engine
from rundlet.keeper.handles import Lease
from rundlet.kernel.failure import translating
from rundlet.local.records import LocalRecord
from rundlet.local.settings import MachineSettings

SETTINGS = "RUNDLET_MACHINE"
_BOOTSTRAP = (
    "import sys; sys.path.insert(0, sys.argv[1]); from rundlet import lean; lean.install();"
    " from rundlet.local.minder import main; main(sys.argv[1:])"
)
# What the minder's processes take over; no secret of the caller's is among them.
_INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS")
_PREFIX = "RUNDLET_"
_COME_BACK = ("always", "unless-stopped")


class Wishes:
    """For one machine."""

    def __init__(self, engine: Engine, settings: MachineSettings, *, keeps_lease: bool = False) -> None:
        """`keeps_lease`: it is not let go when nobody is attended any more, for the next will come soon."""
        self._engine = engine
        self._settings = settings
        self._keeps_lease = keeps_lease
        self._guard = threading.Lock()
        self._attended: set[str] = set()
        self._lease: Lease | None = None

    def wish(self, *, look: bool) -> None:
        """Have a minder; `look`: there is something to do at once."""
        self._engine.keep_minder(self._argv(), _environment(self._settings), look=look)

    def attend(self, container_id: str) -> None:
        """This process sees to the container's end itself; a minder does should it be killed before."""
        with self._guard:
            self._lease = self._lease or self._take_lease()
            self._attended.add(container_id)

    def _take_lease(self) -> Lease:
        return self._engine.expect_minder(self._argv(), _environment(self._settings))

    def renew(self) -> None:
        """The keeper that had the lease may have died, and the next one knows of none."""
        with self._guard:
            if self._lease is not None:
                fresh = self._take_lease()
                self._lease.release()
                self._lease = fresh

    def has_settled(self, container_id: str) -> None:
        """It has seen to it."""
        with self._guard:
            self._attended.discard(container_id)
            if self._lease is not None and not self._attended and not self._keeps_lease:
                self._lease.release()
                self._lease = None

    def attended(self) -> Sequence[str]:
        """Whose end this process sees to."""
        with self._guard:
            return sorted(self._attended)

    def close(self) -> None:
        """Nothing ends for who is attended: a minder sees to them from now on."""
        with self._guard:
            lease, self._lease = self._lease, None
            if lease is not None:
                if self._attended:
                    lease.close()
                else:
                    lease.release()

    def _argv(self) -> list[str]:
        source = os.path.abspath(f"{os.path.dirname(__file__)}/../..")
        return [sys.executable, "-I", "-S", "-c", _BOOTSTRAP, source, self._settings.places.run_root]


def _environment(settings: MachineSettings) -> dict[str, str]:
    kept = {
        name: value for name, value in os.environ.items() if name in _INHERITED or name.startswith(_PREFIX)
    }
    return kept | {SETTINGS: json.encode(settings).decode()}


def is_first_since_boot(settings: MachineSettings, records: Sequence[LocalRecord]) -> bool:
    """Whether containers may have to come back that a boot has ended; says so once a boot.

    The mark lies in the run root, which the boot takes away.
    """
    if not any(record.asked.restart.name in _COME_BACK for record in records):
        return False
    directory = f"{settings.places.run_root}/local"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    with translating(f"write {directory}/minded"):
        os.makedirs(directory, mode=0o700, exist_ok=True)
        try:
            os.close(os.open(f"{directory}/minded", flags, 0o600))
        except FileExistsError:
            return False
    return True


def read_settings(text: str) -> MachineSettings:
    """What the environment passed on."""
    return json.decode(text, type=MachineSettings)
