"""Bundles as umoci keeps them: an image unpacked to be changed by hand, and packed again as a layer.

    <bundle>/
      config.json              for a runtime
      rootfs/                  all layers, one over the other
      umoci.json               which image it was
      sha256_<hex>.mtree       what rootfs looked like (`archive.mtree`); hex is the manifest's digest

umoci reads bundles that are made here, and the other way round.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from msgspec import Struct

from rundlet.archive.flatten import flatten_layer
from rundlet.archive.mtree import Facts, describe, is_changed, parse_spec, write_spec
from rundlet.archive.pack import Writable
from rundlet.archive.tar import clean_path
from rundlet.archive.tree import make_root, remove_tree
from rundlet.archive.treetar import pack_tree
from rundlet.archive.walk import walk_tree
from rundlet.errors import AlreadyExists, DataLoss, InvalidArgument
from rundlet.image.build import with_history
from rundlet.image.change import Change
from rundlet.image.mutate import Base, read_base, write_image
from rundlet.image.packing import pack_layer
from rundlet.image.transport import Destination, Source
from rundlet.kernel.failure import translating
from rundlet.spec.descriptor import Descriptor
from rundlet.spec.digest import Digest, parse_digest
from rundlet.spec.image import ExecutionConfig, ImageConfig, parse_image_config
from rundlet.spec.json import decode, encode, encode_pretty

_VERSION: Final = "2"
_PATH: Final = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class _Walk(Struct, frozen=True):
    """From the name in the index down to the manifest, which is the last."""

    descriptor_walk: tuple[Descriptor, ...]


class _Meta(Struct, frozen=True):
    """umoci.json; `map_options` is kept as it is."""

    umoci_version: str
    from_descriptor_path: _Walk
    map_options: dict[str, Any] = {}
    whiteout_mode: int = 0


def unpack_bundle(source: Source, bundle: str, runtime: Mapping[str, Any]) -> Digest:
    """Make `bundle` of the image at `source`; returns the manifest's digest.

    `runtime` is a runtime configuration for the image's process to be put into.  Nothing of a
    bundle that fails is left.  Raises AlreadyExists, and what the image or the disk raises.
    """
    base = read_base(source)
    config = parse_image_config(encode(base.config), f"config of {source.name}")
    if len(config.rootfs.diff_ids) != len(base.layers):
        raise InvalidArgument(f"{source.name}: its manifest and config do not have the same layers")
    with _making(bundle) as temporary:
        rootfs = f"{temporary}/rootfs"
        make_root(rootfs)
        for layer, diff_id in zip(base.layers, config.rootfs.diff_ids, strict=True):
            _unpack_layer(source, layer, diff_id, rootfs)
        _write_document(f"{temporary}/config.json", make_runtime_config(runtime, config))
        _write_state(temporary, base)
    return base.document.digest


def repack_bundle(
    source: Source,
    destination: Destination,
    bundle: str,
    change: Change,
    *,
    masked: Iterable[str] = (),
    mask_volumes: bool = True,
    refresh: bool = False,
    temporary: str | None = None,
) -> Digest:
    """Put what was changed in the bundle's rootfs on top of its image; returns the new manifest's digest.

    `source` is where the image's blobs are.  `masked` paths and, with `mask_volumes`, the image's
    volumes are left as they were.  `refresh` makes the bundle one of the new image.
    """
    meta = decode(_read(f"{bundle}/umoci.json"), _Meta, f"{bundle}/umoci.json")
    digest = parse_digest(meta.from_descriptor_path.descriptor_walk[-1].digest)
    base = read_base(source, digest)
    volumes = (base.config.get("config") or {}).get("Volumes") or {} if mask_volumes else {}
    hidden = tuple(clean_path(os.fsencode(path)) for path in (*masked, *volumes))
    changed, gone = compare_rootfs(bundle, digest, hidden)
    change = with_history(change, "rundlet image repack")

    def write(out: Writable) -> None:
        pack_tree(f"{bundle}/rootfs", out, choose=changed.__contains__, whiteouts=gone)

    if not changed and not gone:
        return write_image(base, source, destination, change)
    with pack_layer(write, temporary) as layer:
        made = write_image(base, source, destination, change, [layer])
    if refresh:
        os.unlink(_spec_path(bundle, digest))
        _write_state(bundle, read_base(source, made))
    return made


def compare_rootfs(
    bundle: str, digest: Digest, hidden: tuple[bytes, ...]
) -> tuple[frozenset[bytes], tuple[bytes, ...]]:
    """(paths that are new or changed, topmost paths that are gone) since the bundle was unpacked."""
    spec = _spec_path(bundle, digest)
    old = parse_spec(_read(spec).decode(), spec)
    new: dict[bytes, Facts] = {}
    with translating(f"bundle {bundle}"):
        for found in walk_tree(f"{bundle}/rootfs"):
            new[found.path] = describe(found)
    changed = {path for path, facts in new.items() if path not in old or is_changed(old[path], facts)}
    gone = [path for path in old.keys() - new.keys() if new.get(_parent(path), {}).get("type") == "dir"]
    return (
        frozenset(path for path in changed if not _is_below(path, hidden)),
        tuple(sorted(path for path in gone if not _is_below(path, hidden))),
    )


def make_runtime_config(runtime: Mapping[str, Any], image: ImageConfig) -> dict[str, Any]:
    """`runtime` with the image's process, labels as annotations (image-spec, conversion.md)."""
    config = image.config
    process = {**runtime.get("process", {}), "cwd": config.working_dir or "/"}
    process["args"] = [*config.entrypoint, *config.cmd] or ["sh"]
    process["env"] = list(config.env) if _has_path(config) else [_PATH, *config.env]
    uid, _, gid = config.user.partition(":")
    process["user"] = {
        "uid": int(uid) if uid.isdecimal() else 0,
        "gid": int(gid) if gid.isdecimal() else 0,
    }
    annotations = {
        "org.opencontainers.image.os": image.os,
        "org.opencontainers.image.architecture": image.architecture,
        "org.opencontainers.image.author": image.author,
        "org.opencontainers.image.created": image.created,
        "org.opencontainers.image.stopSignal": config.stop_signal,
    }
    said = {key: value for key, value in annotations.items() if value} | config.labels
    return {**runtime, "process": process, "root": {"path": "rootfs"}, "annotations": said}


