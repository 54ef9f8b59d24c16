"""Containers as objects, for real."""

import io
import tarfile

import pytest

import rundlet
from rundlet.api.client import Client

pytestmark = pytest.mark.kernel


def test_a_container_is_there_in_its_context_and_gone_after_it(client: Client, image: str) -> None:
    with client.run(image, "sleep 600", name="here", network="none") as container:
        assert container.state == "running"
        assert [each.name for each in client.containers.list()] == ["here"]
    with pytest.raises(rundlet.NotFound):
        client.containers.get("here")


def test_exec_answers_what_the_program_did(client: Client, image: str) -> None:
    with client.run(image, ["sleep", "600"], network="none") as container:
        done = container.exec("sh -c 'cat; echo $A >&2; exit 3'", stdin="in", env={"A": "err"})
        assert (done.stdout, done.stderr, done.exit_code, done.ok) == ("in", "err\n", 3, False)
        with pytest.raises(rundlet.ExecFailed) as caught:
            container.exec(["sh", "-c", "echo why >&2; exit 4"], check=True)
        assert "why" in caught.value.message
        assert caught.value.result.exit_code == 4
        with pytest.raises(rundlet.DeadlineExceeded):
            container.exec("sleep 60", timeout_s=0.1)


def test_logs_come_as_they_are_written(client: Client, image: str) -> None:
    script = "echo one; echo two >&2; echo three"
    with client.run(image, ["sh", "-c", script], network="none") as container:
        entries = list(container.logs(follow=True))
        assert container.wait(10) == 0
        assert sorted((entry.stream, entry.text) for entry in entries) == [
            ("stderr", "two"),
            ("stdout", "one"),
            ("stdout", "three"),
        ]
        assert len(list(container.logs(tail=1))) == 1


def test_files_go_in_and_out(client: Client, image: str) -> None:
    with client.run(image, "sleep 600", network="none", volumes={}, tmpfs=["/scratch"]) as container:
        container.write("/scratch/a/b.txt", "text", mode=0o600)
        assert container.exec("cat /scratch/a/b.txt").stdout == "text"
        container.exec("sh -c 'echo out > /data/c; ln -s /etc/passwd /data/link'", check=True)
        assert container.read("/data/c") == b"out\n"
        assert container.read("/data/link").startswith(b"root:x:0:0:root:/root:/bin/sh")
        assert container.list("/scratch") == ["a/"]
        archive = container.get_archive("/scratch/a")
        with tarfile.open(fileobj=io.BytesIO(archive)) as packed:
            assert packed.getnames() == ["a", "a/b.txt"]
        container.put_archive("/data", archive)
        assert container.exec("cat /data/a/b.txt").stdout == "text"
        with pytest.raises(rundlet.NotFound):
            container.read("/no/such")
        with pytest.raises(rundlet.InvalidArgument):
            container.read("/data")


def test_a_container_is_awaited_by_line_and_port(client: Client, image: str) -> None:
    script = "sleep 0.2; echo ready now; nc -l -p 7777"
    with client.run(image, ["sh", "-c", script], network="none") as container:
        assert container.wait_for_log(r"ready \w+", 10) == "ready now"
        container.wait_for_port(7777, 10)
    with client.run(image, ["sh", "-c", "echo broken; exit 9"], network="none") as container:
        with pytest.raises(rundlet.FailedPrecondition) as caught:
            container.wait_for_log("ready", 10)
        assert "exit code 9" in caught.value.message
        assert "broken" in caught.value.hint


def test_what_is_shown_in_notebooks_is_escaped(client: Client, image: str) -> None:
    with client.run(image, ["sh", "-c", "sleep 600", "<script>"], network="none", name="shown") as container:
        assert "shown" in container._repr_html_()
        assert "&lt;script&gt;" in client.containers.list()._repr_html_()
        assert "shown" in repr(container)


def test_images_are_objects(client: Client, image: str) -> None:
    pulled = client.images.pull(image)
    assert client.images.get(pulled.id).names == pulled.names
    assert [each.id for each in client.images.list()] == [pulled.id]
    client.images.remove(image)
    with pytest.raises(rundlet.NotFound):
        client.images.get(image)
