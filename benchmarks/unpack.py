"""Images to disk: pull + unpack beside containerd, many small files beside umoci.

    python -m benchmarks.unpack [--rounds 5]      inside a throw-away node (root), some 2 minutes

    large    5 layers of this machine's own files, 118 MB of gzip, from Debian's docker-registry on
             loopback: `pull_image` into a fresh store, as rundletd would; `ctr images pull` of a
             containerd that runs already, overlayfs snapshotter
    small    one layer of 60 000 entries in an OCI layout: `rundlet image unpack` and `umoci unpack`,
             whole processes, and what a pull does with such a layer

All directories are on tmpfs.  Those who are compared take turns.
"""

import os
import random
import shutil
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.alone import Times, run_alone
from rundlet.archive import tar
from rundlet.archive.tar import Entry
from rundlet.archive.tree import remove_tree
from rundlet.archive.writer import TarWriter
from rundlet.image.layout import LayerWriter, Layout
from rundlet.image.pull import pull_image
from rundlet.image.push import push_image
from rundlet.kernel.mount import mount, umount
from rundlet.registry.client import RegistryClient
from rundlet.spec import mediatype
from rundlet.spec.descriptor import Descriptor, host_platform
from rundlet.spec.image import ImageConfig, RootFs
from rundlet.spec.manifest import Manifest
from rundlet.store.store import Store

LAYERS = 5
LAYER_BYTES = 118_000_000 // LAYERS
SMALL_FILES = 59_399
SMALL_DIRECTORIES = 600
FILES_FROM = ("/usr/bin", "/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/share", "/usr/lib")
FILE_BYTES_MAX = 8 << 20
READY_TIMEOUT_S = 20.0
# The most that ours may take of the peer's time.
LARGE_RATIO = 0.5
SMALL_RATIO = 1.0


# --- images -------------------------------------------------------------------


def write_file(writer: TarWriter, path: bytes, data: bytes) -> None:
    writer.add(Entry(tar.FILE, path, b"", 0o644, 0, 0, 10**18, len(data), (0, 0)), (data,))


def write_directory(writer: TarWriter, path: bytes) -> None:
    writer.add(Entry(tar.DIRECTORY, path, b"", 0o755, 0, 0, 10**18, 0, (0, 0)))


def list_host_files() -> Iterator[str]:
    """Files of this machine, in a fixed order."""
    for top in FILES_FROM:
        for directory, names, files in os.walk(top):
            names.sort()
            for name in sorted(files):
                path = f"{directory}/{name}"
                if (
                    os.path.isfile(path)
                    and not os.path.islink(path)
                    and os.path.getsize(path) <= FILE_BYTES_MAX
                ):
                    yield path


def write_host_layer(layer: LayerWriter, paths: Iterator[str]) -> None:
    writer = TarWriter(layer)
    for path in paths:
        write_file(writer, path.lstrip("/").encode(errors="surrogateescape"), Path(path).read_bytes())
        if layer.size_bytes >= LAYER_BYTES:
            break
    writer.finish()


def write_small_layer(layer: LayerWriter) -> None:
    chance = random.Random(1)
    writer = TarWriter(layer)
    write_directory(writer, b"d")
    for number in range(SMALL_DIRECTORIES):
        write_directory(writer, b"d/%03d" % number)
    for number in range(SMALL_FILES):
        data = chance.randbytes(chance.randint(10, 2000))
        write_file(writer, b"d/%03d/f%d" % (number % SMALL_DIRECTORIES, number), data)
    writer.finish()


def make_image(layout: Layout, name: str, writes: list[Callable[[LayerWriter], None]]) -> None:
    made = []
    for write in writes:
        with layout.add_layer() as layer:
            write(layer)
        made.append(
            (Descriptor(mediatype.OCI_LAYER_GZIP, str(layer.digest), layer.size_bytes), str(layer.diff_id))
        )
    platform = host_platform()
    config = ImageConfig(
        RootFs("layers", tuple(diff_id for _, diff_id in made)), platform.architecture, platform.os
    )
    manifest = Manifest(
        schema_version=2,
        media_type=mediatype.OCI_MANIFEST,
        config=layout.add_document(config, mediatype.OCI_CONFIG),
        layers=tuple(layer for layer, _ in made),
    )
    layout.publish(layout.add_document(manifest, mediatype.OCI_MANIFEST), name)


# --- who takes part -------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


