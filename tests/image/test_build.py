"""Images without a Dockerfile: reproducible, and read by umoci as its own are by us."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from rundlet.archive.stream import ByteStream
from rundlet.archive.tar import TarReader
from rundlet.cli.main import run
from rundlet.image.change import CLEARABLE
from tests.archive.trees import describe

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="owners need root")
needs_umoci = pytest.mark.skipif(shutil.which("umoci") is None, reason="umoci not on this host")


def make_tree(path, order=1):
    """The same tree, made in one order or the other."""
    path.mkdir()
    for name in ("usr", "etc", "usr/bin"):
        (path / name).mkdir(mode=0o755)
    for name in ("etc/b", "etc/a", "usr/bin/tool", "etc/" + "long" * 40)[::order]:
        (path / name).write_bytes(name.encode() * 50)
        (path / name).chmod(0o640)
    os.symlink("tool", path / "usr/bin/alias")
    os.link(path / "etc/a", path / "etc/z")
    for directory, _, _ in os.walk(path):
        os.chmod(directory, 0o755)


def rundlet(*arguments, capsys=None):
    assert run(["image", *map(str, arguments)]) == 0
    return capsys.readouterr().out.strip() if capsys else ""


def umoci(*arguments):
    subprocess.run(["umoci", *map(str, arguments)], check=True, capture_output=True)


@pytest.fixture
def layout(tmp_path):
    make_tree(tmp_path / "base")
    run(
        ["image", "from-dir", str(tmp_path / "base"), "-t", f"{tmp_path}/layout:base", "--config.cmd", "tool"]
    )
    return tmp_path / "layout"


def read_index(layout):
    entries = json.loads((layout / "index.json").read_bytes())["manifests"]
    return {each["annotations"]["org.opencontainers.image.ref.name"]: each["digest"] for each in entries}


def read_blob(layout, digest):
    return (layout / "blobs" / digest.replace(":", "/")).read_bytes()


def read_config(layout, tag):
    manifest = json.loads(read_blob(layout, read_index(layout)[tag]))
    return json.loads(read_blob(layout, manifest["config"]["digest"]))


# --- reproducible -------------------------------------------------------------


def build_as(user, umask, source, layout, jobs):
    """Runs the jobs in a process of another user, umask and directory; the manifest's digests."""
    # All modules are loaded before the change: another user may not reach this interpreter's files.
    first = [[word.replace(str(layout), f"{layout}-first") for word in job] for job in jobs]
    program = f"""
import contextlib, io, os, shutil
from rundlet.cli.main import run
with contextlib.redirect_stdout(io.StringIO()):
    for job in {first!r}:
        assert run(["image", *job]) == 0
os.umask({umask}); os.setgid({user}); os.setuid({user})
for job in {jobs!r}:
    assert run(["image", *job]) == 0
"""
    os.chown(source, user, user)
    for directory, names, files in os.walk(source):
        for name in (*names, *files):
            os.lchown(os.path.join(directory, name), user, user)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=source.parent, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@needs_root
@pytest.mark.slow
def test_the_same_input_gives_the_same_digest_by_any_user_in_any_place(tmp_path):
    found = []
    os.chmod(tmp_path, 0o755)
    for parent in tmp_path.parents[:-2]:  # below /tmp, which is everybody's
        os.chmod(parent, 0o755)
    for number, (user, umask) in enumerate(((0, 0o022), (65534, 0o077), (1000, 0))):
        place = tmp_path / f"place{number}" / ("deep" * number or "flat")
        place.mkdir(parents=True)
        make_tree(place / "tree", order=1 if number != 1 else -1)
        os.chown(place, user, user)
        image = f"{place}/layout"
        jobs = [
            ["from-dir", "tree", "-t", f"{image}:1", "--config.cmd", "tool", "--config.label", "a=b"],
            ["insert", "--image", f"{image}:1", "--tag", "2", "tree/etc", "/opt/etc"],
            ["insert", "--image", f"{image}:2", "--tag", "3", "--whiteout", "/etc/a"],
            ["insert", "--image", f"{image}:3", "--tag", "4", "--opaque", "tree/usr", "/usr"],
            ["config", "--image", f"{image}:4", "--tag", "5", "--config.env", "A=1", "--config.user", "7:8"],
        ]
        found.append(build_as(user, umask, place / "tree", place / "layout", jobs))
    assert len(found[0]) == 5
    assert found[0] == found[1] == found[2]


def test_source_date_epoch_is_the_time_of_everything(tmp_path, monkeypatch, capsys):
    make_tree(tmp_path / "tree")
    digests = []
    for epoch in ("1700000000", "1700000000", "1700000001"):
        monkeypatch.setenv("SOURCE_DATE_EPOCH", epoch)
        image = f"{tmp_path}/l{len(digests)}:1"
        digests.append(rundlet("from-dir", tmp_path / "tree", "-t", image, capsys=capsys))
    assert digests[0] == digests[1] != digests[2]
    config = read_config(tmp_path / "l0", "1")
    assert config["created"] == config["history"][0]["created"] == "2023-11-14T22:13:20Z"


