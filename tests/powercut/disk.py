"""Recorded disks, and what is left of one when the power goes: see `recorder`."""

import os
import subprocess
import sys
from contextlib import contextmanager
from typing import NamedTuple

import pytest

from rundlet.kernel.mount import MNT_DETACH, umount
from tests.powercut import recorder

SECTOR_SIZE = 512


class Record(NamedTuple):
    kind: str
    offset: int
    content: bytes


def read_log(path):
    """The records in their order."""
    with open(path, "rb") as file:
        while header := file.read(recorder.RECORD.size):
            kind, offset, length = recorder.RECORD.unpack(header)
            yield Record(kind.decode(), offset, file.read(length))


class Disk:
    """An ext4 file system at `path`, all of whose writes are in `log`."""

    def __init__(self, directory, process):
        self.path, self.log = f"{directory}/mnt", f"{directory}/log"
        self._process = process

    def mark(self, text):
        """Note in the log that what `text` says has happened by now."""
        self._process.stdin.write(f"{text}\n".encode())
        assert self._process.stdout.readline() == b"\n"


@contextmanager
def recording(directory, size):
    """A fresh recorded disk, mounted; its log is whole when the context has ended."""
    if not os.path.exists("/dev/fuse"):
        pytest.skip("/dev/fuse not on this host")
    backing, mount_point = f"{directory}/disk", f"{directory}/mnt"
    with open(backing, "xb"):
        os.mkdir(mount_point)
    command = [sys.executable, "-m", recorder.__name__, str(size), backing, f"{directory}/log"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as process:
        try:
            assert process.stdout.readline() == b"ready\n"
            subprocess.run(["mkfs.ext4", "-q", "-F", backing], check=True)
            with loop_mounted(backing, mount_point):
                yield Disk(directory, process)
        finally:
            umount(backing, MNT_DETACH)
            process.stdin.close()
            process.wait(10)


@contextmanager
def loop_mounted(image, mount_point):
    """The file system in `image` at `mount_point`; the loop device goes with it."""
    subprocess.run(["mount", "-o", "loop", image, mount_point], check=True)
    try:
        yield
    finally:
        umount(mount_point)


class Wreck:
    """Replays a log up to ever later moments; gives what a power cut there may leave."""

    def __init__(self, records, size):
        self._records = records
        self._durable = bytearray(size)
        self._doubtful = []
        self._at = 0
        self.marks = []

    def advance(self, to):
        """Have the first `to` records happen."""
        for record in self._records[self._at : to]:
            if record.kind == "W":
                self._doubtful.append(record)
            elif record.kind == "F":
                for write in self._doubtful:
                    _apply(self._durable, write.offset, write.content)
                self._doubtful.clear()
            else:
                self.marks.append(record.content.decode())
        self._at = to

    def leave(self, path, chance):
        """Write the disk as it may be found: of what no flush came after, by chance all, some or torn, in no order."""
        content = bytearray(self._durable)
        share = chance.choice((0.0, 0.5, 1.0))
        for write in self._doubtful:
            if chance.random() < share:
                kept = len(write.content)
                if chance.random() < 0.1:
                    kept = SECTOR_SIZE * chance.randrange(kept // SECTOR_SIZE + 1)
                _apply(content, write.offset, write.content[:kept])
        with open(path, "wb") as file:
            file.write(content)


def _apply(content, offset, written):
    content[offset : offset + len(written)] = written