def await_ready(ready: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + READY_TIMEOUT_S
    while not ready():
        if time.monotonic() > deadline_s:
            raise TimeoutError("a daemon did not start")
        time.sleep(0.05)


@contextmanager
def running(argv: list[str], log: str) -> Iterator[None]:
    with open(log, "wb") as file, subprocess.Popen(argv, stdout=file, stderr=file) as process:
        try:
            yield
        finally:
            process.terminate()
            process.wait(READY_TIMEOUT_S)


@contextmanager
def run_registry(directory: str) -> Iterator[str]:
    """Debian's docker-registry; its address."""
    address = f"127.0.0.1:{free_port()}"
    config = f"{directory}/registry.yml"
    with open(config, "w", encoding="ascii") as file:
        file.write(
            f"version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n"
            f"storage: {{filesystem: {{rootdirectory: {directory}/registry}}}}\nhttp: {{addr: '{address}'}}\n"
        )
    with running(["docker-registry", "serve", config], f"{directory}/registry.log"):
        host, _, port = address.partition(":")
        await_ready(lambda: is_listening(host, int(port)))
        yield address


def is_listening(host: str, port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((host, port)) == 0


@contextmanager
def run_containerd(directory: str) -> Iterator[str]:
    """A containerd of its own; the path of its socket."""
    address = f"{directory}/containerd.sock"
    config = f"{directory}/containerd.toml"
    with open(config, "w", encoding="ascii") as file:
        file.write('version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n')
    argv = ["containerd", "--config", config, "--root", f"{directory}/containerd-root"]
    argv += ["--state", f"{directory}/containerd-state", "--address", address, "--log-level", "error"]
    with running(argv, f"{directory}/containerd.log"):
        command = ["ctr", "--address", address, "version"]
        await_ready(lambda: subprocess.run(command, capture_output=True, check=False).returncode == 0)
        yield address


def time_s(job: Callable[[], object]) -> float:
    started_s = time.perf_counter()
    job()
    return time.perf_counter() - started_s


def pull_ours(directory: str, reference: str) -> float:
    """Seconds; the store is made before and removed afterwards."""
    store = Store.open(f"{directory}/root", f"{directory}/run")
    client = RegistryClient()
    try:
        return time_s(lambda: pull_image(store, client, reference))
    finally:
        client.close()
        store.close()
        remove_tree(f"{directory}/root")


def pull_containerd(address: str, reference: str) -> float:
    ctr = ["ctr", "--address", address, "images"]
    elapsed_s = time_s(
        lambda: subprocess.run(
            [*ctr, "pull", "--plain-http", "--snapshotter", "overlayfs", reference],
            check=True,
            capture_output=True,
        )
    )
    subprocess.run([*ctr, "rm", "--sync", reference], check=True, capture_output=True)
    return elapsed_s


def unpack_bundle(argv: list[str], bundle: str) -> float:
    elapsed_s = time_s(lambda: subprocess.run([*argv, bundle], check=True, capture_output=True))
    remove_tree(bundle)
    return elapsed_s


# --- figures --------------------------------------------------------------------


def take_turns(rounds: int, jobs: dict[str, Callable[[], float]]) -> Times:
    """Seconds of every round by name; the first round warms up and does not count."""
    times: Times = {name: [] for name in jobs}
    for number in range(-1, rounds):
        for name, job in jobs.items():
            elapsed_s = job()
            if number >= 0:
                times[name].append(elapsed_s)
    return times


def measure_large(directory: str, rounds: int) -> Times:
    layout = Layout(f"{directory}/layout")
    paths = list_host_files()
    make_image(layout, "large", [lambda layer: write_host_layer(layer, paths)] * LAYERS)
    with ExitStack() as stack:
        reference = f"{stack.enter_context(run_registry(directory))}/bench/large:1"
        client = RegistryClient()
        push_image(layout, "large", client, reference)
        client.close()
        jobs = {"rundlet": lambda: pull_ours(directory, reference)}
        if shutil.which("containerd"):
            address = stack.enter_context(run_containerd(directory))
            jobs["containerd"] = lambda: pull_containerd(address, reference)
        return take_turns(rounds, jobs)


def measure_small(directory: str, rounds: int) -> Times:
    layout = Layout(f"{directory}/layout")
    make_image(layout, "small", [write_small_layer])
    image = f"{directory}/layout:small"
    ours = [sys.executable, "-m", "rundlet.cli.main", "image", "unpack", "--image", image]
    jobs = {"rundlet image unpack": lambda: unpack_bundle(ours, f"{directory}/bundle")}
    if shutil.which("umoci"):
        jobs["umoci unpack"] = lambda: unpack_bundle(
            ["umoci", "unpack", "--image", image], f"{directory}/bundle"
        )
    with run_registry(directory) as address:
        client = RegistryClient()
        push_image(layout, "small", client, f"{address}/bench/small:1")
        client.close()
        jobs["rundlet pull"] = lambda: pull_ours(directory, f"{address}/bench/small:1")
        return take_turns(rounds, jobs)


def show(what: str, times: Times, peer: str, ratio: float) -> None:
    print(f"{what:<34} {'median, s':>10} {'best, s':>10}")
    for name, seconds in times.items():
        print(f"{name:<34} {statistics.median(seconds):10.2f} {min(seconds):10.2f}")
    ours = statistics.median(next(iter(times.values())))
    if peer in times:
        found = ours / statistics.median(times[peer])
        verdict = "reached" if found <= ratio else "MISSED"
        print(f"{found:.2f} of {peer}, expected at most {ratio:.1f}: {verdict}\n")
    else:
        print(f"{peer.split(maxsplit=1)[0]} is not on this host: left out\n")


def show_unpack(times: dict[str, Times]) -> None:
    print()
    show("pull + unpack, 118 MB in 5 layers", times["large"], "containerd", LARGE_RATIO)
    show("60 000 entries in one layer", times["small"], "umoci unpack", SMALL_RATIO)


def measure_unpack(directory: str, rounds: int) -> dict[str, Times]:
    """Both, on a tmpfs at `directory`."""
    os.makedirs(directory, exist_ok=True)
    mount("tmpfs", directory, "tmpfs")
    try:
        return {"large": measure_large(directory, rounds), "small": measure_small(directory, rounds)}
    finally:
        umount(directory)


if __name__ == "__main__":
    run_alone("unpack", __doc__, measure_unpack, show_unpack)