def _has_path(config: ExecutionConfig) -> bool:
    return any(entry.startswith("PATH=") for entry in config.env)


@contextmanager
def _making(bundle: str) -> Iterator[str]:
    """A directory that becomes `bundle` when the block has ended well."""
    temporary = f"{bundle.rstrip('/')}.new"
    with translating(f"bundle {bundle}"):
        if os.path.lexists(bundle) and (not os.path.isdir(bundle) or os.listdir(bundle)):
            raise AlreadyExists(f"bundle {bundle} is there already")
        os.mkdir(temporary)
        try:
            yield temporary
            os.rename(temporary, bundle)
        except BaseException:
            remove_tree(temporary)
            raise


def _unpack_layer(source: Source, layer: Descriptor, diff_id: str, rootfs: str) -> None:
    @contextmanager
    def open_layer() -> "Iterator[_Reader]":
        with source.open_blob(layer) as chunks:
            yield _Reader(chunks)

    stats = flatten_layer(open_layer, rootfs, algorithm=parse_digest(diff_id).algorithm)
    if str(stats.diff_id) != diff_id:
        raise DataLoss(f"layer {layer.digest} unpacks to diff id {stats.diff_id}, not to {diff_id}")


class _Reader:
    """Chunks of any size, read by the piece."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._left = b""

    def read(self, size: int, /) -> bytes:
        if not self._left:
            self._left = next(self._chunks, b"")
        data, self._left = self._left[:size], self._left[size:]
        return data


def _write_state(bundle: str, base: Base) -> None:
    """What `repack_bundle` and umoci need to know later."""
    document = base.document
    with translating(f"bundle {bundle}"):
        with open(_spec_path(bundle, document.digest), "x", encoding="ascii") as file:
            file.writelines(write_spec(f"{bundle}/rootfs"))
        maps = {"uid_mappings": None, "gid_mappings": None, "rootless": os.geteuid() != 0}
        meta = _Meta(_VERSION, _Walk((document.describe(),)), maps)
        _write_document(f"{bundle}/umoci.json", meta)


def _write_document(path: str, value: object) -> None:
    with translating(path), open(path, "wb") as file:
        file.write(encode_pretty(value))


def _spec_path(bundle: str, digest: Digest) -> str:
    return f"{bundle}/{digest.algorithm}_{digest.hex}.mtree"


def _read(path: str) -> bytes:
    with translating(path), open(path, "rb") as file:
        return file.read()


def _parent(path: bytes) -> bytes:
    return path.rpartition(b"/")[0]


def _is_below(path: bytes, hidden: tuple[bytes, ...]) -> bool:
    return any(path == each or path.startswith(each + b"/") for each in hidden)
