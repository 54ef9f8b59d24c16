"""`rundlet image`: the commands end to end, their spelling, and what they cost to start."""

import io
import json
import subprocess
import sys

import pytest

from rundlet.cli import main
from rundlet.cli.image import COMMANDS
from rundlet.spec import mediatype
from tests.cli.test_imports import modules_after
from tests.image.conftest import serving
from tests.image.images import LayoutMaker


class Outcome:
    def __init__(self, code, stdout, stderr):
        self.code, self.stdout, self.stderr = code, stdout, stderr


@pytest.fixture
def image(tmp_path, capfdbinary):
    """The group against a store of this test's own."""
    place = ("--root", f"{tmp_path}/root", "--run-root", f"{tmp_path}/run", "--insecure-policy")

    def call(*words):
        capfdbinary.readouterr()
        code = main.run(["image", *place, *words])
        sys.stdout.flush()
        out, err = capfdbinary.readouterr()
        return Outcome(code, out.decode(), err.decode())

    return call


@pytest.fixture
def layout(tmp_path):
    return LayoutMaker(tmp_path / "layout")


@pytest.fixture
def source(layout):
    return layout.publish(layout.image(({"etc/one": b"1"}, {"bin/two": b"2"})), "image")


@pytest.fixture
def registry(tmp_path):
    with serving(tmp_path / "registry") as server:
        yield server.address


@pytest.fixture
def stored(image, source):
    """The image in the store, as localhost/app:1."""
    assert image("pull", "-q", source).code == 0
    names = json.loads(image("images", "--format", "json").stdout)
    assert image("tag", names[0]["Id"], "localhost/app:1").code == 0
    return "localhost/app:1"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_examples(image, name):
    shown = image(name, "--help")
    assert shown.code == 0
    assert "Examples:" in shown.stdout
    assert f"rundlet image {name}" in shown.stdout


def test_the_group_lists_its_commands(image):
    shown = image("--help").stdout
    assert all(name in shown for name in COMMANDS)


# --- skopeo's command lines -------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        ("copy", "--src-tls-verify=false", "--dest-tls-verify=true", "SOURCE", "dir:OUT"),
        ("copy", "--insecure-policy", "--override-arch", "amd64", "SOURCE", "dir:OUT"),
        ("copy", "--all=false", "--preserve-digests=true", "-f", "oci", "SOURCE", "oci:OUT:tag"),
        ("copy", "--multi-arch", "all", "--quiet", "SOURCE", "dir:OUT"),
        (
            "copy",
            "--dest-compress",
            "--dest-compress-format",
            "zstd",
            "--dest-compress-level",
            "5",
            "SOURCE",
            "dir:OUT",
        ),
        ("copy", "--dest-decompress", "--retry-times", "2", "SOURCE", "dir:OUT"),
        ("copy", "--additional-tag", "b:2", "SOURCE", "docker-archive:OUT:a:1"),
        ("copy", "--remove-signatures", "--src-no-creds", "--authfile", "/none", "SOURCE", "dir:OUT"),
        ("inspect", "--no-tags", "--tls-verify=false", "SOURCE"),
        ("inspect", "-n", "--config", "--retry-times=3", "SOURCE"),
        ("inspect", "--override-os", "linux", "--format", "{{.Digest}}", "SOURCE"),
    ],
)
def test_skopeos_words_are_understood(image, source, tmp_path, words):
    done = image(*(word.replace("SOURCE", source).replace("OUT", f"{tmp_path}/out") for word in words))
    assert (done.code, done.stderr.count("rundlet:")) == (0, 0)


@pytest.mark.parametrize(
    "words",
    [
        ("copy", "a", "dir:OUT"),
        ("copy", "--all", "--platform", "linux/amd64", "SOURCE", "dir:OUT"),
        ("copy", "--format", "v2s1", "SOURCE", "dir:OUT"),
        ("copy", "--dest-compress-format", "lzma", "SOURCE", "dir:OUT"),
        ("copy", "--dest-decompress", "--dest-compress", "SOURCE", "dir:OUT"),
        ("copy", "--src-creds", "a:b", "--src-no-creds", "SOURCE", "dir:OUT"),
        ("copy", "--src-username", "a", "SOURCE", "dir:OUT"),
        ("copy", "--encrypt-layer", "0", "SOURCE", "dir:OUT"),
        ("copy", "--sign-by", "ABC", "SOURCE", "dir:OUT"),
        ("copy", "SOURCE", "tarball:OUT"),
        ("list-tags", "docker://a/b:1"),
        ("delete", "dir:/x"),
        ("standalone-verify", "/none", "a:1", "any", "/none"),
        ("manifest-digest", "/none"),
        ("rmi",),
        ("rmi", "absent"),
        ("unmount",),
        ("logout",),
        ("load", "-i", "/none"),
    ],
)
def test_what_cannot_be_is_one_line(image, source, tmp_path, words):
    done = image(*(word.replace("SOURCE", source).replace("OUT", f"{tmp_path}/out") for word in words))
    assert done.code == 1
    assert done.stderr.startswith("rundlet: ")
    assert "Traceback" not in done.stderr


