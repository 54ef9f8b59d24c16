"""Registries and manifests that mean harm: each is one clear error, and nothing is left of it."""

import json
import os
import subprocess
import sys
import threading
import time

import pytest

from rundlet.errors import Error, InvalidArgument, Unavailable
from rundlet.image.api import CopyOptions, copy_image, inspect_image
from rundlet.image.place import Host
from rundlet.registry.settings import RegistrySettings
from rundlet.spec import mediatype
from rundlet.spec.digest import Digest
from tests.image.images import describe, tar
from tests.registry.conftest import Answer, Peer, _Handler

LAYER = tar({"a": b"1" * 50_000})
CONFIG = json.dumps({"rootfs": {"type": "layers", "diff_ids": [str(Digest.of(LAYER))]}}).encode()
MANIFEST = json.dumps(
    {
        "schemaVersion": 2,
        "mediaType": mediatype.OCI_MANIFEST,
        "config": describe(mediatype.OCI_CONFIG, CONFIG),
        "layers": [describe(mediatype.OCI_LAYER, LAYER)],
    }
).encode()
MANIFEST_PATH = "/v2/a/manifests/1"
LAYER_PATH = f"/v2/a/blobs/{Digest.of(LAYER)}"
OCI = {"Content-Type": mediatype.OCI_MANIFEST}


@pytest.fixture
def peer():
    """A registry that does as it is told; well behaved until then."""
    peer = Peer()
    peer.say("GET /v2/", Answer(200))
    peer.say(f"GET {MANIFEST_PATH}", Answer(200, MANIFEST, OCI))
    peer.say(f"GET /v2/a/blobs/{Digest.of(CONFIG)}", Answer(200, CONFIG))
    peer.say(f"GET {LAYER_PATH}", Answer(200, LAYER))
    yield peer
    peer.close()


@pytest.fixture
def impatient(tmp_path):
    """A host that gives up soon."""
    settings = RegistrySettings(retries=1, read_timeout_s=0.3)
    root, run = str(tmp_path / "root"), str(tmp_path / "run")
    with Host(root, run, insecure_policy=True, registry_settings=settings) as host:
        yield host


def refused(host, peer, tmp_path, target="dir"):
    """The error of a copy that must fail; nothing of the image is visible after it."""
    with pytest.raises(Error) as caught:
        copy_image(host, f"docker://{peer.address}/a:1", f"{target}:{tmp_path}/out")
    assert "\n" not in caught.value.message
    assert not os.path.exists(f"{tmp_path}/out/manifest.json")
    assert not os.path.exists(f"{tmp_path}/out/index.json")
    return caught.value.message


def test_a_well_behaved_one_works(impatient, peer, tmp_path):
    copy_image(impatient, f"docker://{peer.address}/a:1", f"dir:{tmp_path}/out")


@pytest.mark.parametrize("target", ["dir", "oci"])
def test_another_layer_than_was_promised(impatient, peer, tmp_path, target):
    peer.say(f"GET {LAYER_PATH}", Answer(200, bytes(len(LAYER))))
    assert "digest" in refused(impatient, peer, tmp_path, target)


@pytest.mark.parametrize("change", [-1, 1, 1000])
def test_a_layer_of_another_length(impatient, peer, tmp_path, change):
    body = LAYER[:change] if change < 0 else LAYER + bytes(change)
    peer.say(f"GET {LAYER_PATH}", Answer(200, body))
    assert "bytes" in refused(impatient, peer, tmp_path)


def test_redirects_in_a_circle(impatient, peer, tmp_path):
    peer.say(f"GET {LAYER_PATH}", Answer(307, headers={"Location": LAYER_PATH}))
    assert "redirects" in refused(impatient, peer, tmp_path)


def test_a_redirect_to_a_file(impatient, peer, tmp_path):
    peer.say(f"GET {LAYER_PATH}", Answer(307, headers={"Location": "file:///etc/passwd"}))
    assert "sent us to" in refused(impatient, peer, tmp_path)


