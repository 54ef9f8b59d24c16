"""What is attached, on disk, in libcni's form, so that any later process can detach it.

    <cache dir>/results/<network>-<container id>-<interface>     one JSON document an attachment
        {"kind": "cniCacheV1", "containerId", "ifName", "networkName", "netns", "config": base64 of the
         conf list, "cniArgs": [[key, value], …], "capabilityArgs": {…}, "result": {…}, "engine": whose it is}
    <cache dir>/locks/<network>                                  flock(2)

An entry without `result` is written before the first plugin runs: whatever ADD
has done when its process dies, DEL can be asked to undo it.
"""

import base64
import fcntl
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

from msgspec import Struct

from rundlet.errors import DataLoss, InvalidArgument
from rundlet.network.call import Attachment, Owner
from rundlet.network.leases import storage_error
from rundlet.network.lock import hold
from rundlet.spec import json
from rundlet.spec.cni import NetworkConf, Result, parse_network_conf, parse_result, result_document
from rundlet.spec.document import parse_document

_KIND = "cniCacheV1"


class _Document(Struct, frozen=True, rename="camel"):
    kind: str
    container_id: str
    if_name: str
    network_name: str
    config: str
    netns: str = ""
    cni_args: tuple[tuple[str, str], ...] = ()
    capability_args: dict[str, Any] = {}
    result: dict[str, Any] | None = None
    engine: str = ""


class _Name(Struct, frozen=True, rename="camel"):
    """The one member of a document that tells whose it is."""

    network_name: str


class Entry(NamedTuple):
    """One attachment; `result` None when its ADD has not come to its end.

    `engine` says whose it is: other runtimes write here too, and leave it "".
    """

    network: NetworkConf
    attachment: Attachment
    result: Result | None
    engine: str = ""


class Cache:
    """Safe among threads and processes."""

    def __init__(self, cache_dir: str, engine: str = "") -> None:
        """`engine` is noted in what is written here: which engine's pods these are."""
        self._engine = engine
        self._results = os.path.join(cache_dir, "results")
        self._locks = os.path.join(cache_dir, "locks")

    def lock(self, network: str, operation: int = fcntl.LOCK_EX) -> AbstractContextManager[None]:
        """Hold the network's lock, LOCK_EX to change what its pods share."""
        return hold(self._locks, network, operation)

    def exclusive(self, network: str) -> Callable[[], AbstractContextManager[None]]:
        return lambda: self.lock(network)

    def write(self, entry: Entry) -> None:
        """Note an attachment: before anything of it exists, and again with its result.

        Under the network's lock, so that nobody who holds it takes the network for
        unused, or this for something that was left half-written.
        """
        path = self._path(entry.network.name, entry.attachment)
        try:
            os.makedirs(self._results, mode=0o700, exist_ok=True)
            with self.lock(entry.network.name, fcntl.LOCK_SH):
                new = f"{self._results}/.{entry.network.name}~{os.path.basename(path)}"
                with open(new, "wb") as file:
                    file.write(_encode(entry._replace(engine=self._engine)))
                os.rename(new, path)
        except OSError as error:
            raise storage_error(f"write network cache {path}", error) from error

    def sweep(self, network: str) -> None:
        """Remove what writers have left that died; under the network's lock."""
        if os.path.isdir(self._results):
            for name in os.listdir(self._results):
                if name.startswith(f".{network}~"):
                    os.unlink(os.path.join(self._results, name))

    def remove(self, network: str, attachment: Attachment) -> None:
        try:
            os.unlink(self._path(network, attachment))
        except FileNotFoundError:
            pass

    def find(self, container_id: str) -> list[Entry]:
        """What the container is attached to, last attached first; DataLoss when damaged."""
        names = [name for name in self._names() if f"-{container_id}-" in name]
        found = [entry for name in names if (entry := self._read(name))]
        own = [entry for entry in found if entry.attachment.container_id == container_id]
        # net1, net2 … were attached after eth0.
        return sorted(own, key=lambda entry: entry.attachment.ifname, reverse=True)

    def entries(self) -> list[Entry]:
        """Everything that is attached; damaged entries are left out."""
        found = []
        for name in self._names():
            try:
                entry = self._read(name)
            except DataLoss:
                continue
            if entry:
                found.append(entry)
        return found

    def owners(self, network: str) -> set[Owner]:
        """Whose attachments to the network are noted, by the names of the files, also of damaged ones.

        A name with more dashes than two can be read in several ways, and all of them are given.
        """
        found = set()
        for name in self._names():
            words = name.removeprefix(f"{network}-").split("-") if name.startswith(f"{network}-") else []
            for n in range(1, len(words)):
                found.add(Owner("-".join(words[:n]), "-".join(words[n:])))
        return found

    def in_use(self, network: str) -> bool:
        """Is anything attached to the network?  True for certain only under its lock."""
        return any(self._belongs(name, network) for name in self._names() if name.startswith(f"{network}-"))

    def _belongs(self, name: str, network: str) -> bool:
        """A name that begins so may still be another network's: only the document tells."""
        raw = self._read_bytes(name)
        if raw is None:
            return False
        try:
            return json.decode(raw, _Name, name).network_name == network
        except InvalidArgument:
            return True  # better to keep a bridge than to cut off a pod

    def _names(self) -> list[str]:
        try:
            return [name for name in os.listdir(self._results) if not name.startswith(".")]
        except FileNotFoundError:
            return []

    def _path(self, network: str, attachment: Attachment) -> str:
        return f"{self._results}/{network}-{attachment.container_id}-{attachment.ifname}"

    def _read(self, name: str) -> Entry | None:
        """The entry; None when it was removed meanwhile."""
        raw = self._read_bytes(name)
        return None if raw is None else _decode(raw, os.path.join(self._results, name))

    def _read_bytes(self, name: str) -> bytes | None:
        path = os.path.join(self._results, name)
        try:
            with open(path, "rb") as file:
                return file.read()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise storage_error(f"read network cache {path}", error) from error


def _encode(entry: Entry) -> bytes:
    network, attachment, result = entry.network, entry.attachment, entry.result
    document: dict[str, Any] = {
        "kind": _KIND,
        "containerId": attachment.container_id,
        "ifName": attachment.ifname,
        "networkName": network.name,
        "netns": attachment.netns_path,
        "config": base64.b64encode(_encode_conf(network)).decode(),
        "cniArgs": attachment.args,
        "capabilityArgs": attachment.capabilities,
        "engine": entry.engine,
    }
    if result is not None:
        document["result"] = result_document(result, network.cni_version)
    return json.encode(document)


def _encode_conf(network: NetworkConf) -> bytes:
    return json.encode(
        {
            "cniVersion": network.cni_version,
            "name": network.name,
            "disableCheck": network.disable_check,
            "disableGC": network.disable_gc,
            "loadOnlyInlinedPlugins": True,
            "plugins": [plugin.raw for plugin in network.plugins],
        }
    )


def _decode(raw: bytes, path: str) -> Entry:
    try:
        document = parse_document(raw, _Document, path)
        network = parse_network_conf(base64.b64decode(document.config), path)
        result = None
        if document.result:
            result = parse_result(json.encode(document.result), network.cni_version, path)
    except (InvalidArgument, ValueError) as error:
        raise DataLoss(f"network cache is damaged: {error}", hint="remove the file") from error
    attachment = Attachment(
        document.container_id,
        document.if_name,
        netns_path=document.netns,
        args=document.cni_args,
        capabilities=document.capability_args,
    )
    return Entry(network, attachment, result, document.engine)