def test_a_time_that_is_none_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "yesterday")
    assert run(["image", "from-dir", str(tmp_path), "-t", f"{tmp_path}/l:1"]) == 1
    assert "SOURCE_DATE_EPOCH is 'yesterday'" in capsys.readouterr().err


# --- changes ------------------------------------------------------------------


def test_config_sets_adds_and_clears(layout):
    image = f"{layout}:base"
    rundlet(
        "config", "--image", image, "--tag", "new", "--config.env", "A=1", "--config.env", "B=2",
        "--config.env", "A=3", "--config.label", "x=y=z", "--config.volume", "/data", "--config.exposedports",
        "80/tcp", "--config.entrypoint", "sh", "--config.entrypoint=-c", "--config.workingdir", "/srv",
        "--config.stopsignal", "SIGINT", "--author", "me", "--os", "linux", "--manifest.annotation", "k=v",
        "--history.comment", "why", "--created", "2020-01-01T00:00:00Z",
    )  # fmt: skip
    config = read_config(layout, "new")
    assert config["config"] == {
        "Cmd": ["tool"], "Env": ["A=3", "B=2"], "Labels": {"x": "y=z"}, "Volumes": {"/data": {}},
        "ExposedPorts": {"80/tcp": {}}, "Entrypoint": ["sh", "-c"], "WorkingDir": "/srv", "StopSignal": "SIGINT",
    }  # fmt: skip
    assert (config["author"], config["created"]) == ("me", "2020-01-01T00:00:00Z")
    assert config["history"][-1] == {
        "created": "1970-01-01T00:00:00Z", "created_by": "rundlet image config", "comment": "why",
        "empty_layer": True,
    }  # fmt: skip
    assert json.loads(read_blob(layout, read_index(layout)["new"]))["annotations"] == {"k": "v"}
    rundlet(
        "config",
        "--image",
        f"{layout}:new",
        *(word for key in CLEARABLE for word in ("--clear", key)),
        "--no-history",
    )
    cleared = read_config(layout, "new")
    assert cleared["config"] == {"WorkingDir": "/srv", "StopSignal": "SIGINT"}
    assert cleared["rootfs"]["diff_ids"] == []
    assert "history" not in cleared
    assert json.loads(read_blob(layout, read_index(layout)["new"]))["layers"] == []


def test_members_that_we_do_not_know_stay(layout):
    manifest = json.loads(read_blob(layout, read_index(layout)["base"]))
    config = {**read_config(layout, "base"), "x-vendor": {"deep": [1]}}
    assert "x-vendor" not in read_config(layout, "base")
    from rundlet.image.change import Change, apply_to_config, apply_to_manifest

    assert apply_to_config(config, Change(user="u"), ())["x-vendor"] == {"deep": [1]}
    changed = apply_to_manifest({**manifest, "x": 1}, manifest["mediaType"], Change(), {}, ())
    assert changed["x"] == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("config", "--config.env", "novalue"),
        ("config", "--config.label", "novalue"),
        ("insert", "only-one"),
        ("insert", "--whiteout", "--opaque", "/etc"),
        ("insert", "source", "/"),
        ("insert", "--whiteout", "../etc"),
        ("add-layer", "missing.tar"),
        ("unpack", "/dev/null"),
    ],
    ids=" ".join,
)
def test_a_change_that_makes_no_sense_changes_nothing(layout, capsys, arguments):
    before = read_index(layout)
    assert run(["image", arguments[0], "--image", f"{layout}:base", *arguments[1:]]) == 1
    assert capsys.readouterr().err.startswith("rundlet: ")
    assert read_index(layout) == before


def test_a_layer_that_is_no_tar_is_refused(tmp_path, layout):
    (tmp_path / "noise").write_bytes(b"noise" * 1000)
    assert run(["image", "add-layer", "--image", f"{layout}:base", str(tmp_path / "noise")]) == 1


# --- with umoci ---------------------------------------------------------------


def tree_of(path):
    """What must be the same whoever unpacks: all but times of directories."""
    facts = describe(path)
    for each in facts.values():
        seconds = (each.pop("mtime_ns") + 5 * 10**8) // 10**9  # as umoci's layers have them
        each["time"] = 0 if each["mode"].startswith("0o4") else seconds
    facts.pop(b"", None)
    return facts


@needs_root
@needs_umoci
@pytest.mark.differential
@pytest.mark.slow
def test_umoci_and_we_unpack_each_others_images_alike(tmp_path, layout):
    image = f"{layout}:base"
    umoci("insert", "--image", image, "--tag", "two", tmp_path / "base/etc", "/opt")
    rundlet("insert", "--image", f"{layout}:two", "--tag", "three", "--whiteout", "/etc/a")
    rundlet(
        "insert", "--image", f"{layout}:three", "--tag", "four", "--opaque", tmp_path / "base/usr", "/opt"
    )
    umoci("insert", "--image", f"{layout}:four", "--tag", "five", "--whiteout", "/usr")
    for tag in ("base", "two", "three", "four", "five"):
        rundlet("unpack", "--image", f"{layout}:{tag}", tmp_path / f"ours-{tag}")
        umoci("unpack", "--image", f"{layout}:{tag}", tmp_path / f"theirs-{tag}")
        assert tree_of(tmp_path / f"ours-{tag}/rootfs") == tree_of(tmp_path / f"theirs-{tag}/rootfs")
    assert not (tmp_path / "ours-three/rootfs/etc/a").exists()
    assert not (tmp_path / "ours-four/rootfs/opt/b").exists()
    assert not (tmp_path / "ours-five/rootfs/usr").exists()