def test_a_range_that_was_not_asked_for(impatient, peer, tmp_path):
    half = len(LAYER) // 2
    lie = {"Content-Range": f"bytes 0-{half - 1}/{len(LAYER)}"}
    peer.say(
        f"GET {LAYER_PATH}",
        Answer(200, LAYER, cut=half),
        Answer(206, LAYER[:half], lie),
    )
    assert "range" in refused(impatient, peer, tmp_path)


def test_a_blob_in_drops_is_given_up(peer, tmp_path, monkeypatch):
    """Slow, but never silent: neither a time limit for reading nor a broken connection ends it."""
    settings = RegistrySettings(retries=0, rate_min_bytes_s=10_000, rate_window_s=0.2)
    write = _Handler.send_header

    def send_slowly(handler, *field):
        write(handler, *field)
        if field == ("Content-Length", str(len(LAYER))):
            handler.end_headers()
            for at in range(len(LAYER)):
                handler.wfile.write(LAYER[at : at + 1])
                time.sleep(0.01)

    monkeypatch.setattr(_Handler, "send_header", send_slowly)
    with (
        Host(f"{tmp_path}/root", f"{tmp_path}/run", insecure_policy=True, registry_settings=settings) as host,
        pytest.raises(Unavailable, match="too slow: [0-9]+ bytes a second"),
    ):
        copy_image(host, f"docker://{peer.address}/a:1", f"dir:{tmp_path}/out")
    assert not os.path.exists(f"{tmp_path}/out/manifest.json")


def test_a_drop_of_a_byte_now_and_then(host, tmp_path):
    """A slow peer is given up by the command's time limit."""
    import socket

    listener = socket.create_server(("127.0.0.1", 0))
    stop = threading.Event()

    def serve():
        while not stop.is_set():
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(4096)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
                while not stop.wait(0.05):
                    try:
                        connection.sendall(b" ")
                    except OSError:
                        break

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        port = listener.getsockname()[1]
        command = [sys.executable, "-m", "rundlet.cli.main", "image", "--command-timeout", "1s", "inspect"]
        done = subprocess.run(
            [*command, f"docker://127.0.0.1:{port}/a:1"],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
    finally:
        stop.set()
        listener.shutdown(socket.SHUT_RDWR)  # wakes accept(2), which close(2) does not
        listener.close()
        thread.join()
    assert done.returncode == 1
    assert "longer than 1 s" in done.stderr
    assert "Traceback" not in done.stderr


def edit(**members):
    return json.dumps(json.loads(MANIFEST) | members).encode()


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "expecting"),
        (b"[]", "object"),
        (b"null", "object"),
        (b'"x"', "object"),
        (MANIFEST[:-1], "expecting"),
        (MANIFEST[:-1] + b', "layers": []}', "twice"),
        (MANIFEST.replace(b'"digest"', b'"digest": "sha256:00", "digest"', 1), "twice"),
        (b'{"schemaVersion": 2, "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "recursion|deep|depth"),
        (b" " * (5 << 20), "longer"),
        (
            edit(layers=[{"mediaType": mediatype.OCI_LAYER, "digest": "sha256:../../etc", "size": 1}]),
            "digest",
        ),
        (
            edit(layers=[{"mediaType": mediatype.OCI_LAYER, "digest": str(Digest.of(b"")), "size": -1}]),
            "size",
        ),
        (edit(layers=[describe(mediatype.OCI_LAYER, b"")] * 1001), "1000 layers"),
        (edit(manifests=[]), "both|members"),
        (edit(schemaVersion=3), "schemaVersion"),
        (edit(config=describe(mediatype.OCI_CONFIG, b"") | {"size": 1 << 40}), "bytes"),
    ],
)
def test_manifests_of_all_sorts(impatient, peer, tmp_path, raw, reason):
    import re

    peer.say(f"GET {MANIFEST_PATH}", Answer(200, raw, OCI))
    assert re.search(reason, refused(impatient, peer, tmp_path), re.IGNORECASE)


