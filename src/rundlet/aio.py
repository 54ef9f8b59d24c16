"""The Python API for asyncio: the same objects, their verbs awaited.

    async with rundlet.aio.run("redis:alpine", ports={6379: 0}) as container:
        await container.wait_for_port(6379)
        print((await container.exec(["redis-cli", "ping"])).stdout)

Every verb of `rundlet.Client`, `rundlet.Container`, `rundlet.Sandbox` and `rundlet.SandboxPool` is here
under its name with the same arguments, run by a thread of asyncio's pool: the engine is synchronous and
thread-safe, so there is one of it and not two.  Looks (`name`, `state`, `ports`, …) are methods to be awaited.
"""

import asyncio
import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from types import TracebackType
from typing import Any, Generic, ParamSpec, Self, TypeVar, Unpack

from rundlet.api.client import Client as SyncClient
from rundlet.api.client import usual_client
from rundlet.api.container import Container as SyncContainer
from rundlet.api.container import ExecResult
from rundlet.api.words import Command, RunWords
from rundlet.local.logs import LogEntry
from rundlet.sandbox.pool import SandboxPool as SyncPool
from rundlet.sandbox.sandbox import Call, Snapshot
from rundlet.sandbox.sandbox import Sandbox as SyncSandbox

P = ParamSpec("P")
T = TypeVar("T")

_END = object()


