"""usermode: a pod's network by a process of an ordinary user, slirp4netns or pasta.

A plugin of its own kind: who may make no interface on the host has no other.  slirp4netns comes
first, as it needs nothing of the host's addresses; {"program": "pasta"} in the network's
configuration asks for the other.

    <run dir>/<container>-<ifname>.*    the process (`network.userprocess`)

It is killed when the pod leaves the network.
"""

import logging
import os
import shutil
from collections.abc import Sequence
from typing import Any, Final

from rundlet.errors import FailedPrecondition, Unavailable
from rundlet.kernel.failure import translating
from rundlet.netlink import address, link
from rundlet.netlink.socket import NetlinkSocket
from rundlet.network import pasta, slirp
from rundlet.network.call import Builtin, Call
from rundlet.network.loopback import set_loopback_up
from rundlet.network.userprocess import (
    Files,
    end,
    find_process,
    last_words,
    note,
    publish,
    spawn,
    start_slirp,
)
from rundlet.spec.cni import Interface, IpConfig, Result

TYPE: Final = "usermode"
_PROGRAMS: Final = (slirp.PROGRAM, pasta.PROGRAM)
_INSTALL: Final = "install slirp4netns, or passt for pasta"
_log = logging.getLogger(__name__)


class UserMode(Builtin):
    """`run_dir` does not survive a reboot, as the processes do not."""

    def __init__(self, run_dir: str) -> None:
        self._run_dir = run_dir

    def add(self, call: Call) -> Result:
        """Without either program a pod gets a loopback and a warning; published ports are refused then."""
        mappings = call.conf.get("runtimeConfig", {}).get("portMappings") or []
        program = _find_program(call)
        if not program:
            if mappings:
                raise FailedPrecondition(f"{call.what}: no program to publish ports with", hint=_INSTALL)
            _log.warning("%s: the pod has a loopback only; to reach others %s", call.what, _INSTALL)
            set_loopback_up(call.attachment.route_fd)
            return Result()
        files = self._files(call)
        with translating(f"{call.what}: start {program}"):
            os.makedirs(self._run_dir, mode=0o700, exist_ok=True)
            return self._start(program, call, files, mappings)

    def _start(self, program: str, call: Call, files: Files, mappings: Sequence[dict[str, Any]]) -> Result:
        pod = call.attachment
        try:
            if program == pasta.PROGRAM:
                _start_pasta(pasta.plan_words(pod.netns_path, pod.ifname, files.path("pid"), mappings), files)
                return _read_result(call)
            start_slirp(pod.netns_path, pod.ifname, files, call.what)
            for mapping in mappings:
                publish(files, mapping)
        except BaseException:
            end(files)
            raise
        return slirp.describe_result(pod.ifname, pod.netns_path)

    def delete(self, call: Call) -> None:
        end(self._files(call))

    def check(self, call: Call) -> None:
        if find_process(self._files(call)) < 0:
            raise FailedPrecondition(f"{call.what}: the process that is the pod's network has ended")

    def status(self, call: Call) -> None:
        if not _find_program(call):
            raise FailedPrecondition(f"{call.what}: no program for it", hint=_INSTALL)

    def collect(self, call: Call) -> None:
        kept = {f"{owner.container_id}-{owner.ifname}" for owner in call.valid}
        names = {entry.removesuffix(".json") for entry in _list(self._run_dir) if entry.endswith(".json")}
        for name in names - kept:
            end(Files(self._run_dir, name))

    def _files(self, call: Call) -> Files:
        return Files(self._run_dir, "-".join(call.owner))


def _find_program(call: Call) -> str:
    """Empty where nothing of the kind is installed."""
    wanted = call.conf.get("program")
    names = (wanted,) if wanted in _PROGRAMS else _PROGRAMS
    return next((name for name in names if shutil.which(name)), "")


def _start_pasta(words: Sequence[str], files: Files) -> None:
    """Its first process ends when the other one, in the background, has set all up."""
    pid = spawn(words, files, {})
    _, status = os.waitpid(pid, 0)
    if status:
        raise Unavailable(f"{pasta.PROGRAM}: {last_words(files)}")
    with open(files.path("pid"), encoding="ascii") as file:
        note(files, int(file.read()))
    os.unlink(files.path("pid"))


def _read_result(call: Call) -> Result:
    """What pasta gave the pod: as its interface says."""
    pod = call.attachment
    with NetlinkSocket(fd=pod.route_fd) as route:
        found = link.find_link(route, pod.ifname)
        if found is None:
            raise Unavailable(f"{call.what}: {pasta.PROGRAM} made no interface")
        own = map(address.parse_address, route.dump(address.list_addresses(found.ifindex)))
        ips = [one.ip for one in own if not one.link_local]
    return Result(
        interfaces=(Interface(pod.ifname, mac=found.mac, sandbox=pod.netns_path),),
        ips=tuple(IpConfig(str(ip), interface=0) for ip in ips),
    )


def _list(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except FileNotFoundError:
        return []
