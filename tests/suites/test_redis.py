"""A suite as users of the fixtures write it: a Redis for the module, a fresh key space for each test."""

import socket
from collections.abc import Iterator
from typing import Any

import pytest

pytestmark = [pytest.mark.kernel]


class Redis:
    """As much of RESP2 as this suite needs, so that it runs without a client library."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self._file = self._socket.makefile("rb")

    def __call__(self, *words: str) -> Any:
        parts = [f"*{len(words)}\r\n", *(f"${len(word.encode())}\r\n{word}\r\n" for word in words)]
        self._socket.sendall("".join(parts).encode())
        return self._read()

    def _read(self) -> Any:
        kind, line = (text := self._file.readline().decode())[0], text[1:].strip()
        if kind == "-":
            raise ValueError(line)
        if kind == ":":
            return int(line)
        if kind == "$":
            return None if line == "-1" else self._file.read(int(line) + 2)[:-2].decode()
        if kind == "*":
            return [self._read() for _ in range(int(line))]
        return line

    def close(self) -> None:
        self._file.close()
        self._socket.close()


@pytest.fixture(scope="module")
def server(module_container: Any, redis_image: str) -> Any:
    command = ["redis-server", "--bind", "0.0.0.0", "--protected-mode", "no", "--save", ""]
    return module_container(redis_image, command, ports={6379: 0}, ready="[Rr]eady to accept connections")


@pytest.fixture
def redis(server: Any) -> Iterator[Redis]:
    client = Redis(server.port(6379))
    client("FLUSHALL")
    yield client
    client.close()


def test_a_value_is_kept(redis: Redis) -> None:
    assert redis("SET", "key", "value") == "OK"
    assert redis("GET", "key") == "value"


def test_each_test_has_a_fresh_key_space(redis: Redis) -> None:
    assert redis("DBSIZE") == 0


def test_lists_and_counters(redis: Redis) -> None:
    redis("RPUSH", "list", "a", "b", "c")
    assert redis("LRANGE", "list", "0", "-1") == ["a", "b", "c"]
    assert [redis("INCR", "n") for _ in range(3)] == [1, 2, 3]


def test_errors_are_the_servers(redis: Redis) -> None:
    redis("SET", "text", "x")
    with pytest.raises(ValueError, match="WRONGTYPE"):
        redis("LPUSH", "text", "y")


def test_the_program_in_the_container_sees_the_same(redis: Redis, server: Any) -> None:
    redis("SET", "shared", "yes")
    assert server.exec("redis-cli get shared").stdout.strip() == "yes"
