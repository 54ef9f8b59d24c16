"""A built-in plugin as a CNI executable: parameters by environment, configuration on stdin, JSON on stdout.

CNI SPEC.md §2.  `rundlet cni-install DIR` writes a launcher for each that ends here.
One process does one verb, alone, so it may enter the pod's namespace itself; only
the module of its own type is imported.
"""

import importlib
import os
import re
import socket
import sys
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from rundlet import errors
from rundlet.kernel.namespace import CLONE_NEWNET, setns
from rundlet.netlink.socket import NETLINK_ROUTE
from rundlet.network.call import Attachment, Builtin, Call, Plugin
from rundlet.network.lock import hold
from rundlet.spec import json
from rundlet.spec.cni import VERSIONS, Result, encode_result, parse_result

# The locks of networks stand where the engine has them: both may serve one bridge.
LOCK_DIR = "/var/lib/cni/locks"

# Names of networks, containers and interfaces become parts of paths.
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")

# type → (module, class, takes an IPAM plugin, takes the ruleset)
_TYPES: dict[str, tuple[str, str, bool, bool]] = {
    "bridge": ("bridge", "Bridge", True, True),
    "host-local": ("hostlocal", "HostLocal", False, False),
    "loopback": ("loopback", "Loopback", False, False),
    "portmap": ("portmap", "Portmap", False, True),
    "firewall": ("firewall", "Firewall", False, True),
    "bandwidth": ("bandwidth", "Bandwidth", False, False),
    "tuning": ("tuning", "Tuning", False, False),
    "ptp": ("ptp", "Ptp", True, True),
    "host-device": ("hostdevice", "HostDevice", True, False),
    "macvlan": ("macvlan", "Macvlan", True, False),
}

# CNI SPEC.md "Error": 1–7 and 11 have a meaning, 50 that no ADD can be served; from 100 on it is ours.
_CODES: dict[type[errors.Error], int] = {
    errors.Unimplemented: 2,
    errors.NotFound: 3,
    errors.InvalidArgument: 7,
    errors.Unavailable: 11,
    errors.AlreadyExists: 101,
    errors.FailedPrecondition: 102,
    errors.ResourceExhausted: 103,
    errors.PermissionDenied: 104,
}
_CODE_VERSION, _CODE_ENVIRONMENT, _CODE_NOT_AVAILABLE, _CODE_OTHER = 1, 4, 50, 100