async def _in_thread(verb: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    return await _make_in_thread(functools.partial(verb, *args, **kwargs), None)


async def _make_in_thread(make: Callable[[], T], close: Callable[[T], object] | None) -> T:
    """Run it to its end even when the caller is cancelled, and close then what nobody would own."""
    loop = asyncio.get_running_loop()
    task = loop.run_in_executor(None, make)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        if close is not None and task.exception() is None:
            await loop.run_in_executor(None, close, task.result())
        raise


async def _iterate(make: Callable[[], Iterator[T]]) -> AsyncIterator[T]:
    """The items of a blocking iterator as they come."""
    iterator = await _in_thread(make)
    while (item := await _in_thread(next, iterator, _END)) is not _END:
        yield item  # type: ignore[misc]  # the mark of the end is not of T


class Making(Generic[T]):
    """What is being made: `await` it, or use it as the context that it ends with."""

    def __init__(self, make: Callable[[], Awaitable[T]], close: Callable[[T], Awaitable[None]]) -> None:
        self._make, self._close = make, close

    def __await__(self) -> Any:
        return self._make().__await__()

    async def __aenter__(self) -> T:
        self._made = await self._make()
        return self._made

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._close(self._made)


class Container:
    """`rundlet.Container`, awaited."""

    def __init__(self, inner: SyncContainer) -> None:
        self.inner = inner
        self.id = inner.id

    async def name(self) -> str:
        """Its name now."""
        return await _in_thread(lambda: self.inner.name)

    async def state(self) -> str:
        """created, running, paused, exited or unknown."""
        return await _in_thread(lambda: self.inner.state)

    async def exit_code(self) -> int | None:
        """None until it has ended."""
        return await _in_thread(lambda: self.inner.exit_code)

    async def ip(self) -> str:
        """Its first address, "" without one."""
        return await _in_thread(lambda: self.inner.ip)

    async def port(self, container_port: int | str) -> int:
        """The port of the host that leads to `container_port`; NotFound when none does."""
        return await _in_thread(self.inner.port, container_port)

    async def start(self) -> None:
        """As `rundlet.Container.start`."""
        await _in_thread(self.inner.start)

    async def stop(self, timeout_s: float | None = None) -> None:
        """As `rundlet.Container.stop`: SIGKILL after `timeout_s`."""
        await _in_thread(self.inner.stop, timeout_s)

    async def restart(self, timeout_s: float | None = None) -> None:
        """As `rundlet.Container.restart`."""
        await _in_thread(self.inner.restart, timeout_s)

    async def kill(self, signal: str = "SIGKILL") -> None:
        """As `rundlet.Container.kill`: send the first process a signal."""
        await _in_thread(self.inner.kill, signal)

    async def remove(self, *, force: bool = False) -> None:
        """As `rundlet.Container.remove`; FailedPrecondition while it runs, unless `force`."""
        await _in_thread(self.inner.remove, force=force)

    async def wait(self, timeout_s: float | None = None) -> int:
        """Its exit code, once it has ended; DeadlineExceeded when it has not after `timeout_s`."""
        return await _in_thread(self.inner.wait, timeout_s)

    async def exec(self, command: Command, **given: Any) -> ExecResult:
        """As `rundlet.Container.exec`, with the same keywords: run a program in it to its end."""
        return await _in_thread(self.inner.exec, command, **given)

    def logs(self, **given: Any) -> AsyncIterator[LogEntry]:
        """As `rundlet.Container.logs`, with the same keywords: entries as they come."""
        return _iterate(lambda: self.inner.logs(**given))

    async def output(self) -> str:
        """All that it has written so far, stdout and stderr in their order."""
        return await _in_thread(self.inner.output)

    async def write(self, path: str, data: str | bytes, *, mode: int = 0o644) -> None:
        """Write one file in it, with these permission bits."""
        await _in_thread(self.inner.write, path, data, mode=mode)

    async def read(self, path: str) -> bytes:
        """The content of one file in it; NotFound."""
        return await _in_thread(self.inner.read, path)

    async def wait_for_log(self, pattern: str, timeout_s: float = 60.0) -> str:
        """The first line in which `pattern` (a regular expression) is found; DeadlineExceeded."""
        return await _in_thread(self.inner.wait_for_log, pattern, timeout_s)

    async def wait_for_port(self, port: int, timeout_s: float = 60.0) -> None:
        """Until the container listens on its TCP `port`; DeadlineExceeded."""
        await _in_thread(self.inner.wait_for_port, port, timeout_s)

    async def wait_healthy(self, timeout_s: float = 60.0) -> None:
        """Until its health check says so; DeadlineExceeded."""
        await _in_thread(self.inner.wait_healthy, timeout_s)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await _in_thread(self.inner.__exit__, kind, error, trace)

    def __repr__(self) -> str:
        return repr(self.inner)


class Client:
    """`rundlet.Client`, awaited."""

    def __init__(self, **given: Any) -> None:
        self.inner = SyncClient(**given)

    def run(self, image: str, command: Command | None = None, **words: Unpack[RunWords]) -> Making[Container]:
        """As `rundlet.Client.run`: await it, or use it with `async with`."""
        return _make_container(lambda: self.inner.run(image, command, **words))

    def create(
        self, image: str, command: Command | None = None, **words: Unpack[RunWords]
    ) -> Making[Container]:
        """As `run`, without starting it."""
        return _make_container(lambda: self.inner.create(image, command, **words))

    async def get(self, name: str) -> Container:
        """The container of that name or id, or the beginning of its id; NotFound."""
        return Container(await _in_thread(self.inner.containers.get, name))

    async def list(self) -> "list[Container]":
        """All containers, also those that have ended."""
        return [Container(each) for each in await _in_thread(self.inner.containers.list)]

    async def pull(self, name: str, **given: Any) -> Any:
        """As `rundlet.Client.images.pull`, with the same keywords."""
        return await _in_thread(self.inner.images.pull, name, **given)

    async def close(self) -> None:
        """Let go of the store; containers go on."""
        await _in_thread(self.inner.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


def _make_container(make: Callable[[], SyncContainer]) -> Making[Container]:
    async def begin() -> Container:
        return Container(await _make_in_thread(make, lambda made: made.__exit__(None, None, None)))

    async def end(made: Container) -> None:
        await made.__aexit__(None, None, None)

    return Making(begin, end)


def run(image: str, command: Command | None = None, **words: Unpack[RunWords]) -> Making[Container]:
    """`rundlet.run`: await it, or use it with `async with`."""
    return _make_container(lambda: usual_client().run(image, command, **words))


class Sandbox:
    """`rundlet.Sandbox`, awaited; made by `async with` or `await Sandbox.open(…)`."""

    def __init__(self, image: str | Snapshot, **given: Any) -> None:
        self._make = functools.partial(SyncSandbox, image, **given)
        self.inner: SyncSandbox | None = None

    @classmethod
    async def open(cls, image: str | Snapshot, **given: Any) -> Self:
        """One that the caller closes; arguments as `rundlet.Sandbox` has them."""
        return await cls(image, **given).__aenter__()

    def _opened(self) -> SyncSandbox:
        if self.inner is None:
            raise RuntimeError("the sandbox is not open: use `async with`, or `await Sandbox.open(…)`")
        return self.inner

    async def run(self, argv: "list[str]", **given: Any) -> Call:
        """As `rundlet.Sandbox.run`, with the same keywords: one program to its end."""
        return await _in_thread(self._opened().run, argv, **given)

    async def kill(self) -> None:
        """End every process in it."""
        await _in_thread(self._opened().kill)

    async def write(self, path: str, data: str | bytes, *, mode: int = 0o644) -> None:
        """Write one file in it, with these permission bits."""
        await _in_thread(self._opened().write, path, data, mode=mode)

    async def read(self, path: str) -> bytes:
        """The content of one file in it; NotFound."""
        return await _in_thread(self._opened().read, path)

    async def list(self, path: str = "/work") -> "list[str]":
        """The names in one directory of it."""
        return await _in_thread(self._opened().list, path)

    async def snapshot(self) -> Snapshot:
        """Its files as they are now, for further sandboxes."""
        return await _in_thread(self._opened().snapshot)

    async def close(self) -> None:
        """End it and remove all that it was."""
        await _in_thread(self._opened().close)

    async def __aenter__(self) -> Self:
        self.inner = await _make_in_thread(self._make, SyncSandbox.close)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


class SandboxPool:
    """`rundlet.SandboxPool`, awaited."""

    def __init__(self, image: str | Snapshot, **given: Any) -> None:
        self._make = functools.partial(SyncPool, image, **given)

    async def run(self, argv: "list[str]", **given: Any) -> Call:
        """In a sandbox of its own."""
        return await _in_thread(self.inner.run, argv, **given)

    async def __aenter__(self) -> Self:
        self.inner = await _make_in_thread(self._make, SyncPool.close)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await _in_thread(self.inner.close)
