"""Layers that attack whoever unpacks them, made by code: name → bytes.

Each is also what the fuzz test mutates.
"""

import gzip
import io
import struct
import tarfile

import zstandard

from tests.archive.trees import directory, hardlink, make_tar, member, symlink

CANARY = "/tmp/rundlet-canary"  # what attacks by absolute names aim at


def header(
    name=b"f", size=b"00000000000\0", kind=b"0", link=b"", mode=b"0000644\0", magic=b"ustar\x0000", rest=b""
):
    """One raw header block with a right checksum; fields as bytes, so that they may be wrong."""
    fields = name.ljust(100, b"\0")[:100] + mode + b"0000000\0" * 2 + size + b"00000000000\0" + b" " * 8
    block = (fields + kind + link.ljust(100, b"\0")[:100] + magic).ljust(345, b"\0") + rest
    block = block.ljust(512, b"\0")[:512]
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def pad(data):
    return data + bytes(-len(data) % 512)


def pax(text, name=b"f", size=None, kind=b"0"):
    """A PAX header of raw `text` before an empty file."""
    length = b"%011o\0" % (len(text) if size is None else size)
    return header(b"pax", length, b"x") + pad(text) + header(name, kind=kind) + bytes(1024)


def record(keyword, value):
    body = b" %s=%s\n" % (keyword, value)
    size = len(body)
    while size != len(body) + len(str(size)):
        size = len(body) + len(str(size))
    return b"%d%s" % (size, body)


def old_sparse(real_size, pairs):
    """GNU's old sparse header: pairs at 386, real size at 483."""
    area = b"".join(b"%011o\0%011o\0" % pair for pair in pairs).ljust(96, b"\0")
    rest = bytes(41) + area + b"\0" + struct.pack(">12s", real_size)
    return header(b"sparse", b"%011o\0" % sum(size for _, size in pairs), b"S", magic=b"ustar  \0", rest=rest)


def many_directories(depth):
    return make_tar(*(member("/".join(["d"] * depth) + f"/{index}") for index in range(2)))


HUGE = b"\x80" + b"\0" * 3 + b"\x3f" + b"\xff" * 7  # base-256: 2**62 - 1
ESCAPES = (
    "../evil",
    "a/../../evil",
    "../../../../../../../../tmp/rundlet-canary/evil",
    "..",
    "./../evil",
    "a/..",
)

