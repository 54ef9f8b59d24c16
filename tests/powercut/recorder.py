"""A disk that remembers what was written to it and when it was told to keep it: `recorder.py SIZE MOUNT-POINT LOG`.

    ext4 ─▶ loop device ─▶ FUSE: this process ─▶ LOG     "ready" on stdout once it is there

The mount point is an empty file, over which a file of SIZE bytes appears.  LOG gets a record for each write,
each flush (what came before one is on the disk for good) and each line that stdin brings, which is then
answered with an empty line:

    record   <kind: 1 byte> <offset: u64> <length: u32> <content>      kinds: W write, F flush, M mark

linux/fuse.h, protocol 7.31, and of it what one file needs.
"""

import errno
import os
import select
import stat
import struct
import sys

from rundlet.kernel.mount import mount

RECORD = struct.Struct("<cQI")
_IN = struct.Struct("<IIQQIIIHH")  # length, opcode, unique, node, uid, gid, pid, …
_OUT = struct.Struct("<IiQ")  # length, -errno, unique
_INIT_OUT = struct.Struct("<IIIIHHIIHHI7I")
_ATTRIBUTES = struct.Struct("<QQQQQQIIIIIIIIII")
_TRANSFER = struct.Struct("<QQI")  # file handle, offset, size
_WRITE_IN_SIZE = 40
_WRITE_MAX = 1 << 20
_PAGE_SIZE = 4096
_BIG_WRITES, _MAX_PAGES = 1 << 5, 1 << 22
_FORGET, _GETATTR, _SETATTR, _OPEN, _READ, _WRITE, _RELEASE, _FSYNC, _FLUSH, _INIT, _INTERRUPT = (
    2, 3, 4, 14, 15, 16, 18, 20, 25, 26, 36,
)  # fmt: skip


class Recorder:
    """The file, in memory, and the log of what becomes of it."""

    def __init__(self, size, log):
        self.content = bytearray(size)
        self.log = log
        self.acts = {
            _INIT: self.init,
            _GETATTR: self.attributes,
            _SETATTR: self.attributes,
            _OPEN: lambda _: struct.pack("<QIi", 0, 0, 0),
            _READ: self.read,
            _WRITE: self.write,
            _RELEASE: lambda _: b"",
            _FLUSH: lambda _: b"",  # of a descriptor that is closed: says nothing of the disk
            _FSYNC: self.flush,
        }

    def record(self, kind, offset=0, content=b""):
        self.log.write(RECORD.pack(kind, offset, len(content)) + content)

    def init(self, _):
        flags = _BIG_WRITES | _MAX_PAGES
        pages = _WRITE_MAX // _PAGE_SIZE
        return _INIT_OUT.pack(7, 31, 0, flags, 8, 6, _WRITE_MAX, 1, pages, 0, 0, *[0] * 7)

    def attributes(self, _):
        size = len(self.content)
        fields = (1, size, size // 512, 0, 0, 0, 0, 0, 0, stat.S_IFREG | 0o600, 1, 0, 0, 0, _PAGE_SIZE, 0)
        return struct.pack("<QII", 3600, 0, 0) + _ATTRIBUTES.pack(*fields)

    def read(self, body):
        _, offset, size = _TRANSFER.unpack_from(body)
        return bytes(self.content[offset : offset + size])

    def write(self, body):
        _, offset, size = _TRANSFER.unpack_from(body)
        content = body[_WRITE_IN_SIZE : _WRITE_IN_SIZE + size]
        self.content[offset : offset + size] = content
        self.record(b"W", offset, content)
        return struct.pack("<II", size, 0)

    def flush(self, _):
        self.record(b"F")
        return b""

    def answer(self, request):
        """The reply to one request; None where none is expected."""
        _, opcode, unique, *_ = _IN.unpack_from(request)
        if opcode in (_FORGET, _INTERRUPT):
            return None
        act = self.acts.get(opcode)
        if act is None:
            return _OUT.pack(_OUT.size, -errno.ENOSYS, unique)
        reply = act(request[_IN.size :])
        return _OUT.pack(_OUT.size + len(reply), 0, unique) + reply

    def serve(self, fuse_fd):
        """Until the file is unmounted."""
        poll = select.poll()
        poll.register(fuse_fd, select.POLLIN)
        poll.register(0, select.POLLIN)
        while True:
            for fd, _ in poll.poll():
                if fd == 0:
                    mark = os.read(0, 4096)
                    if not mark:
                        poll.unregister(0)
                        continue
                    self.record(b"M", 0, mark.strip())
                    self.log.flush()
                    os.write(1, b"\n")
                    continue
                try:
                    reply = self.answer(os.read(fuse_fd, _WRITE_MAX + _PAGE_SIZE))
                except OSError as error:
                    if error.errno == errno.ENODEV:  # unmounted
                        return
                    raise
                if reply is not None:
                    os.write(fuse_fd, reply)


def main(size, mount_point, log_path):
    fuse_fd = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    options = f"fd={fuse_fd},rootmode={stat.S_IFREG | 0o600:o},user_id=0,group_id=0,max_read={_WRITE_MAX}"
    with open(log_path, "wb") as log:
        mount("recorder", mount_point, "fuse", 0, options)
        os.write(1, b"ready\n")
        Recorder(int(size), log).serve(fuse_fd)


if __name__ == "__main__":
    main(*sys.argv[1:])
