"""Containers for tests: fixtures of pytest, there as soon as rundlet is installed.

    def test_cache(container):
        redis = container("redis:alpine", ports={6379: 0}, ready=6379)
        client = Redis(port=redis.port(6379))

    @pytest.fixture(scope="session")
    def database(session_container):
        return session_container("postgres:16-alpine", env={"POSTGRES_PASSWORD": "x"}, ready="ready to accept")

`ready` is a port of the container that must be listened on, a pattern that must come in its log, or
"healthy"; what is not ready in `ready_timeout_s` fails the test with the container's last lines.
Whatever a test made is removed after it, whether it passed or not; no socket and no helper container.

    rundlet_client       session   the rundlet.Client; override it for another root
    container            function  makes containers that end with the test
    module_container     module
    session_container    session   with pytest-xdist each worker has its own
    sandbox              function  makes rundlet.Sandbox objects that end with the test
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Protocol

import pytest

if TYPE_CHECKING:  # pytest loads this module at every start, also where no test asks for a container
    from rundlet.api.client import Client
    from rundlet.api.container import Container
    from rundlet.api.words import Command
    from rundlet.sandbox.sandbox import Sandbox

READY_TIMEOUT_S = 60.0


class MakeContainer(Protocol):
    """`Client.run`, and when the container is `ready`."""

    def __call__(
        self,
        image: str,
        command: "Command | None" = None,
        *,
        ready: int | str | None = None,
        ready_timeout_s: float = READY_TIMEOUT_S,
        **words: Any,
    ) -> "Container": ...


@pytest.fixture(scope="session")
def rundlet_client() -> "Iterator[Client]":
    """What the other fixtures make containers with."""
    from rundlet.api.client import Client

    with Client() as client:
        yield client


def _containers(client: "Client") -> Iterator[MakeContainer]:
    with ExitStack() as stack:

        def make(
            image: str,
            command: "Command | None" = None,
            *,
            ready: int | str | None = None,
            ready_timeout_s: float = READY_TIMEOUT_S,
            **words: Any,
        ) -> "Container":
            made = stack.enter_context(client.run(image, command, **words))
            await_ready(made, ready, ready_timeout_s)
            return made

        yield make


def await_ready(container: "Container", ready: int | str | None, timeout_s: float) -> None:
    """A port, "healthy", a pattern for the log, or None for nothing."""
    if isinstance(ready, int):
        container.wait_for_port(ready, timeout_s)
    elif ready == "healthy":
        container.wait_healthy(timeout_s)
    elif ready:
        container.wait_for_log(ready, timeout_s)


@pytest.fixture
def container(rundlet_client: "Client") -> Iterator[MakeContainer]:
    """Makes containers that end with the test."""
    yield from _containers(rundlet_client)


@pytest.fixture(scope="module")
def module_container(rundlet_client: "Client") -> Iterator[MakeContainer]:
    """Makes containers that end with the module's last test."""
    yield from _containers(rundlet_client)


@pytest.fixture(scope="session")
def session_container(rundlet_client: "Client") -> Iterator[MakeContainer]:
    """Makes containers that end with the session."""
    yield from _containers(rundlet_client)


@pytest.fixture
def sandbox(rundlet_client: "Client") -> "Iterator[Callable[..., Sandbox]]":
    """Makes sandboxes that end with the test."""
    from rundlet.sandbox.sandbox import Sandbox

    with ExitStack() as stack:
        yield lambda image, **given: stack.enter_context(
            Sandbox(image, machine=rundlet_client.machine, **given)
        )
