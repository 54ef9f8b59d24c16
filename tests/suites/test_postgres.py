"""A suite as users of the fixtures write it: one PostgreSQL for the session, a database for each test."""

from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import pytest

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(120)]

_numbers = count(1)

Query = Callable[[str], list[str]]


@pytest.fixture(scope="module")
def server(module_container: Any, postgres_image: str) -> Any:
    return module_container(
        postgres_image,
        env={"PGDATA": "/var/lib/pg/data"},
        tmpfs={"/var/lib/pg": "256m"},
        ready="ready to accept connections",
    )


def run_psql(server: Any, database: str, statement: str) -> list[str]:
    """The rows, columns separated by bars."""
    command = ["psql", "-h", "127.0.0.1", "-U", "postgres", "-d", database, "-qAt", "-v", "ON_ERROR_STOP=1"]
    done = server.exec([*command, "-c", statement], timeout_s=30)
    if not done.ok:
        raise ValueError(done.stderr.strip())
    return str(done.stdout).splitlines()


@pytest.fixture
def query(server: Any) -> Iterator[Query]:
    database = f"test_{next(_numbers)}"
    run_psql(server, "postgres", f"CREATE DATABASE {database}")
    yield lambda statement: run_psql(server, database, statement)
    run_psql(server, "postgres", f"DROP DATABASE {database} WITH (FORCE)")


def test_rows_come_back(query: Query) -> None:
    query("CREATE TABLE casks (name text PRIMARY KEY, litres int)")
    query("INSERT INTO casks VALUES ('rundlet', 68), ('tun', 954)")
    assert query("SELECT name, litres FROM casks ORDER BY litres") == ["rundlet|68", "tun|954"]


def test_each_test_has_a_database_of_its_own(query: Query) -> None:
    assert query("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == ["0"]


def test_constraints_are_kept(query: Query) -> None:
    query("CREATE TABLE t (n int PRIMARY KEY)")
    query("INSERT INTO t VALUES (1)")
    with pytest.raises(ValueError, match="duplicate key"):
        query("INSERT INTO t VALUES (1)")


def test_a_transaction_that_fails_changes_nothing(query: Query) -> None:
    query("CREATE TABLE t (n int)")
    with pytest.raises(ValueError, match="division by zero"):
        query("BEGIN; INSERT INTO t VALUES (1); SELECT 1/0; COMMIT")
    assert query("SELECT count(*) FROM t") == ["0"]
