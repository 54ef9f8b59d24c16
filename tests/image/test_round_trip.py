"""Any image through any two transports: what must stay stays."""

import gzip
import itertools
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rundlet.image.api import CopyOptions, copy_image, inspect_image
from rundlet.image.place import Host
from tests.image.conftest import serving
from tests.image.dockerd import daemon_at
from tests.image.images import LayoutMaker, tar

EXACT = ("docker", "oci", "oci-archive", "dir", "containers-storage")
# Both hold configs and plain layers only: the manifest is made anew.
REMADE = ("docker-archive", "docker-daemon")

images = st.builds(
    dict,
    layers=st.lists(
        st.dictionaries(st.sampled_from(["a", "b/c", "d"]), st.binary(max_size=300), min_size=1),
        min_size=1,
        max_size=3,
    ),
    compression=st.sampled_from(["", "gzip", "zstd"]),
    docker=st.booleans(),
    labels=st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=2),
    algorithm=st.sampled_from(["sha256", "sha512"]),
)


class Places:
    """Fresh locations of every transport."""

    def __init__(self, directory, registry):
        self.directory = directory
        self.registry = registry
        self.count = itertools.count()

    def make(self, transport):
        path = f"{self.directory}/{transport}-{next(self.count)}"
        return {
            "docker": f"docker://{self.registry.address}/r{next(self.count)}/image:tag",
            "containers-storage": f"containers-storage:localhost/i{next(self.count)}:tag",
            "oci": f"oci:{path}:tag",
            "oci-archive": f"oci-archive:{path}.tar:tag",
            "dir": f"dir:{path}",
            "docker-archive": f"docker-archive:{path}.tar:localhost/image:tag",
            "docker-daemon": f"docker-daemon:localhost/i{next(self.count)}:tag",
        }[transport]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    directory = tmp_path_factory.mktemp("round-trip")
    with (
        serving(directory / "registry") as registry,
        daemon_at(directory / "docker.sock") as daemon,
        pytest.MonkeyPatch.context() as environment,
        Host(f"{directory}/root", f"{directory}/run", insecure_policy=True) as host,
    ):
        environment.setenv("DOCKER_HOST", daemon)
        yield host, Places(directory, registry)


def put(places, image):
    path = places.directory / f"source-{next(places.count)}"
    path.mkdir()
    maker = LayoutMaker(path)
    entry = maker.image(**image)
    return maker.publish(entry, "tag"), entry["digest"]


@pytest.mark.parametrize("first", EXACT)
@given(image=images, second=st.sampled_from(EXACT))
@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_exact_transports_keep_every_digest(world, first, image, second):
    host, places = world
    source, digest = put(places, image)
    options = CopyOptions(preserve_digests=True)
    for transport in (first, second):
        target = places.make(transport)
        assert str(copy_image(host, source, target, options).document.digest) == digest
        source = target
    assert str(inspect_image(host, source, with_tags=False).digest) == digest


@pytest.mark.parametrize(("first", "second"), list(itertools.product(EXACT, EXACT)))
def test_every_pair_of_exact_transports(world, first, second):
    host, places = world
    source, digest = put(places, {"layers": ({"x": b"y"},), "compression": "gzip"})
    options = CopyOptions(preserve_digests=True)
    for transport in (first, second, "oci"):
        target = places.make(transport)
        copy_image(host, source, target, options)
        source = target
    assert str(inspect_image(host, source, with_tags=False).digest) == digest


@pytest.mark.parametrize("remade", REMADE)
@pytest.mark.parametrize("transport", [*EXACT, *REMADE])
@given(image=images)
@settings(max_examples=4, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_others_keep_config_and_diff_ids(world, transport, remade, image):
    host, places = world
    image = image | {"algorithm": "sha256"}
    source, _ = put(places, image)
    before = inspect_image(host, source, with_tags=False)
    for kind in (transport, remade, transport, remade):
        target = places.make(kind)
        copy_image(host, source, target)
        source = target
    after = inspect_image(host, source, with_tags=False)
    assert after.raw_config == before.raw_config
    assert [each.digest for each in after.layers] == json.loads(before.raw_config)["rootfs"]["diff_ids"]


@pytest.mark.parametrize("transport", [*EXACT, *REMADE])
@pytest.mark.parametrize("compression", ["plain", "gzip"])
def test_root_file_systems_become_one_image_everywhere(world, transport, compression):
    host, places = world
    paths = [places.directory / f"tarball-{next(places.count)}" for _ in range(2)]
    for number, path in enumerate(paths):
        data = tar({f"file-{number}": b"content"})
        path.write_bytes(gzip.compress(data, mtime=0) if compression == "gzip" else data)
    source = f"tarball:{paths[0]}:{paths[1]}"
    before = inspect_image(host, source, with_tags=False)
    target = places.make(transport)
    copy_image(host, source, target)
    after = inspect_image(host, target, with_tags=False)
    assert after.raw_config == before.raw_config
    if transport in EXACT and compression == "gzip":
        assert after.digest == before.digest


@given(image=images, compression=st.sampled_from(["gzip", "zstd", ""]))
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_recompressed_twice_the_same_bytes(world, image, compression):
    from rundlet.image.plan import Packing

    host, places = world
    source, _ = put(places, image)
    options = CopyOptions(packing=Packing(compression))
    digests = {str(copy_image(host, source, places.make("dir"), options).document.digest) for _ in range(2)}
    assert len(digests) == 1