def change_rootfs(rootfs):
    (rootfs / "etc/new").write_text("new")
    (rootfs / "etc/b").write_text("changed")
    os.chmod(rootfs / "usr/bin/tool", 0o4755)
    os.unlink(rootfs / "usr/bin/alias")
    shutil.rmtree(rootfs / "srv", ignore_errors=True)
    (rootfs / "srv").mkdir()
    for name in ("new", "b"):  # whole seconds: umoci rounds what is between two up
        os.utime(rootfs / "etc" / name, (10**9, 10**9))
    if os.geteuid() == 0:
        os.chown(rootfs / "etc/z", 5, 6)


@needs_root
@needs_umoci
@pytest.mark.differential
@pytest.mark.slow
@pytest.mark.parametrize("unpacker", ["we", "umoci"])
@pytest.mark.parametrize("packer", ["we", "umoci"])
def test_a_bundle_of_either_is_packed_by_either(tmp_path, layout, unpacker, packer):
    tools = {"we": rundlet, "umoci": umoci}
    tools[unpacker]("unpack", "--image", f"{layout}:base", tmp_path / "bundle")
    change_rootfs(tmp_path / "bundle/rootfs")
    tools[packer]("repack", "--image", f"{layout}:new", tmp_path / "bundle")
    for name, tool in tools.items():
        tool("unpack", "--image", f"{layout}:new", tmp_path / name)
        assert tree_of(tmp_path / name / "rootfs") == tree_of(tmp_path / "bundle/rootfs")
    manifest = json.loads(read_blob(layout, read_index(layout)["new"]))
    assert len(manifest["layers"]) == 2


@pytest.mark.slow
def test_only_what_was_changed_is_packed(tmp_path, layout):
    rundlet("unpack", "--image", f"{layout}:base", tmp_path / "bundle")
    rundlet("repack", "--image", f"{layout}:same", tmp_path / "bundle")
    assert len(read_config(layout, "same")["rootfs"]["diff_ids"]) == 1
    change_rootfs(tmp_path / "bundle/rootfs")
    rundlet(
        "repack", "--image", f"{layout}:new", "--refresh-bundle", "--mask-path", "/srv", tmp_path / "bundle"
    )
    layer = json.loads(read_blob(layout, read_index(layout)["new"]))["layers"][1]
    import gzip

    data = gzip.decompress(read_blob(layout, layer["digest"]))
    paths = {entry.path for entry in TarReader(ByteStream(iter((data,)), 1 << 30))}
    changed = {
        b"etc",
        b"etc/new",
        b"etc/b",
        b"usr/bin",
        b"usr/bin/tool",
        b"usr/bin/.wh.alias",
        b"",
        b"etc/a",
        b"etc/z",
    }
    assert paths <= changed
    assert {b"etc/new", b"etc/b", b"usr/bin/tool", b"usr/bin/.wh.alias"} <= paths
    rundlet("repack", "--image", f"{layout}:newer", "--mask-path", "/srv", tmp_path / "bundle")
    assert len(read_config(layout, "newer")["rootfs"]["diff_ids"]) == 2


def test_a_bundle_is_not_overwritten(tmp_path, layout, capsys):
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle/mine").touch()
    assert run(["image", "unpack", "--image", f"{layout}:base", str(tmp_path / "bundle")]) == 1
    assert "is there already" in capsys.readouterr().err
    assert os.listdir(tmp_path / "bundle") == ["mine"]


@needs_umoci
@pytest.mark.differential
def test_raw_layers_have_the_diff_id_that_umoci_gives_them(tmp_path, layout):
    shutil.make_archive(str(tmp_path / "layer"), "tar", tmp_path / "base")
    rundlet("add-layer", "--image", f"{layout}:base", "--tag", "ours", tmp_path / "layer.tar")
    umoci("raw", "add-layer", "--image", f"{layout}:base", "--tag", "theirs", tmp_path / "layer.tar")
    ours, theirs = (read_config(layout, tag)["rootfs"]["diff_ids"] for tag in ("ours", "theirs"))
    assert ours == theirs


def test_programs_of_this_machine_as_an_image(tmp_path, capsys):
    first = rundlet("from-host", "-t", f"oci:{tmp_path}/one:1", "cat", "--cmd", "cat", capsys=capsys)
    second = rundlet("from-host", "-t", f"{tmp_path}/two:1", "cat", "--cmd", "cat", capsys=capsys)
    assert first == second
    assert read_index(tmp_path / "one") == {"1": first}
