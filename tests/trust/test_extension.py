"""Signatures kept by the registry itself, as OpenShift's does: against a registry that speaks the extension."""

import base64
import json
import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from rundlet.errors import InvalidArgument, Unavailable
from rundlet.registry.access import Registries
from rundlet.registry.client import RegistrySettings
from rundlet.registry.places import find_places
from rundlet.registry.server import RegistryServer
from rundlet.spec.digest import Digest
from rundlet.spec.reference import parse_reference
from rundlet.trust.storage import SignatureStorage

SIMPLE = [bytes([0x90, number]) for number in range(3)]
DIGEST = Digest.of(b"manifest")
_SIGNATURES = re.compile(r"/extensions/v2/(.+)/signatures/(sha256:[0-9a-f]{64})")


class _Handler(BaseHTTPRequestHandler):
    """The extension, in front of nothing else: `server.kept` is what it has, by (path, digest)."""

    def log_message(self, format, *args):
        pass

    def answer(self, status, document):
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        self.send_response(status)
        self.send_header("X-Registry-Supports-Signatures", "1")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        if self.path == "/v2/":
            self.answer(200, {})
        elif found := _SIGNATURES.fullmatch(self.path):
            listed = self.server.kept.get(found.groups())
            self.answer(*((200, {"signatures": listed}) if listed is not None else (404, {})))
        else:
            self.answer(404, {})

    def do_PUT(self):
        found = _SIGNATURES.fullmatch(self.path)
        signature = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert re.fullmatch(rf"{found[2]}@[0-9a-f]{{32}}", signature["name"])
        assert (signature["schemaVersion"], signature["type"]) == (2, "atomic")
        self.server.kept.setdefault(found.groups(), []).append(signature)
        self.answer(201, {})


@contextmanager
def serving(kept):
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        server.kept = kept
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def registries(tmp_path):
    usual = find_places({"HOME": str(tmp_path)}, uid=1000)
    usual = usual._replace(registries_conf=str(tmp_path / "none"), registries_conf_dirs=(), auth=())
    found = Registries(RegistrySettings(retries=0), usual)
    yield found
    found.close()


def entry(content, **changes):
    return {
        "schemaVersion": 2,
        "name": "n",
        "type": "atomic",
        "content": base64.b64encode(content).decode(),
        **changes,
    }


def test_a_registry_that_keeps_signatures_is_read_and_written(registries, tmp_path):
    kept = {}
    with serving(kept) as address:
        storage = SignatureStorage(registries)
        remote = registries.home(parse_reference(f"{address}/team/app:v1"))
        assert storage.read(remote, DIGEST) == ()
        storage.add(remote, DIGEST, SIMPLE[:2])
        storage.add(remote, DIGEST, SIMPLE)
        assert storage.read(remote, DIGEST) == tuple(SIMPLE)
    (signatures,) = kept.values()
    assert len({one["name"] for one in signatures}) == 3
    assert not (tmp_path / ".local").exists()  # nothing went to lookaside storage


def test_signatures_of_other_kinds_are_passed_over(registries):
    kept = {("a", str(DIGEST)): [entry(b"x", type="other"), entry(SIMPLE[0]), entry(b"y", schemaVersion=3)]}
    with serving(kept) as address:
        remote = registries.home(parse_reference(f"{address}/a:v1"))
        assert SignatureStorage(registries).read(remote, DIGEST) == (SIMPLE[0],)


def test_what_a_registry_says_wrongly_is_one_clear_error(registries):
    kept = {("a", str(DIGEST)): [{**entry(b"x"), "content": "?"}], ("b", str(DIGEST)): 5}
    with serving(kept) as address:
        for name in ("a", "b"):
            remote = registries.home(parse_reference(f"{address}/{name}:v1"))
            with pytest.raises(InvalidArgument, match=f"{address}: signatures of sha256"):
                SignatureStorage(registries).read(remote, DIGEST)


def test_a_registry_that_does_not_answer_is_not_one_without_signatures(registries):
    with serving({}) as address:
        remote = registries.home(parse_reference(f"{address}/a:v1"))
    with pytest.raises(Unavailable):
        SignatureStorage(registries).read(remote, DIGEST)


def test_a_registry_without_the_extension_is_left_to_lookaside_storage(registries, tmp_path):
    server = RegistryServer(str(tmp_path / "registry"))
    server.start()
    try:
        remote = registries.home(parse_reference(f"{server.address}/a:v1"))
        SignatureStorage(registries).add(remote, DIGEST, SIMPLE)
        assert (tmp_path / ".local/share/containers/sigstore").is_dir()
    finally:
        server.stop()
