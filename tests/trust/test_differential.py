"""The same verdicts as skopeo's, on images that it has signed, and its verdicts on ours.

Debian builds skopeo without sigstore: what needs that runs where another skopeo comes first in PATH.
"""

import base64
import contextlib
import json
import os
import shutil
import subprocess
from typing import NamedTuple

import pytest

from rundlet.errors import Error
from rundlet.registry.access import Registries
from rundlet.registry.client import RegistrySettings
from rundlet.registry.places import find_places
from rundlet.registry.server import RegistryServer
from rundlet.spec.digest import Digest
from rundlet.spec.policy import parse_policy
from rundlet.spec.reference import parse_reference
from rundlet.trust.check import PolicyRefusal, SignedManifest, check_image
from rundlet.trust.gate import Gate
from rundlet.trust.identity import path_identity
from rundlet.trust.policyfile import PolicyFiles
from rundlet.trust.signing import generate_sigstore_key, sign_sigstore, sign_simple
from rundlet.trust.standalone import verify_standalone
from rundlet.trust.storage import SignatureStorage
from tests.registry.debian import debian_registries

pytestmark = pytest.mark.differential

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
VENDOR = "quay.io/vendor/app"
ACCEPT, REJECT = {"type": "insecureAcceptAnything"}, {"type": "reject"}


class Studio(NamedTuple):
    """A registry, signers, and the files that skopeo and we read."""

    directory: str
    address: str
    gpg: object
    good: str
    other: str
    registries: Registries

    def path(self, name):
        return f"{self.directory}/{name}"

    def write(self, name, content):
        with open(self.path(name), "wb") as file:
            file.write(content if isinstance(content, bytes) else json.dumps(content).encode())
        return self.path(name)

    def skopeo(self, *words, policy=None):
        """(whether it went well, what it complained about)."""
        chosen = ["--policy", policy] if policy else ["--insecure-policy"]
        command = ["skopeo", *chosen, "--registries.d", self.path("registries.d"), *words]
        environ = {**os.environ, "GNUPGHOME": self.gpg.home}
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environ)
        return done.returncode == 0, done.stderr

    def publish(self, name, *words):
        """Copy the image into the registry under `name`, signed by skopeo as `words` say."""
        target = f"docker://{self.address}/{name}"
        fine, said = self.skopeo(
            "copy", "--dest-tls-verify=false", *words, f"dir:{self.path('image')}", target
        )
        assert fine, said
        return parse_reference(f"{self.address}/{name}")

    def skopeo_accepts(self, reference, policy):
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(self.path("out"))
        return self.skopeo(
            "copy",
            "--src-tls-verify=false",
            f"docker://{reference}",
            f"dir:{self.path('out')}",
            policy=policy,
        )

    def we_accept(self, reference, policy):
        opened = self.registries.open(reference)
        gate = Gate(self.registries, PolicyFiles(policy), self.path("registries.d"))
        try:
            gate.check(opened.remote, SignedManifest(opened.fetched.raw, opened.fetched.digest))
        except PolicyRefusal as error:
            return False, error.message
        return True, ""

    def storage(self):
        return SignatureStorage(self.registries, self.path("registries.d"))


def write_image(directory):
    """An image of one small layer as `dir:` keeps it; its manifest."""
    layer, config = b"no tar, but nobody unpacks it", b'{"architecture": "amd64", "os": "linux"}'
    os.makedirs(directory)
    described = []
    for blob, kind in ((config, "config.v1+json"), (layer, "layer.v1.tar")):
        digest = Digest.of(blob)
        with open(f"{directory}/{digest.hex}", "wb") as file:
            file.write(blob)
        described.append(
            {"mediaType": f"application/vnd.oci.image.{kind}", "digest": str(digest), "size": len(blob)}
        )
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": described[0],
        "layers": described[1:],
    }
    for name, content in (
        ("manifest.json", json.dumps(manifest)),
        ("version", "Directory Transport Version: 1.1\n"),
    ):
        with open(f"{directory}/{name}", "w", encoding="ascii") as file:
            file.write(content)
    return json.dumps(manifest).encode()


