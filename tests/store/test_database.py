import sqlite3
import subprocess
import sys
import threading

import pytest

from rundlet.errors import DataLoss, NotFound, ResourceExhausted
from rundlet.store.database import Database

SCHEMA = ("CREATE TABLE IF NOT EXISTS numbers (value INTEGER PRIMARY KEY) STRICT",)


@pytest.fixture
def database(tmp_path):
    database = Database(str(tmp_path / "state.db"), SCHEMA)
    yield database
    database.close()


def insert(connection, value):
    connection.execute("INSERT INTO numbers VALUES (?)", (value,))


def values(database):
    with database.read() as connection:
        return [row[0] for row in connection.execute("SELECT value FROM numbers ORDER BY value")]


def write_both(database, *, and_fail):
    with database.write() as outer:
        insert(outer, 1)
        with database.write() as inner:
            insert(inner, 2)
        assert values(database) == [1, 2]
        if and_fail:
            raise ZeroDivisionError


def test_a_failed_write_is_undone_with_the_one_inside_it(database):
    with pytest.raises(ZeroDivisionError):
        write_both(database, and_fail=True)
    assert values(database) == []
    write_both(database, and_fail=False)
    assert values(database) == [1, 2]


def test_a_reader_sees_one_state(database):
    with database.read() as reader:
        assert reader.execute("SELECT count(*) FROM numbers").fetchone() == (0,)
        with database.write() as writer:
            insert(writer, 1)
        assert reader.execute("SELECT count(*) FROM numbers").fetchone() == (0,)
    assert values(database) == [1]


def test_conflicts_reach_the_caller(database):
    with pytest.raises(sqlite3.IntegrityError), database.write() as connection:
        connection.executemany("INSERT INTO numbers VALUES (?)", [(1,), (1,)])
    assert values(database) == []


def test_threads_and_another_opener_write_at_once(database, tmp_path):
    other = Database(str(tmp_path / "state.db"), SCHEMA)

    def work(which, first):
        for value in range(first, first + 25):
            with which.write() as connection:
                insert(connection, value)

    threads = [
        threading.Thread(target=work, args=(which, 1000 * number))
        for number, which in enumerate((database, database, other, other))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    other.close()
    assert len(values(database)) == 100


def test_foreign_keys_hold(tmp_path):
    schema = (*SCHEMA, "CREATE TABLE IF NOT EXISTS uses (value INTEGER REFERENCES numbers (value)) STRICT")
    database = Database(str(tmp_path / "other.db"), schema)
    with pytest.raises(sqlite3.IntegrityError), database.write() as connection:
        connection.execute("INSERT INTO uses VALUES (5)")
    database.close()


def test_a_full_disk_is_named(database):
    with database.write() as connection:
        connection.execute("PRAGMA max_page_count = 3")
    with pytest.raises(ResourceExhausted), database.write() as connection:
        connection.executemany("INSERT INTO numbers VALUES (?)", ((value,) for value in range(10_000)))
    assert values(database) == []


def test_a_file_that_is_no_database_is_named(tmp_path):
    (tmp_path / "state.db").write_bytes(b"not a database" * 100)
    with pytest.raises(DataLoss, match="state.db"):
        Database(str(tmp_path / "state.db"), SCHEMA)


def test_a_missing_directory_is_named(tmp_path):
    with pytest.raises(NotFound, match="state.db"):
        Database(str(tmp_path / "missing" / "state.db"), SCHEMA)


def test_many_open_a_new_database_at_once(tmp_path):
    program = (
        "import sys; from rundlet.store.database import Database\n"
        "sys.stdin.readline()\n"
        "for _ in range(20): Database(sys.argv[1], ['CREATE TABLE IF NOT EXISTS x (y)']).close()"
    )
    children = [
        subprocess.Popen(
            [sys.executable, "-c", program, tmp_path / "new.db"],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    outputs = [child.communicate("go\n")[1] for child in children]
    assert [child.returncode for child in children] == [0] * 4, outputs