def test_progress_for_programs(image, source, tmp_path):
    done = image("copy", "--progress", "json", source, f"dir:{tmp_path}/out")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert {each["event"] for each in events} == {"blob", "image"}
    assert {each["state"] for each in events if each["event"] == "blob"} >= {"done"}
    assert events[-1]["digest"].startswith("sha256:")


def test_progress_for_people(image, source, tmp_path):
    plain = image("copy", "--progress", "plain", source, f"dir:{tmp_path}/plain").stderr
    assert plain.count("Copied blob sha256:") == 3
    assert image("copy", "--progress", "bars", source, f"dir:{tmp_path}/bars").code == 0
    assert image("copy", "-q", source, f"dir:{tmp_path}/quiet").stderr == ""


def test_a_dry_run_prints_the_requests(image, source, registry, tmp_path):
    told = image("copy", "--dry-run", source, f"docker://{registry}/a:1").stdout
    assert f"PUT {registry}/v2/a/manifests/1" in told
    assert f"POST {registry}/v2/a/blobs/uploads/" in told
    assert (
        image("delete", "--dry-run", f"docker://{registry}/a:1").stdout == f"DELETE docker://{registry}/a:1\n"
    )


def test_the_digest_goes_to_a_file(image, source, tmp_path):
    assert image("copy", "--digestfile", f"{tmp_path}/digest", source, f"dir:{tmp_path}/out").code == 0
    assert (tmp_path / "digest").read_text() == image("inspect", "--manifest-digest", source).stdout.strip()
    assert (
        image("manifest-digest", f"{tmp_path}/out/manifest.json").stdout.strip()
        == (tmp_path / "digest").read_text()
    )


def test_tags_pushes_and_deletions(image, stored, registry):
    assert image("push", "-q", stored, f"{registry}/app:1").code == 0
    assert image("push", "-q", stored, f"docker://{registry}/app:2").code == 0
    listed = json.loads(image("list-tags", f"docker://{registry}/app").stdout)
    assert listed == {"Repository": f"{registry}/app", "Tags": ["1", "2"]}
    assert image("delete", f"docker://{registry}/app:1").code == 0
    assert json.loads(image("list-tags", f"docker://{registry}/app").stdout)["Tags"] == []


def test_signing_files(image, source, tmp_path):
    (tmp_path / "passphrase").write_text("secret\n")
    words = (
        "generate-sigstore-key",
        "--passphrase-file",
        f"{tmp_path}/passphrase",
        "--output-prefix",
        f"{tmp_path}/key",
    )
    assert image(*words).code == 0
    assert (tmp_path / "key.private").stat().st_mode & 0o777 == 0o600
    assert image(*words).code == 1  # nothing is written over
    signed = (
        "copy", "-q", "--sign-by-sigstore-private-key", f"{tmp_path}/key.private",
        "--sign-passphrase-file", f"{tmp_path}/passphrase", "--sign-identity", "registry.example/a:1",
    )  # fmt: skip
    assert image(*signed, source, f"dir:{tmp_path}/out").code == 0
    assert (tmp_path / "out" / "signature-1").read_bytes().startswith(b"\0sigstore-json\n")


def test_signing_by_a_parameter_file(image, source, tmp_path):
    (tmp_path / "passphrase").write_text("secret\n")
    made = ("--passphrase-file", f"{tmp_path}/passphrase", "--output-prefix", f"{tmp_path}/key")
    assert image("generate-sigstore-key", *made).code == 0
    parameters = f"privateKeyFile: {tmp_path}/key.private\nprivateKeyPassphraseFile: {tmp_path}/passphrase\n"
    (tmp_path / "parameters").write_text(parameters)
    signed = (
        "copy",
        "-q",
        "--sign-by-sigstore",
        f"{tmp_path}/parameters",
        "--sign-identity",
        "a.example/a:1",
    )
    assert image(*signed, source, f"dir:{tmp_path}/out").code == 0
    assert (tmp_path / "out" / "signature-1").read_bytes().startswith(b"\0sigstore-json\n")
    (tmp_path / "parameters").write_text(f"{parameters}rekorURL: https://rekor.example\n")
    done = image(*signed, source, f"dir:{tmp_path}/other")
    assert done.code == 1
    assert done.stderr.startswith(
        f"rundlet: signing parameters {tmp_path}/parameters: rekorURL: signing with"
    )


