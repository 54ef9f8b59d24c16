"""An image made of this machine's own programs: no network, nothing to download.

    layer 1   the skeleton: usual directories, /etc files, busybox with its commands when it is here
    layer 2   the programs and the shared libraries that they load

Equal programs give an equal image.
"""

import os
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from typing import Final

from rundlet.archive.pack import Member, write_tar
from rundlet.errors import NotFound
from rundlet.image.elf import find_libraries
from rundlet.image.layout import Layout
from rundlet.spec import mediatype
from rundlet.spec.descriptor import Descriptor, host_platform
from rundlet.spec.image import ExecutionConfig, History, ImageConfig, RootFs
from rundlet.spec.manifest import Manifest

_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_DIRECTORIES: Final = {
    "data": 0o755,
    "dev": 0o755,
    "etc": 0o755,
    "proc": 0o555,
    "root": 0o700,
    "run": 0o755,
    "sys": 0o555,
    "tmp": 0o1777,
    "usr": 0o755,
    "usr/bin": 0o755,
    "usr/local": 0o755,
    "usr/local/bin": 0o755,
    "var": 0o755,
}
# As every merged-/usr system has them; a library's path goes through them.
_MERGED: Final = {
    "bin": "usr/bin",
    "sbin": "usr/bin",
    "lib": "usr/lib",
    "lib64": "usr/lib64",
    "var/run": "/run",
}
_FILES: Final = {
    "etc/passwd": b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
    "etc/group": b"root:x:0:\nnogroup:x:65534:\n",
    "etc/nsswitch.conf": b"passwd: files\ngroup: files\nhosts: files dns\n",
}
# Images of Redis start by a script of this name, so their pod specifications do.
_ENTRYPOINT: Final = b'#!/bin/sh\nexec "$@"\n'
_BUSYBOX_TIMEOUT_S: Final = 10


def build_host_image(
    programs: Sequence[str],
    layout: Layout,
    name: str,
    *,
    cmd: Sequence[str] = (),
    env: Sequence[str] = (),
    working_dir: str = "/",
) -> Descriptor:
    """Make an image of `programs` (names in $PATH, or paths) and name it `name` in `layout`.

    `cmd` is what it runs by default: the first program unless given.
    Raises NotFound for a program that is not on this machine.
    """
    layers = [_add_layer(layout, members) for members in (_skeleton(), _collect_programs(programs))]
    platform = host_platform()
    config = ImageConfig(
        rootfs=RootFs("layers", tuple(diff_id for _, diff_id in layers)),
        architecture=platform.architecture,
        os=platform.os,
        variant=platform.variant,
        config=ExecutionConfig(
            env=(f"PATH={_PATH}", *env),
            cmd=tuple(cmd) or (os.path.basename(programs[0]),),
            working_dir=working_dir,
        ),
        history=(History(created_by="skeleton"), History(created_by=" ".join(programs))),
    )
    manifest = Manifest(
        schema_version=2,
        media_type=mediatype.OCI_MANIFEST,
        config=layout.add_document(config, mediatype.OCI_CONFIG),
        layers=tuple(layer for layer, _ in layers),
    )
    descriptor = layout.add_document(manifest, mediatype.OCI_MANIFEST)
    layout.publish(descriptor, name)
    return descriptor


def _add_layer(layout: Layout, members: Iterable[Member]) -> tuple[Descriptor, str]:
    """(descriptor, diff id) of a layer of `members`."""
    with layout.add_layer() as writer:
        write_tar(members, writer)
    return Descriptor(mediatype.OCI_LAYER_GZIP, str(writer.digest), writer.size_bytes), str(writer.diff_id)


def _skeleton() -> list[Member]:
    members = [Member(path, mode) for path, mode in _DIRECTORIES.items()]
    members += [Member(path, 0o777, link=target) for path, target in _MERGED.items()]
    members += [Member(path, 0o644, data=data) for path, data in _FILES.items()]
    busybox = shutil.which("busybox")
    if busybox:
        members.append(Member("usr/bin/busybox", 0o755, source=os.path.realpath(busybox)))
        members += [Member(f"usr/bin/{name}", 0o777, link="busybox") for name in _list_commands(busybox)]
        members.append(Member("usr/local/bin/docker-entrypoint.sh", 0o755, data=_ENTRYPOINT))
    return members


def _list_commands(busybox: str) -> list[str]:
    done = subprocess.run(
        [busybox, "--list"], capture_output=True, text=True, timeout=_BUSYBOX_TIMEOUT_S, check=True
    )
    return [name for name in done.stdout.split() if name != "busybox"]


def _collect_programs(programs: Sequence[str]) -> list[Member]:
    """Programs as /usr/bin/<name>, libraries where the loader finds them."""
    files: dict[str, str] = {}
    for program in programs:
        found = shutil.which(program)
        if found is None:
            raise NotFound(f"program {program!r} is not on this machine", hint="install it, or name another")
        files[f"usr/bin/{os.path.basename(program)}"] = os.path.realpath(found)
        for library in find_libraries(found):
            files[_merged_path(library)] = os.path.realpath(library)
    busybox = shutil.which("busybox")
    for library in find_libraries(busybox) if busybox else ():
        files[_merged_path(library)] = os.path.realpath(library)
    members = [Member(path, 0o755, source=source) for path, source in files.items()]
    return members + [Member(path, 0o755) for path in _parents(files)]


def _merged_path(path: str) -> str:
    """Where a library at `path` lies once /lib and /lib64 are links into /usr."""
    first, _, rest = path.lstrip("/").partition("/")
    return f"{_MERGED.get(first, first)}/{rest}"


def _parents(paths: Iterable[str]) -> set[str]:
    found: set[str] = set()
    for path in paths:
        while path := os.path.dirname(path):
            found.add(path)
    return found
