"""`top`: the processes of a container, in podman's default columns or others that are named."""

import os
import pwd
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import click

from rundlet.cli.help import examples
from rundlet.cli.local.command import local_command
from rundlet.cli.local.context import latest_container, pass_machine
from rundlet.cli.local.rows import format_columns
from rundlet.errors import InvalidArgument
from rundlet.local.words.numbers import suggest

if TYPE_CHECKING:
    from rundlet.local.machine import Machine

_DEFAULT = ("user", "pid", "ppid", "pcpu", "etime", "tty", "time", "args")
_TICKS = os.sysconf("SC_CLK_TCK")


class Process(NamedTuple):
    """From /proc/PID/{stat,status,cmdline}, proc(5); `pid` and `ppid` as the container numbers them."""

    host_pid: int
    pid: int
    ppid: int
    uid: int
    state: str
    comm: str
    args: str
    cpu_s: float
    age_s: float
    rss_kib: int
    vsz_kib: int
    tty: int


_COLUMNS: dict[str, Callable[[Process], str]] = {
    "user": lambda found: _name_user(found.uid),
    "uid": lambda found: str(found.uid),
    "pid": lambda found: str(found.pid),
    "ppid": lambda found: str(found.ppid),
    "hpid": lambda found: str(found.host_pid),
    "pcpu": lambda found: f"{100 * found.cpu_s / max(found.age_s, 0.01):.3f}",
    "etime": lambda found: f"{found.age_s:.3f}s",
    "time": lambda found: f"{found.cpu_s:.0f}s",
    "tty": lambda found: f"pts/{found.tty & 0xFF}" if found.tty else "?",
    "args": lambda found: found.args,
    "comm": lambda found: found.comm,
    "state": lambda found: found.state,
    "rss": lambda found: str(found.rss_kib),
    "vsz": lambda found: str(found.vsz_kib),
}
_HEADINGS = {"pcpu": "%CPU", "etime": "ELAPSED", "args": "COMMAND", "comm": "COMMAND", "time": "TIME"}


@local_command(epilog=examples("rundlet top db", "rundlet top db pid user args"))
@click.argument("words", nargs=-1, metavar="CONTAINER [COLUMN]...")
@click.option("-l", "--latest", is_flag=True, help="The container that was made last.")
@pass_machine
def command(machine: "Machine", words: tuple[str, ...], latest: bool) -> None:
    """List the processes of a container."""
    name, *columns = [latest_container(machine).id, *words] if latest else (words or ("",))
    if not name:
        raise InvalidArgument("name a container")
    wanted = [part.lower() for word in columns for part in word.split(",")] or list(_DEFAULT)
    for column in wanted:
        if column not in _COLUMNS:
            raise InvalidArgument(f"unknown column {column!r}", hint=suggest(column, _COLUMNS))
    pids = machine.engine.containers.pids(machine.containers.get(name).id)
    rows = [[_COLUMNS[column](found) for column in wanted] for found in map(_read, pids) if found]
    print(format_columns([[_HEADINGS.get(column, column.upper()) for column in wanted], *rows]), end="")


def _read(pid: int) -> Process | None:
    """None when it has ended meanwhile."""
    try:
        stat, status, cmdline = (_read_file(pid, name) for name in ("stat", "status", "cmdline"))
    except OSError:
        return None
    comm, _, rest = stat.partition("(")[2].rpartition(")")
    fields = rest.split()
    facts = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    inside = [int(number) for number in facts.get("NSpid", str(pid)).split()]
    begun_s = int(fields[19]) / _TICKS
    return Process(
        host_pid=pid,
        pid=inside[-1],
        ppid=_find_inside(int(fields[1])) if inside[-1] != 1 else 0,
        uid=int(facts["Uid"].split()[0]),
        state=fields[0],
        comm=comm,
        args=cmdline.replace("\0", " ").strip() or f"[{comm}]",
        cpu_s=(int(fields[11]) + int(fields[12])) / _TICKS,
        age_s=time.clock_gettime(time.CLOCK_BOOTTIME) - begun_s,
        rss_kib=int(facts.get("VmRSS", "0 kB").split()[0]),
        vsz_kib=int(facts.get("VmSize", "0 kB").split()[0]),
        tty=int(fields[4]),
    )


def _find_inside(pid: int) -> int:
    try:
        line = next(line for line in _read_file(pid, "status").splitlines() if line.startswith("NSpid:"))
    except (OSError, StopIteration):
        return 0
    return int(line.split()[-1])


def _read_file(pid: int, name: str) -> str:
    with open(f"/proc/{pid}/{name}", encoding="utf-8", errors="replace") as file:
        return file.read()


def _name_user(uid: int) -> str:
    """By this host's list: the container's is not ours to read."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