def test_log_ins(image, registry, tmp_path, monkeypatch):
    monkeypatch.setenv("REGISTRY_AUTH_FILE", f"{tmp_path}/auth.json")
    monkeypatch.setattr(sys, "stdin", io.StringIO("secret\n"))
    done = image("login", "-u", "ann", "--password-stdin", registry)
    assert (done.code, done.stdout) == (0, "Login Succeeded!\n")
    assert image("login", "--get-login", registry).stdout == "ann\n"
    assert image("logout", registry).code == 0
    assert image("login", "--get-login", registry).code == 1


def test_what_is_no_tar_is_refused_as_a_layer_by_its_name(image, tmp_path):
    (tmp_path / "notes").write_text("no tar")
    done = image("add-layer", "--image", f"{tmp_path}/layout:1", f"{tmp_path}/notes")
    assert (done.code, done.stderr) == (1, f"rundlet: layer {tmp_path}/notes: archive ends inside a header\n")


def test_a_directory_for_temporary_files_that_is_not_there_is_one_line(image, source, tmp_path):
    done = image("copy", "--tmpdir", f"{tmp_path}/nothing", source, f"docker-archive:{tmp_path}/out.tar")
    assert done.code == 2
    assert done.stderr.splitlines()[-1].startswith("Error: Invalid value for '--tmpdir': Directory")


