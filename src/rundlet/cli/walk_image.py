"""Where the walk's image comes from: a registry of its own on loopback, or the one asked for.

Without `--image` the image is made from this machine's own redis-server.  With
`--image` and a throw-away node, whose network ends at loopback, the process
outside the node copies the image into the walk's registry before.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from rundlet.cli.walk_place import Place
from rundlet.errors import InvalidArgument
from rundlet.image.fromhost import build_host_image
from rundlet.image.layout import Layout
from rundlet.image.push import push_image
from rundlet.registry.client import RegistryClient
from rundlet.registry.server import RegistryServer
from rundlet.spec.descriptor import Descriptor, host_platform
from rundlet.spec.manifest import Index, Manifest, parse_manifest, select_platform
from rundlet.spec.reference import Reference, parse_reference

HOST_IMAGE = "crio/redis:host"
HOST_PROGRAMS = ("redis-server", "redis-cli")


@contextmanager
def serve_image(image: str, place: Place, *, mirrored: bool = False) -> Iterator[str]:
    """The reference to pull, while it can be pulled.

    `mirrored` says that mirror_image has put `image` into the place's registry.
    """
    if image and not mirrored:
        yield image
        return
    with serve_registry(place.registry_dir) as address:
        if image:
            yield str(local_name(address, image))
        else:
            reference = f"{address}/{HOST_IMAGE}"
            make_host_image(reference, place)
            yield reference


@contextmanager
def serve_registry(directory: str) -> Iterator[str]:
    """Our own registry over `directory`; its address."""
    server = RegistryServer(directory)
    server.start()
    try:
        yield server.address
    finally:
        server.stop()


def make_host_image(reference: str, place: Place) -> None:
    """An image of this machine's redis, pushed as `reference`; NotFound where there is no redis-server."""
    layout = Layout(f"{place.base}/layout")
    build_host_image(HOST_PROGRAMS, layout, HOST_IMAGE)
    client = RegistryClient()
    try:
        push_image(layout, HOST_IMAGE, client, reference)
    finally:
        client.close()


def local_name(address: str, image: str) -> Reference:
    """`image` as the registry at `address` names it."""
    wanted = parse_reference(image)
    return parse_reference(f"{address}/{wanted.path}:{wanted.tag or 'latest'}")


def mirror_image(image: str, directory: str) -> None:
    """Copy `image`, this machine's platform of it, into the registry over `directory`.

    Raises what RegistryClient raises.
    """
    source = parse_reference(image)
    with ExitStack() as undo:
        target = local_name(undo.enter_context(serve_registry(directory)), image)
        folder = undo.enter_context(tempfile.TemporaryDirectory(prefix="rundlet-mirror-"))
        client = RegistryClient()
        undo.callback(client.close)
        raw, media_type, manifest = resolve_manifest(client, source)
        for blob in {item.digest: item for item in (manifest.config, *manifest.layers)}.values():
            copy_blob(client, source, target, blob, os.path.join(folder, "blob"))
        client.push_manifest(target, raw, media_type)


def resolve_manifest(client: RegistryClient, source: Reference) -> tuple[bytes, str, Manifest]:
    """The manifest for this machine, as it was served, and read."""
    fetched = client.resolve(source)
    document = parse_manifest(fetched.raw, fetched.media_type, str(source))
    if isinstance(document, Index):
        chosen = select_platform(document, host_platform(), str(source))
        fetched = client.fetch_manifest(source, chosen.parsed_digest())
        document = parse_manifest(fetched.raw, fetched.media_type, str(source))
    if isinstance(document, Index):
        raise InvalidArgument(f"{source}: an index inside an index")
    return fetched.raw, fetched.media_type, document


def copy_blob(
    client: RegistryClient, source: Reference, target: Reference, blob: Descriptor, path: str
) -> None:
    client.download_blob(source, blob, path)
    client.push_blob(target, blob.parsed_digest(), path)
    os.unlink(path)