def open_studio(directory, address, gpg, good, other):
    usual = find_places({"HOME": directory}, uid=1000)
    usual = usual._replace(registries_conf=f"{directory}/none", registries_conf_dirs=(), auth=())
    studio = Studio(directory, address, gpg, good, other, Registries(RegistrySettings(), usual))
    os.makedirs(studio.path("registries.d"))
    lookaside = f"file://{directory}/lookaside"
    studio.write(
        "registries.d/a.yaml", {"default-docker": {"lookaside": lookaside, "use-sigstore-attachments": True}}
    )
    write_image(studio.path("image"))
    studio.write("good.gpg", gpg.export(good))
    studio.write("other.gpg", gpg.export(other, armor=False))
    studio.write("passphrase", b"secret\n")
    generate_sigstore_key(studio.path("key"), "secret")
    generate_sigstore_key(studio.path("key2"), "secret")
    return studio


@pytest.fixture(scope="module")
def studio(tmp_path_factory, gpg, signer):
    if not shutil.which("skopeo"):
        pytest.skip("skopeo not on this host")
    directory = tmp_path_factory.mktemp("studio")
    server = RegistryServer(str(directory / "registry"))
    server.start()
    studio = open_studio(str(directory), server.address, gpg, signer, gpg.make_key("other@example.com"))
    yield studio
    studio.registries.close()
    server.stop()


@pytest.fixture(scope="module")
def sigstore_studio(studio):
    """Only where skopeo knows sigstore."""
    words = ["--dest-tls-verify=false", *signing(studio, "sigstore:v1")]
    _, said = studio.skopeo("copy", *words, f"dir:{studio.path('image')}", f"docker://{studio.address}/probe")
    if "sigstore disabled" in said:
        pytest.skip("a skopeo with sigstore not on this host")
    return studio


def signing(studio, name):
    """skopeo's words for the signed images."""
    return {
        "unsigned:v1": [],
        "good:v1": ["--sign-by", studio.good],
        "other:v1": ["--sign-by", studio.other],
        "vendor/app:v1": ["--sign-by", studio.good, "--sign-identity", f"{VENDOR}:v1"],
        "sigstore:v1": [
            "--sign-by-sigstore-private-key",
            studio.path("key.private"),
            "--sign-passphrase-file",
            studio.path("passphrase"),
        ],
    }[name]


def requirements(studio):
    """Every kind that this skopeo knows, by name."""
    gpg = {"type": "signedBy", "keyType": "GPGKeys", "keyPath": studio.path("good.gpg")}
    other = {**gpg, "keyPath": studio.path("other.gpg")}
    with open(studio.path("good.gpg"), "rb") as file:
        data = base64.b64encode(file.read()).decode()

    def identified(requirement, kind, **members):
        return {**requirement, "signedIdentity": {"type": kind, **members}}

    return {
        "accept": [ACCEPT],
        "reject": [REJECT],
        "accept and reject": [ACCEPT, REJECT],
        "good": [gpg],
        "other": [other],
        "data": [{"type": "signedBy", "keyType": "GPGKeys", "keyData": data}],
        "either": [
            {"type": "signedBy", "keyType": "GPGKeys", "keyPaths": [gpg["keyPath"], other["keyPath"]]}
        ],
        "both keys": [gpg, other],
        "exact": [identified(gpg, "matchExact")],
        "repository": [identified(gpg, "matchRepository")],
        "vendor's": [identified(gpg, "exactReference", dockerReference=f"{VENDOR}:v1")],
        "vendor's repository": [identified(gpg, "exactRepository", dockerRepository=VENDOR)],
        "remapped": [identified(gpg, "remapIdentity", prefix=studio.address, signedPrefix="quay.io")],
        "missing key": [{**gpg, "keyPath": studio.path("none.gpg")}],
    }


def sigstore_requirements(studio):
    key = {"type": "sigstoreSigned", "keyPath": studio.path("key.pub")}
    gpg = requirements(studio)["good"][0]
    return {
        "accept": [ACCEPT],
        "key": [key],
        "other key": [{**key, "keyPath": studio.path("key2.pub")}],
        "key, repository": [{**key, "signedIdentity": {"type": "matchRepository"}}],
        "gpg and key": [gpg, key],
    }


def compare(studio, reference, policies):
    """Both sides' verdict on each policy; the names of those that accept."""
    accepted = set()
    for title, listed in policies.items():
        policy = studio.write("policy.json", {"default": listed})
        theirs, said = studio.skopeo_accepts(reference, policy)
        ours, why = studio.we_accept(reference, policy)
        assert ours == theirs, f"{title}: skopeo: {said or 'accepted'}; we: {why or 'accepted'}"
        accepted |= {title} if ours else set()
    return accepted


