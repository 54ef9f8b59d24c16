"""Registries as the host's files configure them: mirrors in order, credentials for each, certificates."""

import base64
import hashlib
import os
import shutil

import pytest

from rundlet.errors import DeadlineExceeded, NotFound, PermissionDenied, Unavailable
from rundlet.registry.access import Registries
from rundlet.registry.client import Credentials, RegistrySettings
from rundlet.registry.places import AuthPlace, find_places
from rundlet.spec.reference import parse_reference

MANIFEST = b'{"schemaVersion": 2}'
SUM = "sha256:" + hashlib.sha256(MANIFEST).hexdigest()
PATH = "/v2/app/manifests/v1"


@pytest.fixture
def places(tmp_path):
    found = find_places({"HOME": str(tmp_path)}, uid=1000)
    return found._replace(
        registries_conf=str(tmp_path / "registries.conf"),
        registries_conf_dirs=(str(tmp_path / "conf.d"),),
        auth=(AuthPlace(str(tmp_path / "auth.json")),),
        certs_dirs=(str(tmp_path / "certs.d"),),
    )


@pytest.fixture
def make_registries(places, virtual_time, monkeypatch):
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    made = []

    def make(conf="", settings=None):
        with open(places.registries_conf, "w", encoding="utf-8") as file:
            file.write(conf)
        made.append(Registries(settings, places, clock=virtual_time.clock))
        return made[-1]

    yield make
    for registries in made:
        registries.close()


def serve(peer, answer, path=PATH):
    peer.say(
        f"GET {path}", answer(200, MANIFEST, {"Content-Type": "application/vnd.oci.image.manifest.v1+json"})
    )


def mirrored(registry, *mirrors, extra=""):
    tables = "".join(f'[[registry.mirror]]\nlocation = "{mirror}"\n{extra}' for mirror in mirrors)
    return f'[[registry]]\nlocation = "{registry}"\n{tables}'


def test_the_first_mirror_that_has_it_is_used(make_peer, answer, make_registries):
    empty, mirror, registry = make_peer(), make_peer(), make_peer()
    serve(mirror, answer)
    serve(registry, answer)
    registries = make_registries(mirrored(registry.address, empty.address, mirror.address))
    name = parse_reference(f"{registry.address}/app:v1")
    opened = registries.open(name)
    assert opened.fetched.raw == MANIFEST
    assert (opened.remote.name, str(opened.remote.reference)) == (name, f"{mirror.address}/app:v1")
    assert len(opened.passed_over) == 1
    assert empty.address in opened.passed_over[0]
    assert not registry.asked(PATH)


def test_a_mirror_that_is_down_is_passed_over(peer, answer, make_registries):
    serve(peer, answer)
    name = parse_reference(f"{peer.address}/app:v1")
    opened = make_registries(mirrored(peer.address, "127.0.0.1:1")).open(name)
    assert opened.remote.reference == name
    assert "127.0.0.1:1: cannot connect" in opened.passed_over[0]


def test_a_busy_mirror_does_not_hold_up_the_pull_for_longer_than_its_timeout(
    make_peer, peer, answer, make_registries, virtual_time
):
    """429 with Retry-After is waited for only as long as the mirror may take."""
    serve(peer, answer)
    busy = make_peer()
    busy.say(f"GET {PATH}", answer(429, b"", {"Retry-After": "4"}))
    conf = mirrored(peer.address, busy.address, extra='timeout = "9s"\n')
    opened = make_registries(conf).open(parse_reference(f"{peer.address}/app:v1"))
    assert opened.remote.reference.domain == peer.address
    assert virtual_time.slept == [4, 4]
    assert "no time left" in opened.passed_over[0]


def test_the_registry_s_own_error_is_told_and_the_mirrors_in_the_hint(make_peer, peer, make_registries):
    mirror = make_peer()
    registries = make_registries(mirrored(peer.address, mirror.address))
    with pytest.raises(NotFound, match=f"registry {peer.address}") as caught:
        registries.open(parse_reference(f"{peer.address}/app:v1"))
    assert f"{mirror.address}/app:v1" in caught.value.hint


