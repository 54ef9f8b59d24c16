"""What makes a log exact although the keeper can be killed at any instruction.

A container's output stays in its FIFO until it is in the log.  A batch moves so:

    look    tee(2): read a copy, the FIFO keeps its bytes
    begin   write down here what is going to happen; state = 1
    write   the formatted lines to the log file
    take    readv(2) the same bytes out of the FIFO, the last of them into `marker`
    end     state = 0

`marker` holds the complement of the batch's last byte until `take`, which is one
system call, puts the byte itself there.  So the next supervisor can tell which of
write and take were done, undo half a write, and do what is missing.  There is one
page for the whole keeper, because there is one batch at a time:

    0   1   state: 0 nothing under way, 1 a batch
    1   1   marker
    2   1   the last byte of the batch
    3   1   stream: 1 stdout, 2 stderr
    8   8   bytes to take out of the FIFO
    16  8   the log file's inode
    24  8   its size before the write
    32  8   bytes that the write adds
    40  8   the stream's tally when it is done (`keeper.attach`)
    64  192 container id, ended by a zero

Without a log file the inode is 0: there is nothing to undo or to do again, but the tally to set.
"""

import mmap
import os
import struct
from typing import NamedTuple

_SIZE_BYTES = 4096
_STATE, _MARKER, _LAST, _CONTAINER = 0, 1, 2, 64
_FIELDS = struct.Struct("=BB4xQQQQQ")
_CONTAINER_MAX_BYTES = 192


class Batch(NamedTuple):
    """What one batch does; `taken` once its bytes have left the FIFO."""

    container_id: str
    channel: int
    raw_bytes: int
    inode: int
    offset: int
    text_bytes: int
    tally: int = 0
    taken: bool = False


class Journal:
    """The page, shared with whoever comes after."""

    def __init__(self, path: str) -> None:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(fd, _SIZE_BYTES)
            self._page = mmap.mmap(fd, _SIZE_BYTES)
        finally:
            os.close(fd)
        self.marker = memoryview(self._page)[_MARKER : _MARKER + 1]

    def begin(self, batch: Batch, last: int) -> None:
        page = self._page
        name = batch.container_id.encode() + b"\0"
        page[_CONTAINER : _CONTAINER + len(name)] = name
        _FIELDS.pack_into(page, _LAST, last, *batch[1:7])
        page[_MARKER] = last ^ 0xFF
        page[_STATE] = 1

    def end(self) -> None:
        self._page[_STATE] = 0

    def read(self) -> Batch | None:
        """The batch that was under way when the last supervisor ended."""
        page = self._page
        if page[_STATE] != 1:
            return None
        last, *fields = _FIELDS.unpack_from(page, _LAST)
        name = bytes(page[_CONTAINER : _CONTAINER + _CONTAINER_MAX_BYTES]).partition(b"\0")[0]
        return Batch(name.decode(), *fields)._replace(taken=page[_MARKER] == last)

    def close(self) -> None:
        self.marker.release()
        self._page.close()
