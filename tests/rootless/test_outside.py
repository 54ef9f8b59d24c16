"""Programs that stay where they are: the machine lives in a process in the user's namespaces."""

import pytest

from tests.rootless.conftest import UID, User
from tests.rootless.test_machine import image

__all__ = ["image"]

pytestmark = pytest.mark.kernel

THREADS = """
import threading
threading.Thread(target=threading.Event().wait, daemon=True).start()
image = os.environ["IMAGE"]
"""
LEAVE = "\nos._exit(0)\n"


def test_a_program_with_threads_runs_containers(user: User, image: str) -> None:
    program = (
        THREADS
        + """
import rundlet, io
with rundlet.run(image, ["sh", "-c", "echo up; sleep 600"], network="none", name="web") as web:
    tell(web.wait_for_log("up"))
    tell(web.exec(["cat"], stdin="back").stdout)
    web.write("/tmp/file", "text")
    tell(web.read("/tmp/file").decode())
    web.put_archive("/tmp", io.BytesIO(web.get_archive("/tmp/file")))
    tell([entry.text for entry in web.logs()])
    tell(web.state)
tell([os.getuid(), len(rundlet.Client().containers.list())])
try: rundlet.run("nothing here")
except rundlet.InvalidArgument as error: tell(["nothing here" in str(error), error.hint])
"""
    )
    *told, refusal = user.run(program + LEAVE, IMAGE=image)
    assert told == ["up", "back", "text", ["up"], "running", [UID, 0]]
    assert refusal[0]


def test_coroutines_and_sandboxes_of_a_program_with_threads(user: User, image: str) -> None:
    program = (
        THREADS
        + """
import asyncio, rundlet, rundlet.aio
async def work():
    async with rundlet.aio.run(image, ["sleep", "600"], network="none") as one:
        done = await asyncio.gather(*(one.exec(["echo", str(n)]) for n in range(4)))
        return [each.stdout for each in done]
tell(asyncio.run(work()))
with rundlet.Sandbox(image) as box, box.fork() as other:
    box.write("/work/file", b"1")
    tell([box.read_text("/work/file"), other.list(), other.run(["id", "-u"]).stdout, list(other.unkept_limits)])
with rundlet.SandboxPool(image, size=1) as pool:
    tell(pool.run(["echo", "pooled"]).stdout)
"""
    )
    coroutines, sandboxes, pooled = user.run(program + LEAVE, IMAGE=image)
    assert coroutines == ["0\n", "1\n", "2\n", "3\n"]
    assert sandboxes == ["1", [], "0\n", ["memory_bytes", "cpus"]]
    assert pooled == "pooled\n"


def test_a_killed_process_inside_is_replaced_and_containers_go_on(user: User, image: str) -> None:
    program = (
        THREADS
        + """
import rundlet, signal
client = rundlet.Client()
client.run(image, ["sleep", "600"], network="none", name="web")
lines = client.containers.get("web").logs(follow=True)
os.kill(client.machine._find()._process.pid, signal.SIGKILL)
try: next(lines)
except rundlet.Unavailable as error: tell(error.code)
tell(client.containers.get("web").exec(["echo", "there"]).stdout)
client.containers.get("web").remove(force=True)
client.close()
"""
    )
    assert user.run(program + LEAVE, IMAGE=image) == ["unavailable", "there\n"]


def test_a_fork_has_a_process_of_its_own_inside(user: User, image: str) -> None:
    program = """
import rundlet
image = os.environ["IMAGE"]
with rundlet.run(image, ["sleep", "600"], network="none", name="web") as web:
    pid = os.fork()
    if pid == 0:
        tell(web.exec(["echo", "child"]).stdout)
        os._exit(0)
    os.waitpid(pid, 0)
    tell(web.exec(["echo", "parent"]).stdout)
"""
    assert user.run(program, IMAGE=image) == ["child\n", "parent\n"]


def test_what_the_host_refuses_is_told_and_not_hung_upon(user: User) -> None:
    program = (
        THREADS.replace('os.environ["IMAGE"]', '""')
        + """
import rundlet
os.chmod(os.environ["XDG_RUNTIME_DIR"], 0o700)
os.mkdir(os.environ["XDG_RUNTIME_DIR"] + "/rundlet"); os.chmod(os.environ["XDG_RUNTIME_DIR"] + "/rundlet", 0o777)
try: rundlet.Client().containers.list()
except rundlet.PermissionDenied as error: tell(error.message)
"""
    )
    [message] = user.run(program + LEAVE)
    assert "others may write to it" in message