@pytest.mark.parametrize("half", [0, 1])
@pytest.mark.parametrize("name", ["unsigned:v1", "good:v1", "other:v1", "vendor/app:v1"])
def test_the_same_verdict_on_every_policy(studio, name, half):
    reference = studio.publish(name, *signing(studio, name))
    policies = list(requirements(studio).items())
    assert "accept" in compare(studio, reference, dict([policies[0], *policies[half::2]]))


@pytest.mark.parametrize("name", ["unsigned:v1", "good:v1", "sigstore:v1"])
def test_the_same_verdict_on_sigstore(sigstore_studio, name):
    studio = sigstore_studio
    reference = studio.publish(name, *signing(studio, name))
    accepted = compare(studio, reference, sigstore_requirements(studio))
    assert ("key" in accepted) is (name == "sigstore:v1")


def test_the_same_verdict_by_digest(studio):
    reference = studio.publish("digest:v1", *signing(studio, "good:v1"))
    exact = reference.with_digest(studio.registries.open(reference).fetched.digest)
    policies = requirements(studio)
    wanted = ("good", "exact", "repository", "remapped", "vendor's")
    assert "good" in compare(studio, exact, {title: policies[title] for title in wanted})


def test_the_same_scope_counts(studio):
    reference = studio.publish("scoped/team/app:v1")
    host = studio.address
    for scopes in (
        {"": [REJECT]},
        {"": [ACCEPT], host: [REJECT]},
        {host: [ACCEPT], f"{host}/scoped": [REJECT]},
        {f"{host}/scoped": [REJECT], f"{host}/scoped/team/app": [ACCEPT]},
        {f"{host}/scoped/team/app": [REJECT], f"{host}/scoped/team/app:v1": [ACCEPT]},
        {f"{host}/scoped/team/ap": [ACCEPT]},
        {f"{host}/scoped/team/app:v2": [ACCEPT]},
        {"127.0.0.1": [ACCEPT]},
        {"*.0.0.1": [ACCEPT]},
        {"*.0.1": [ACCEPT], "*.1": [REJECT]},
    ):
        policy = studio.write("policy.json", {"default": [REJECT], "transports": {"docker": scopes}})
        theirs, said = studio.skopeo_accepts(reference, policy)
        assert studio.we_accept(reference, policy)[0] == theirs, f"{scopes}: {said}"


def test_the_same_scope_counts_for_directories(studio):
    image = studio.path("image")
    with open(f"{image}/manifest.json", "rb") as file:
        raw = file.read()
    for scopes in (
        {image: [ACCEPT]},
        {studio.directory: [ACCEPT]},
        {"": [ACCEPT], image: [REJECT]},
        {f"{image}x": [ACCEPT]},
    ):
        document = {"default": [REJECT], "transports": {"dir": scopes}}
        policy = studio.write("policy.json", document)
        shutil.rmtree(studio.path("out"), ignore_errors=True)
        theirs, said = studio.skopeo("copy", f"dir:{image}", f"dir:{studio.path('out')}", policy=policy)
        try:
            check_image(
                parse_policy(json.dumps(document).encode(), "policy"),
                path_identity("dir", image),
                SignedManifest(raw, Digest.of(raw)),
                lambda: (),
            )
            ours = True
        except PolicyRefusal:
            ours = False
        assert ours == theirs, f"{scopes}: {said}"


GPG = {"type": "signedBy", "keyType": "GPGKeys", "keyPath": "/k"}
DOCUMENTS = [
    {},
    {"default": []},
    {"default": {}},
    {"default": [{"type": "unknown"}]},
    {"default": [REJECT], "more": {}},
    {"default": [{**REJECT, "more": 1}]},
    {"default": [{**GPG, "keyData": "AAAA"}]},
    {"default": [{**GPG, "keyType": "other"}]},
    {"default": [{"type": "signedBy", "keyType": "GPGKeys"}]},
    {"default": [{**GPG, "signedIdentity": {"type": "other"}}]},
    {"default": [{**GPG, "signedIdentity": {"type": "exactReference", "dockerReference": "quay.io/x"}}]},
    {
        "default": [
            {**GPG, "signedIdentity": {"type": "remapIdentity", "prefix": "a.io/x:v1", "signedPrefix": "b"}}
        ]
    },
    {"default": [ACCEPT], "transports": {"docker": {"quay.io": []}}},
    {"default": [ACCEPT], "transports": {"dir": {"/": [REJECT]}}},
    {"default": [ACCEPT], "transports": {"dir": {"relative": [REJECT]}}},
    {"default": [ACCEPT], "transports": {"dir": {"/a/": [REJECT]}}},
    {"default": [ACCEPT], "transports": {"future": {"x": [REJECT]}}},
    {"default": [ACCEPT], "transports": {"docker": {}}},
]