def test_an_index_of_too_many_images(impatient, peer, tmp_path):
    index = {
        "schemaVersion": 2,
        "mediaType": mediatype.OCI_INDEX,
        "manifests": [describe(mediatype.OCI_MANIFEST, MANIFEST)] * 1001,
    }
    peer.say(
        f"GET {MANIFEST_PATH}", Answer(200, json.dumps(index).encode(), {"Content-Type": mediatype.OCI_INDEX})
    )
    with pytest.raises(InvalidArgument, match="1000"):
        copy_image(
            impatient, f"docker://{peer.address}/a:1", f"dir:{tmp_path}/out", CopyOptions(instances="all")
        )


def test_a_config_without_end(impatient, layout, tmp_path):
    entry = layout.image()
    manifest = json.loads(layout.read(entry))
    manifest["config"] = layout.blob(mediatype.OCI_CONFIG, b" " * (9 << 20))
    source = layout.publish(layout.document(manifest))
    with pytest.raises(InvalidArgument, match="bytes"):
        inspect_image(impatient, source)


@pytest.mark.parametrize(
    "members",
    [
        {"manifest.json": b"[]"},
        {"manifest.json": b"{"},
        {"manifest.json": json.dumps([{"Config": "../../etc/passwd", "Layers": []}]).encode()},
        {"manifest.json": json.dumps([{"Config": "c", "Layers": ["/etc/passwd"]}]).encode(), "c": CONFIG},
        {"manifest.json": json.dumps([{"Config": "c", "Layers": []}]).encode(), "c": CONFIG},
        {"other": b""},
    ],
)
def test_archives_of_all_sorts(impatient, tmp_path, members):
    (tmp_path / "a.tar").write_bytes(tar(members))
    with pytest.raises(Error) as caught:
        copy_image(impatient, f"docker-archive:{tmp_path}/a.tar", f"dir:{tmp_path}/out")
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("data", [b"", b"x" * 600, b"\x1f\x8b\x08broken", tar({"a": b"1" * 900})[:700]])
def test_files_that_are_no_archives(impatient, tmp_path, data):
    (tmp_path / "a.tar").write_bytes(data)
    for transport in ("docker-archive", "oci-archive"):
        with pytest.raises(Error):
            copy_image(impatient, f"{transport}:{tmp_path}/a.tar", f"dir:{tmp_path}/out")


def test_memory_does_not_grow_with_a_layer(tmp_path):
    """A layer of many times the limit passes through a process that may not grow so far."""
    size_mb = int(os.environ.get("RUNDLET_LAYER_MB", "300"))  # 4096 in the long form
    program = f"""
from rundlet.image.api import CopyOptions, Host, copy_image
from rundlet.image.plan import Packing
with Host({str(tmp_path / "root")!r}, {str(tmp_path / "run")!r}, insecure_policy=True) as host:
    copy_image(host, "oci:{tmp_path}/layout:big", "dir:{tmp_path}/copy")
    copy_image(host, "oci:{tmp_path}/layout:big", "oci:{tmp_path}/packed:big", CopyOptions(packing=Packing("gzip")))
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""
    make_big_image(tmp_path / "layout", size_mb)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 100 << 10  # kB


def make_big_image(path, size_mb):
    """A layout with one image whose layer, a tar of one sparse file, has `size_mb` MB."""
    import hashlib
    import tarfile

    from tests.image.images import LayoutMaker

    path.mkdir()
    maker = LayoutMaker(path)
    info = tarfile.TarInfo("zeros")
    info.size = size_mb << 20
    hasher = hashlib.sha256()
    draft = path / "draft"
    with open(draft, "wb") as file:
        for part in (info.tobuf(), *([bytes(1 << 20)] * size_mb), bytes(1024)):
            hasher.update(part)
            if part[0]:
                file.write(part)
            else:
                file.seek(len(part), os.SEEK_CUR)
        file.truncate()
        size = file.tell()
    digest = f"sha256:{hasher.hexdigest()}"
    os.rename(draft, path / "blobs" / "sha256" / hasher.hexdigest())
    config = {"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": [digest]}}
    manifest = {
        "schemaVersion": 2,
        "mediaType": mediatype.OCI_MANIFEST,
        "config": maker.blob(mediatype.OCI_CONFIG, json.dumps(config).encode()),
        "layers": [{"mediaType": mediatype.OCI_LAYER, "digest": digest, "size": size}],
    }
    maker.publish(maker.document(manifest), "big")