class Failure(Exception):
    """`code` and `msg` of an error result."""

    def __init__(self, code: int, message: str, details: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = details


class Question(NamedTuple):
    """What was asked, before anything is opened for it."""

    command: str
    version: str
    conf: dict[str, Any]


def main(kind: str) -> None:
    """Run the verb in CNI_COMMAND for plugin `kind`; ends the process."""
    version = VERSIONS[-1]
    try:
        question = read_question(os.environ, sys.stdin.buffer.read)
        version = question.version
        answer = run(kind, question, os.environ)
    except Failure as failure:
        code, message, details = failure.code, failure.message, failure.details
    except errors.Error as error:
        code, message, details = _code_of(os.environ.get("CNI_COMMAND", ""), error), error.message, error.hint
    else:
        sys.stdout.buffer.write(answer)
        return
    document = {"cniVersion": version, "code": code, "msg": message, "details": details}
    sys.stdout.buffer.write(json.encode(document))
    sys.exit(1)


def read_question(environment: Mapping[str, str], read: Callable[[], bytes]) -> Question:
    """The verb and its configuration; Failure with the specification's code for what is wrong."""
    command = environment.get("CNI_COMMAND", "")
    if not command:
        raise Failure(
            _CODE_ENVIRONMENT, "CNI_COMMAND is not set", "this is a CNI plugin, for a runtime to call"
        )
    if command == "VERSION":
        return Question(command, VERSIONS[-1], {})
    try:
        conf = json.decode(read(), dict, "configuration on stdin")
    except errors.InvalidArgument as error:
        raise Failure(6, error.message) from error
    version = conf.get("cniVersion") or VERSIONS[0]
    if version not in VERSIONS:
        raise Failure(_CODE_VERSION, f"cniVersion {version!r} is not supported", f"{', '.join(VERSIONS)} are")
    if not isinstance(conf.get("name"), str) or not _NAME.fullmatch(conf["name"]):
        raise Failure(7, f"name: {conf.get('name')!r} is not a network's name")
    return Question(command, version, conf)


def run(kind: str, question: Question, environment: Mapping[str, str]) -> bytes:
    """What goes to stdout."""
    if question.command == "VERSION":
        return json.encode({"cniVersion": VERSIONS[-1], "supportedVersions": VERSIONS})
    plugin = make_plugin(kind, environment.get("CNI_PATH", ""))
    call = _make_call(kind, question, environment)
    if question.command == "ADD":
        return encode_result(plugin.add(call), question.version)
    if question.command == "DEL":
        plugin.delete(call)
        if kind == "portmap":
            plugin.retire(call)  # nobody says when a network's last pod leaves, and this one can see it
    elif question.command == "GC":
        with call.lock():
            plugin.collect(call)
    else:
        {"CHECK": plugin.check, "STATUS": plugin.status}[question.command](call)
    return b""


def make_plugin(kind: str, path: str) -> Builtin:
    """The plugin of type `kind`; `path` is CNI_PATH, where its IPAM plugin is if that is not host-local."""
    module, name, takes_ipam, takes_ruleset = _TYPES[kind]
    arguments: list[Any] = []
    if takes_ipam:
        arguments.append(lambda ipam: _find_ipam(ipam, path))
    if takes_ruleset:
        arguments.append(importlib.import_module("rundlet.network.ruleset").Ruleset())
    plugin: Builtin = getattr(importlib.import_module(f"rundlet.network.{module}"), name)(*arguments)
    return plugin


def _find_ipam(kind: str, path: str) -> Plugin:
    if kind == "host-local":
        return make_plugin(kind, path)
    from rundlet.network.program import Program

    return Program(path.split(os.pathsep), timeout_s=60)


def _make_call(kind: str, question: Question, environment: Mapping[str, str]) -> Call:
    conf = question.conf
    if isinstance(conf.get("runtimeConfig"), dict):
        conf = {**conf, "runtimeConfig": _name_as_conventions(conf["runtimeConfig"])}
    network = conf["name"]
    attachment = Attachment("", "")
    if question.command in {"ADD", "DEL", "CHECK"}:
        attachment = _make_attachment(question.command, environment)
    elif question.command not in {"STATUS", "GC"}:
        raise Failure(_CODE_ENVIRONMENT, f"CNI_COMMAND {question.command!r} is no verb of CNI")
    return Call(
        network=network,
        version=question.version,
        type=kind,
        conf=conf,
        attachment=attachment,
        previous=_read_previous(question),
        lock=lambda: hold(LOCK_DIR, network),
    )


def _name_as_conventions(arguments: dict[str, Any]) -> dict[str, Any]:
    """Capability arguments with the members' names of CONVENTIONS.md.

    containerd writes {"HostPort": 80} (go-cni's structs have no tags), which a Go
    plugin reads as "hostPort": encoding/json takes no notice of case.
    """
    known = {"portMappings", "bandwidth", "ipRanges", "dns"}
    return {name: _decapitalize(value) if name in known else value for name, value in arguments.items()}


def _decapitalize(value: Any) -> Any:
    if isinstance(value, list):
        return [_decapitalize(one) for one in value]
    if isinstance(value, dict):
        return {key[:1].lower() + key[1:]: _decapitalize(one) for key, one in value.items()}
    return value


def _read_previous(question: Question) -> Result | None:
    document = question.conf.get("prevResult")
    if not document:
        return None
    return parse_result(json.encode(document), question.version, "prevResult")


def _make_attachment(command: str, environment: Mapping[str, str]) -> Attachment:
    needed = ["CNI_CONTAINERID", "CNI_IFNAME", *(["CNI_NETNS"] if command != "DEL" else [])]
    missing = [name for name in needed if not environment.get(name)]
    if missing:
        raise Failure(_CODE_ENVIRONMENT, f"not set: {', '.join(missing)}")
    for name in ("CNI_CONTAINERID", "CNI_IFNAME"):
        if not _NAME.fullmatch(environment[name]):
            raise Failure(_CODE_ENVIRONMENT, f"{name}: {environment[name]!r} has the wrong form")
    if len(environment["CNI_IFNAME"]) > 15:
        raise Failure(_CODE_ENVIRONMENT, f"CNI_IFNAME: {environment['CNI_IFNAME']!r} is too long")
    path = environment.get("CNI_NETNS", "")
    netns_fd = route_fd = -1
    if command != "DEL":
        netns_fd, route_fd = _enter(path)
    pairs = (pair.partition("=") for pair in environment.get("CNI_ARGS", "").split(";") if pair)
    return Attachment(
        environment["CNI_CONTAINERID"],
        environment["CNI_IFNAME"],
        netns_path=path,
        netns_fd=netns_fd,
        route_fd=route_fd,
        args=tuple((key, value) for key, _, value in pairs),
    )


def _enter(path: str) -> tuple[int, int]:
    """The namespace and a route socket inside it, both until this process ends."""
    home = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        netns_fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        setns(netns_fd, CLONE_NEWNET)
    except OSError as error:
        raise Failure(3, f"cannot enter network namespace {path}: {error.strerror}") from error
    route = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_ROUTE)
    setns(home, CLONE_NEWNET)
    os.close(home)
    return netns_fd, route.detach()


def _code_of(command: str, error: errors.Error) -> int:
    return _CODE_NOT_AVAILABLE if command == "STATUS" else _CODES.get(type(error), _CODE_OTHER)
