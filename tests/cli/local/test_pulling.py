"""The image of `run`, `create` and `kube play`: brought here first, with credentials, and shown while it comes."""

import base64
import json
import os
import select
import shutil
import signal
import subprocess

import pytest

from rundlet.registry.client import RegistryClient
from rundlet.registry.server import _Handler
from tests.cli.atterminal import run_at_terminal, rundlet_command
from tests.cli.local.test_verbs import Host
from tests.engine.conftest import make_layer
from tests.image.conftest import push, serving
from tests.image.images import tar

pytestmark = pytest.mark.kernel
GOOD = "Basic " + base64.b64encode(b"ann:secret").decode()


@pytest.fixture
def layers():
    if shutil.which("busybox") is None:
        pytest.skip("busybox not on this host")
    with open(shutil.which("busybox"), "rb") as file:
        return [make_layer(file.read()), tar({"motd": b"hello\n"})]


@pytest.fixture
def server(tmp_path, layers):
    """A registry that has app:1, of two layers."""
    with serving(tmp_path / "registry") as server:
        client = RegistryClient()
        push(client, f"{server.address}/app:1", layers)
        client.close()
        yield server


@pytest.fixture
def empty(tmp_path):
    """A machine without images, whose credentials are nobody else's."""
    host = Host(tmp_path / "host")
    host.environ |= {"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)}
    host.environ.pop("REGISTRY_AUTH_FILE", None)
    yield host
    host.rundlet("rm", "-f", "--all")


def guard(server):
    """From now on only ann, whose password is `secret`, is served."""

    class Guarded(_Handler):
        def parse_request(self):
            if not super().parse_request():
                return False
            if self.headers.get("Authorization") == GOOD:
                return True
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="guarded"')
            self.send_header("Content-Length", "0")
            self.end_headers()
            return False

    server._server.RequestHandlerClass = Guarded


RUN = ("run", "--rm", "--network", "none")
CAT = ("/bin/busybox", "cat", "/motd")


def test_without_a_terminal_the_pull_is_told_in_podman_s_lines(empty, server):
    image = f"{server.address}/app:1"
    done = empty.rundlet(*RUN, image, *CAT)
    assert (done.stdout, done.returncode) == ("hello\n", 0)
    first, *blobs, last = done.stderr.splitlines()
    assert first == f"Trying to pull {image}..."
    assert [line.split(":")[0] for line in blobs] == ["Copying blob sha256"] * 2
    assert last == "Writing manifest to image destination"
    assert empty.rundlet(*RUN, image, *CAT).stderr == ""
    assert "skipped: already exists" in empty.rundlet(*RUN, "--pull", "always", image, *CAT).stderr
    assert empty.rundlet(*RUN, "--pull", "always", "--quiet", image, *CAT).stderr == ""


def test_credentials_come_from_options_and_files(empty, server, tmp_path):
    guard(server)
    image = f"{server.address}/app:1"
    refused = empty.rundlet("create", "-q", "--network", "none", image, *CAT)
    assert refused.returncode == 125
    assert empty.rundlet("ps", "-aq").stdout == ""
    wrong = empty.rundlet("create", "-q", "--creds", "ann:wrong", "--network", "none", image, *CAT)
    assert wrong.returncode == 125
    done = empty.rundlet("create", "-q", "--creds", "ann:secret", "--network", "none", image, *CAT)
    assert done.returncode == 0, done.stderr
    assert "secret" not in empty.rundlet("inspect", done.stdout.strip()).stdout
    empty.rundlet("rm", "--all")
    auths = {"auths": {server.address: {"auth": base64.b64encode(b"ann:secret").decode()}}}
    (tmp_path / "auth.json").write_text(json.dumps(auths))
    for words, environ in (
        (("--authfile", f"{tmp_path}/auth.json"), {}),
        ((), {"REGISTRY_AUTH_FILE": f"{tmp_path}/auth.json"}),
    ):
        empty.rundlet("rmi", "-f", image)
        empty.environ |= environ
        assert empty.rundlet(*RUN, "-q", *words, image, *CAT).stdout == "hello\n"


def test_rmi_takes_the_image_along_unless_others_use_it(empty, server):
    image = f"{server.address}/app:1"
    empty.rundlet("create", "-q", "--network", "none", "--name", "other", image, *CAT)
    assert empty.rundlet("run", "--rmi", "--network", "none", image, *CAT).stdout == "hello\n"
    assert empty.rundlet("images", "-q").stdout
    empty.rundlet("rm", "other")
    assert empty.rundlet("run", "--rmi", "--network", "none", image, *CAT).stdout == "hello\n"
    assert empty.rundlet("images", "-q").stdout == ""
    assert empty.rundlet("ps", "-aq").stdout == ""


def at_terminal(host, words, answer=b""):
    """(exit code, what the terminal showed)."""
    command = rundlet_command(host.places / "aliases.conf", *words)
    return run_at_terminal(command, host.environ | {"TERM": "xterm"}, answer)


def test_on_a_terminal_layers_are_bars_and_a_short_name_is_asked_for(empty, server, tmp_path):
    conf = tmp_path / "registries.conf"
    conf.write_text(f'unqualified-search-registries = ["127.0.0.1:1", "{server.address}"]\n')
    empty.environ["CONTAINERS_REGISTRIES_CONF"] = str(conf)
    code, shown = at_terminal(empty, (*RUN, "app:1", *CAT), b"2\n")
    assert code == 0, shown
    assert f"2  {server.address}/app:1" in shown
    assert "hello" in shown
    assert "done" in shown  # beside the bars
    code, shown = at_terminal(empty, (*RUN, "app:1", *CAT))
    assert (code, "Which image" in shown) == (0, False)


def test_ctrl_c_while_the_image_comes_leaves_what_the_next_pull_goes_on_with(empty, server, layers):
    """It stops while the registry holds back a layer."""
    waiting, held = os.pipe()
    let_go_read, let_go = os.pipe()

    class Slow(_Handler):
        def parse_request(self):
            ok = super().parse_request()
            if ok and "/blobs/" in self.path and self.command == "GET":
                os.write(held, b"x")
                select.select([let_go_read], [], [], 20)
            return ok

    plain, server._server.RequestHandlerClass = server._server.RequestHandlerClass, Slow
    image = f"{server.address}/app:1"
    child = empty.begin(*RUN, "--name", "cut", image, *CAT, stderr=subprocess.DEVNULL)
    os.read(waiting, 1)
    child.send_signal(signal.SIGINT)
    assert child.wait(15) in (130, -signal.SIGINT)
    os.close(let_go)  # the registry goes on
    assert empty.rundlet("ps", "-aq").stdout == ""
    assert empty.rundlet("images", "-q").stdout == ""
    server._server.RequestHandlerClass = plain
    assert empty.rundlet(*RUN, "-q", image, *CAT).stdout == "hello\n"
    for fd in (waiting, held, let_go_read):
        os.close(fd)