CORPUS = {
    **{f"name {name}": make_tar(member(name, b"evil")) for name in ESCAPES},
    **{f"directory {name}": make_tar(directory(name)) for name in ESCAPES},
    "absolute name": make_tar(member(f"{CANARY}/evil", b"evil")),
    "doubled slashes": make_tar(member("//tmp//rundlet-canary//evil", b"evil")),
    "symlink, then through it": make_tar(symlink("out", CANARY), member("out/evil", b"evil")),
    "relative symlink, then through it": make_tar(
        symlink("out", "../" * 20 + CANARY[1:]), member("out/evil", b"x")
    ),
    "chain of symlinks": make_tar(
        symlink("a", "/"), symlink("b", "a/tmp"), member("b/rundlet-canary/evil", b"x")
    ),
    "symlink, then a directory of its name": make_tar(
        symlink("out", CANARY), directory("out"), member("out/f", b"x")
    ),
    "symlink, then a file over it": make_tar(symlink("out", f"{CANARY}/file"), member("out", b"evil")),
    "symlink to itself": make_tar(symlink("loop", "loop"), member("loop/f", b"x")),
    "symlink to /proc/self/root": make_tar(
        symlink("out", "/proc/self/root"), member("out/tmp/rundlet-canary/evil")
    ),
    "symlink without a target": make_tar(symlink("none", "")),
    "hard link outside": make_tar(hardlink("h", f"{CANARY}/file"), member("h", b"evil")),
    "hard link upwards": make_tar(hardlink("h", "../../../../tmp/rundlet-canary/file")),
    "hard link through a symlink": make_tar(symlink("out", CANARY), hardlink("h", "out/file")),
    "hard link to a directory": make_tar(directory("d"), hardlink("h", "d")),
    "hard link to itself": make_tar(member("f", b"x"), hardlink("f", "f")),
    "hard link to nothing": make_tar(hardlink("h", "missing")),
    "whiteout of ..": make_tar(member(".wh...")),
    "whiteout of .": make_tar(member(".wh..")),
    "whiteout of nothing": make_tar(member(".wh.")),
    "whiteout below ..": make_tar(member("../.wh.file")),
    "whiteout through a symlink": make_tar(symlink("out", CANARY), member("out/.wh.file")),
    "opaque mark through a symlink": make_tar(symlink("out", CANARY), member("out/.wh..wh..opq")),
    "opaque mark outside": make_tar(member("../.wh..wh..opq")),
    "whiteout that is a directory": make_tar(directory(".wh.d"), member(".wh.d/f")),
    "device nodes": make_tar(
        member("sda", type=tarfile.BLKTYPE, devmajor=8, devminor=0, mode=0o666),
        member("mem", type=tarfile.CHRTYPE, devmajor=1, devminor=1, mode=0o666),
    ),
    "device number out of range": make_tar(member("d", type=tarfile.CHRTYPE, devmajor=2**20, devminor=1)),
    "fifo": make_tar(member("pipe", type=tarfile.FIFOTYPE), member("pipe", b"over it")),
    "the root as a file": make_tar(member(".", b"evil")),
    "the root as a symlink": make_tar(symlink(".", CANARY), member("f", b"x")),
    "a file as a directory": make_tar(member("f", b"x"), member("f/g", b"x")),
    "the same name many times": make_tar(*(member("f", b"%d" % index) for index in range(200))),
    "a directory and a file by turns": make_tar(
        *(each for _ in range(20) for each in (directory("d"), member("d/f", b"x"), member("d", b"x")))
    ),
    "names that are not UTF-8": header(b"\xff\xfe\x80/\xc3", b"00000000000\0") + bytes(1024),
    "a name with a line end": make_tar(member("a\nb\x1b[2J", b"x")),
    "a name too long": make_tar(member("n" * 300, b"x")),
    "a path too long": make_tar(member("/".join(["p" * 200] * 30), b"x")),
    "a deep path": many_directories(1000),
    "a NUL in a PAX name": pax(record(b"path", b"a\0b")),
    "size of 4 EiB": header(b"f", HUGE) + bytes(1024),
    "negative size": header(b"f", b"\xff" * 12) + bytes(1024),
    "sparse file of 4 EiB": old_sparse(HUGE, [(0, 0)]) + bytes(1024),
    "sparse data that overlaps": old_sparse(b"%011o\0" % 4096, [(0, 512), (100, 512)]) + bytes(2048),
    "sparse data beyond the file": old_sparse(b"%011o\0" % 10, [(5, 512)]) + bytes(2048),
    "PAX sparse map of nonsense": pax(
        record(b"GNU.sparse.major", b"1") + record(b"GNU.sparse.realsize", b"9" * 18)
    ),
    "PAX sparse file of 9 EB": pax(
        record(b"GNU.sparse.map", b"0,0") + record(b"GNU.sparse.size", b"9000000000000000000")
    ),
    "PAX header of 8 GiB": header(b"pax", b"77777777777\0", b"x") + bytes(4096),
    "PAX headers in a row": header(b"pax", b"00000000000\0", b"x") * 500 + header(b"f") + bytes(1024),
    "PAX record with a huge length": pax(b"99999999999999999999 path=x\n"),
    "PAX record without a length": pax(b"path=x\n"),
    "PAX records beyond use": pax(
        b"".join(record(b"SCHILY.xattr.user.%d" % n, b"x" * 1000) for n in range(1200))
    ),
    "PAX size that lies": pax(record(b"size", b"123456789012345")),
    "PAX owner out of range": pax(record(b"uid", b"99999999999999")),
    "PAX time out of range": pax(record(b"mtime", b"9" * 19)),
    "PAX name that escapes": pax(record(b"path", b"../../tmp/rundlet-canary/evil")),
    "PAX link that escapes": pax(record(b"linkpath", b"/tmp/rundlet-canary/file"), kind=b"1"),
    "xattrs of overlayfs": pax(
        record(b"SCHILY.xattr.trusted.overlay.redirect", b"/tmp")
        + record(b"SCHILY.xattr.trusted.overlay.opaque", b"y")
    ),
    "xattr with a nonsense name": pax(record(b"SCHILY.xattr.", b"x") + record(b"SCHILY.xattr.a", b"x")),
    "GNU long name of 8 GiB": header(b"././@LongLink", b"77777777777\0", b"L") + bytes(4096),
    "GNU long name that escapes": header(b"././@LongLink", b"%011o\0" % 12, b"L")
    + pad(b"../../../etc")
    + header(b"f")
    + bytes(1024),
    "an extension and nothing after it": header(b"pax", b"%011o\0" % 10, b"x") + pad(b"10 path=a\n"),
    "a type that nobody knows": header(b"f", kind=b"Z") + bytes(1024),
    "another volume's part": header(b"f", kind=b"M") + bytes(1024),
    "a wrong checksum": b"x" + header(b"f")[1:] + bytes(1024),
    "cut off": make_tar(member("f", b"x" * 5000))[:3000],
    "nothing": b"",
    "noise": bytes(range(256)) * 40,
    "gzip of nothing": gzip.compress(b""),
    "gzip cut off": gzip.compress(make_tar(member("f", bytes(range(256)) * 90)))[:-40],
    "gzip with rubbish behind": gzip.compress(make_tar(member("f", b"x"))) + b"rubbish",
    "gzip bomb": gzip.compress(make_tar(member("zeros", bytes(40 << 20)))),
    "gzip bomb of many members": gzip.compress(bytes(1 << 20)) * 40,
    "zstd bomb": zstandard.ZstdCompressor(level=19).compress(make_tar(member("zeros", bytes(40 << 20)))),
    "zstd with a window of 2 GiB": b"\x28\xb5\x2f\xfd\x00" + bytes([21 << 3]) + b"\x01\x00\x00",
    "zstd of skippable frames": (b"\x50\x2a\x4d\x18" + struct.pack("<I", 100) + bytes(100)) * 50,
    "zstd cut off": zstandard.compress(make_tar(member("f", b"x" * 50_000)))[:60],
}


def in_memory(data):
    return io.BytesIO(data)