def test_credentials_given_for_the_name_are_not_shown_to_a_mirror(make_peer, peer, answer, make_registries):
    basic = answer(401, b"", {"WWW-Authenticate": 'Basic realm="x"'})
    mirror = make_peer()
    mirror.say(f"GET {PATH}", basic)
    peer.say(f"GET {PATH}", basic, answer(200, MANIFEST))
    registries = make_registries(mirrored(peer.address, mirror.address))
    registries.open(parse_reference(f"{peer.address}/app:v1"), Credentials("me", "secret"))
    assert not [seen for seen in mirror.seen if "Authorization" in seen.headers]
    assert [seen for seen in peer.asked(PATH) if "Authorization" in seen.headers]


def test_each_endpoint_has_its_own_credentials_from_auth_json(
    make_peer, peer, answer, make_registries, tmp_path
):
    mirror = make_peer()
    mirror.say(
        f"GET {PATH}", answer(401, b"", {"WWW-Authenticate": 'Basic realm="x"'}), answer(200, MANIFEST)
    )
    auth = base64.b64encode(b"mirror-user:pw").decode()
    (tmp_path / "auth.json").write_text(f'{{"auths": {{"{mirror.address}/app": {{"auth": "{auth}"}}}}}}')
    opened = make_registries(mirrored(peer.address, mirror.address)).open(
        parse_reference(f"{peer.address}/app:v1")
    )
    assert opened.remote.credentials.username == "mirror-user"
    assert mirror.seen[-1].headers["Authorization"] == f"Basic {auth}"


def test_a_tls_mirror_with_an_unknown_certificate_needs_insecure(
    make_peer, peer, answer, make_registries, certificates
):
    serve(peer, answer)
    tls = make_peer(context=certificates.server_context())
    serve(tls, answer)
    name = parse_reference(f"{peer.address}/app:v1")
    strict = make_registries(mirrored(peer.address, tls.address)).open(name)
    assert "certificate" in strict.passed_over[0]
    loose = make_registries(mirrored(peer.address, tls.address, extra="insecure = true\n")).open(name)
    assert loose.remote.reference.domain == tls.address


def test_certs_d_is_looked_for_by_host_and_port(make_peer, answer, make_registries, certificates, places):
    tls = make_peer(context=certificates.server_context())
    serve(tls, answer)
    directory = f"{places.certs_dirs[0]}/{tls.address}"
    os.makedirs(directory)
    shutil.copy(certificates.ca, f"{directory}/ca.crt")
    assert make_registries().open(parse_reference(f"{tls.address}/app:v1")).fetched.raw == MANIFEST
    explicit = RegistrySettings(cert_dir=directory)
    assert (
        make_registries("", explicit).open(parse_reference(f"{tls.address}/app:v1")).fetched.raw == MANIFEST
    )


def test_a_short_name_is_taken_from_the_first_registry_that_has_it(make_peer, answer, make_registries):
    without, having = make_peer(), make_peer()
    serve(having, answer)
    registries = make_registries(f'unqualified-search-registries = ["{without.address}", "{having.address}"]')
    assert str(registries.open_any("app:v1").remote.name) == f"{having.address}/app:v1"
    with pytest.raises(NotFound, match=without.address):
        registries.open_any("missing:v1")


def test_a_change_of_the_files_counts_at_once(peer, answer, make_registries, places, tmp_path):
    serve(peer, answer)
    registries = make_registries()
    name = parse_reference(f"{peer.address}/app:v1")
    registries.open(name)
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d" / "50-block.conf").write_text(
        f'[[registry]]\nlocation = "{peer.address}"\nblocked = true\n'
    )
    with pytest.raises(PermissionDenied, match="blocks"):
        registries.open(name)


def test_the_caller_s_deadline_ends_a_mirror_s_time_too(
    make_peer, peer, answer, make_registries, virtual_time
):
    busy = make_peer()
    busy.say(f"GET {PATH}", answer(503))
    peer.say(f"GET {PATH}", answer(503))
    registries = make_registries(mirrored(peer.address, busy.address))
    deadline_ns = virtual_time.clock.now_ns() + int(0.4e9)
    with pytest.raises((DeadlineExceeded, Unavailable)):
        registries.open(parse_reference(f"{peer.address}/app:v1"), deadline_ns=deadline_ns)
    assert sum(virtual_time.slept) <= 0.4