@pytest.mark.parametrize(
    ("words", "instead"),
    [
        (("login", "registry.example"), "--username"),
        (("login", "-u", "ann", "registry.example"), "--password-stdin"),
        (("generate-sigstore-key", "--output-prefix", "key"), "--passphrase-file"),
    ],
)
def test_a_question_without_a_terminal_is_one_line_and_a_hint(tmp_path, words, instead):
    done = subprocess.run(
        [sys.executable, "-m", "rundlet.cli.main", "image", "--root", f"{tmp_path}/root", *words],
        stdin=subprocess.DEVNULL, start_new_session=True, capture_output=True, text=True, cwd=tmp_path, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    message, hint = done.stderr.splitlines()
    assert "there is no terminal to ask for it" in message
    assert instead in hint


# --- the store --------------------------------------------------------------------


def test_images_names_and_removal(image, stored):
    assert "localhost/app" in image("images").stdout
    assert image("tag", stored, "localhost/app:2", "other:3").code == 0
    assert image("images", "localhost/app", "-q").stdout.count("\n") == 1
    assert image("untag", stored, "other:3").code == 0
    assert image("untag", stored, "other:3").code == 1
    assert image("rmi", "localhost/app:2").stdout == "Untagged: localhost/app:2\n"
    assert image("inspect", stored).code == 0
    image_id = image("images", "-q").stdout.strip()
    assert "Deleted: sha256:" in image("rmi", image_id).stdout
    assert image("images", "-q").stdout == ""
    assert image("rmi", "--ignore", stored).code == 0


def test_history_and_diff(image, stored):
    shown = image("history", "--format", "{{.CreatedBy}}", stored).stdout
    assert shown == "layer 1\nlayer 0\n"
    assert image("diff", stored).stdout == "A /bin\nA /bin/two\n"
    assert json.loads(image("diff", "--format", "json", stored, stored).stdout) == {}


@pytest.mark.parametrize("kind", ["docker-archive", "oci-archive"])
def test_saved_and_loaded(image, stored, tmp_path, kind):
    before = image("inspect", "--config", stored).stdout
    assert image("save", "-q", "--format", kind, "-o", f"{tmp_path}/a.tar", stored).code == 0
    assert image("rmi", "--all").code == 0
    assert image("load", "-q", "-i", f"{tmp_path}/a.tar").code == 0
    assert image("inspect", "--config", stored).stdout == before


@pytest.mark.parametrize("kind", ["docker-archive", "oci-archive", "oci-dir"])
def test_several_images_in_one_archive(image, stored, layout, tmp_path, kind):
    other = layout.publish(layout.image(({"etc/one": b"1"}, {"bin/three": b"3"})), "other")
    assert image("copy", "-q", other, "containers-storage:localhost/other:1").code == 0
    assert image("tag", stored, "localhost/app:2").code == 0
    names = [stored, "localhost/app:2", "localhost/other:1"]
    before = [image("inspect", "--config", name).stdout for name in names]
    assert image("save", "-q", "-m", "--format", kind, "-o", f"{tmp_path}/a", *names).code == 0
    assert image("rmi", "--all").code == 0
    if kind == "oci-dir":
        for name in names:
            assert image("copy", "-q", f"oci:{tmp_path}/a:{name}", f"containers-storage:{name}").code == 0
    else:
        assert image("load", "-q", "-i", f"{tmp_path}/a").code == 0
    assert [image("inspect", "--config", name).stdout for name in names] == before


def test_one_of_several_images_of_an_archive(image, stored, layout, tmp_path):
    other = layout.publish(layout.image(({"bin/three": b"3"},)), "other")
    assert image("copy", "-q", other, "containers-storage:localhost/other:1").code == 0
    archive = f"docker-archive:{tmp_path}/a.tar"
    assert image("save", "-q", "-o", f"{tmp_path}/a.tar", stored, "localhost/other:1").code == 0
    assert image("inspect", archive).code == 1
    ids = [image("inspect", "--config", f"{archive}{which}").stdout for which in (":@0", ":@1")]
    assert [
        image("inspect", "--config", f"{archive}:{name}").stdout for name in (stored, "localhost/other:1")
    ] == ids
    assert json.loads(image("list-tags", archive).stdout)["Tags"] == [stored, "localhost/other:1"]
    assert image("inspect", f"{archive}:@2").code == 1


def test_a_directory_takes_one_image(image, stored, tmp_path):
    shown = image("save", "--format", "docker-dir", "-o", f"{tmp_path}/a", stored, stored)
    assert shown.code == 1
    assert "a docker-dir holds one image" in shown.stderr


@pytest.mark.kernel
def test_mounted_to_be_looked_at(image, stored):
    path = image("mount", stored).stdout.strip()
    with open(f"{path}/etc/one", "rb") as file:
        assert file.read() == b"1"
    with pytest.raises(OSError, match="Read-only"), open(f"{path}/new", "wb"):
        pass
    assert path in image("mount").stdout
    assert image("mount", stored).stdout.strip() == path
    assert image("unmount", stored).code == 0
    assert image("unmount", stored).code == 1
    assert image("mount").stdout == ""


# --- streams and start-up -----------------------------------------------------------


def test_archives_flow_through_pipes(stored, tmp_path):
    command = [sys.executable, "-m", "rundlet.cli.main", "image", "--insecure-policy"]
    command += ["--root", f"{tmp_path}/root", "--run-root", f"{tmp_path}/run"]
    saved = subprocess.run([*command, "save", stored], capture_output=True, check=True).stdout
    copied = subprocess.run(
        [*command, "copy", "docker-archive:-", "oci-archive:/dev/stdout:new"],
        input=saved,
        capture_output=True,
        check=True,
    ).stdout
    done = subprocess.run([*command, "load"], input=copied, capture_output=True, check=True)
    assert b"Loaded image: new" in done.stdout


def test_looking_at_a_local_image_loads_nothing_heavy(stored, tmp_path):
    place = ["--root", f"{tmp_path}/root", "--run-root", f"{tmp_path}/run"]
    arguments = ["image", *place, "inspect", stored]
    loaded = modules_after(
        f"import sys, io\nsys.stdout = io.StringIO()\nfrom rundlet.cli.main import run\nrun({arguments!r})"
    )
    heavy = {"grpc", "yaml", "rich", "urllib3", "ssl", "cryptography", "rundlet.engine", "rundlet.registry"}
    heavy |= {
        "rundlet.trust",
        "rundlet.image.planner",
        "rundlet.image.stack",
        "tarfile",
    }
    assert not loaded & heavy


def test_a_copy_loads_only_what_it_uses(image, source, registry, tmp_path):
    """What a copy from a registry into a layout imports is most of the time that a small one takes."""
    remote = f"docker://{registry}/a/b:1"
    assert image("copy", source, remote).code == 0
    arguments = ["image", "--insecure-policy", "copy", "-q", remote, f"oci:{tmp_path}/copied:1"]
    loaded = modules_after(f"from rundlet.cli.main import run\nassert run({arguments!r}) == 0")
    heavy = {"grpc", "yaml", "rich", "ssl", "cryptography", "logging", "asyncio", "concurrent.futures"}
    heavy |= {"http.client", "email", "tarfile", "zstandard", "isal", "sqlite3", "rundlet.spec.schema1"}
    heavy |= {"rundlet.engine", "rundlet.store", "rundlet.image.recode"}
    assert not loaded & heavy


def test_an_image_of_another_kind_is_shown_whole(image, layout):
    name = layout.publish(layout.artifact(b"content", "a/kind"), "artifact")
    assert json.loads(image("inspect", "--raw", name).stdout)["artifactType"] == "a/kind"
    shown = json.loads(image("inspect", name).stdout)
    assert shown["LayersData"][0]["MIMEType"] == "text/plain"
    assert image("history", name).code == 1
    assert mediatype.OCI_EMPTY in image("inspect", "--raw", name).stdout


def test_an_input_of_no_use_is_named(image, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
    assert image("load").stderr == "rundlet: stdin: empty, where an archive was expected\n"
    (tmp_path / "notes").write_text("{x")
    assert image("manifest-digest", f"{tmp_path}/notes").stderr.startswith(
        f"rundlet: manifest {tmp_path}/notes: "
    )