def test_the_same_files_are_refused(studio):
    texts = [json.dumps(document) for document in DOCUMENTS]
    texts += ['{"default": [{"type": "reject"}], "default": [{"type": "reject"}]}', "[]", "{", ""]
    for text in texts:
        policy = studio.write("policy.json", text.encode())
        shutil.rmtree(studio.path("out"), ignore_errors=True)
        theirs, said = studio.skopeo(
            "copy", f"dir:{studio.path('image')}", f"dir:{studio.path('out')}", policy=policy
        )
        try:
            parse_policy(text.encode(), "policy")
            ours = True
        except Error:
            ours = False
        assert ours == theirs, f"{text}: {said}"


def test_our_signatures_are_accepted_by_skopeo(studio):
    reference = studio.publish("ours:v1")
    opened = studio.registries.open(reference)
    digest = opened.fetched.digest
    policy = studio.write("policy.json", {"default": requirements(studio)["good"]})
    assert not studio.skopeo_accepts(reference, policy)[0]
    studio.storage().add(
        opened.remote, digest, [sign_simple(digest, reference, studio.good, home=studio.gpg.home)]
    )
    assert studio.skopeo_accepts(reference, policy) == (True, "")


def test_our_sigstore_signatures_are_accepted_by_skopeo(sigstore_studio):
    studio = sigstore_studio
    reference = studio.publish("mine:v1", *signing(studio, "sigstore:v1"))
    opened = studio.registries.open(reference)
    before = studio.storage().read(opened.remote, opened.fetched.digest)
    assert len(before) == 1
    mine = sign_sigstore(opened.fetched.digest, reference, studio.path("key2.private"), "secret")
    studio.storage().add(opened.remote, opened.fetched.digest, [*before, mine])
    assert studio.storage().read(opened.remote, opened.fetched.digest) == (*before, mine)
    both = [sigstore_requirements(studio)[title][0] for title in ("key", "other key")]
    assert studio.skopeo_accepts(reference, studio.write("policy.json", {"default": both})) == (True, "")


def test_standalone_signatures_both_ways(studio):
    manifest = studio.path("image/manifest.json")
    with open(manifest, "rb") as file:
        raw = file.read()
    name = "quay.io/team/app:v1"
    assert studio.skopeo("standalone-sign", manifest, name, studio.good, "-o", studio.path("theirs"))[0]
    with open(studio.path("theirs"), "rb") as file:
        assert verify_standalone(raw, name, [studio.good], file.read(), [studio.gpg.export(studio.good)])
    ours = sign_simple(Digest.of(raw), parse_reference(name), studio.good, home=studio.gpg.home)
    assert studio.skopeo("standalone-verify", manifest, name, studio.good, studio.write("ours", ours))[0]
    assert not studio.skopeo("standalone-verify", manifest, "quay.io/x:v1", studio.good, studio.path("ours"))[
        0
    ]


def test_images_in_debian_s_registry(tmp_path, gpg, signer, studio):
    with debian_registries(tmp_path) as make:
        here = open_studio(str(tmp_path / "studio"), make(), gpg, signer, studio.other)
        reference = here.publish("team/app:v1", *signing(here, "good:v1"))
        opened = here.registries.open(reference)
        mine = sign_sigstore(opened.fetched.digest, reference, here.path("key.private"), "secret")
        here.storage().add(opened.remote, opened.fetched.digest, [mine])
        policies = {**requirements(here), **sigstore_requirements(here)}
        for title, wanted in [("gpg and key", True), ("other key", False), ("other", False)]:
            policy = here.write("policy.json", {"default": policies[title]})
            assert here.we_accept(reference, policy)[0] is wanted
        here.registries.close()
