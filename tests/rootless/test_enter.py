"""Processes of an ordinary user in that user's namespaces."""

import json
from pathlib import Path

import pytest

from tests.rootless.conftest import UID, User

pytestmark = pytest.mark.kernel

ENTER = """
from rundlet.rootless.enter import enter
enter(os.environ["XDG_RUNTIME_DIR"] + "/rundlet")
def spaces(): return [os.readlink(f"/proc/self/ns/{kind}") for kind in ("user", "mnt")]
def map_of(name): return open(f"/proc/self/{name}").read().split()
"""


def test_a_user_without_ranges_is_root_and_nobody_else(user: User) -> None:
    told = user.run(
        ENTER + "tell([os.getuid(), os.getgid(), map_of('uid_map'), os.getcwd(), os.environ['HOME']])"
    )
    assert told == [[0, 0, ["0", str(UID), "1"], str(user.home), str(user.home)]]


def test_a_user_with_ranges_has_them(user: User, ranges: None) -> None:
    told = user.run(ENTER + "tell(map_of('uid_map') + map_of('gid_map'))")
    assert told == [["0", str(UID), "1", "1", "200000", "65536"] * 2]


def test_without_new_privileges_ranges_are_of_no_use(user: User, ranges: None) -> None:
    told = user.run(
        "from rundlet.kernel.prctl import set_no_new_privs; set_no_new_privs()"
        + ENTER
        + "tell(map_of('uid_map'))"
    )
    assert told == [["0", str(UID), "1"]]


def test_all_processes_share_the_namespaces_and_two_first_ones_make_them_once(user: User) -> None:
    both = [user.start(ENTER + "tell(spaces()); sys.stdin.read()") for _ in range(2)]
    told = [process.stdout.readline() for process in both if process.stdout]
    assert told[0] == told[1]
    third = user.run(ENTER + "tell(spaces())")
    assert json.loads(told[0][5:]) == third[0]
    for process in both:
        process.communicate()


def test_namespaces_end_with_the_last_process_in_them(user: User) -> None:
    place = "tell(len(os.listdir(os.environ['XDG_RUNTIME_DIR'] + '/rundlet/rootless/members')))"
    assert user.run(ENTER + place) == [1]
    assert list(Path(user.home, "run/rundlet/rootless/members").iterdir()) == []
    assert user.run(ENTER + place) == [1]


def test_a_process_with_threads_is_refused_in_a_clear_word(user: User) -> None:
    program = """
import threading
threading.Thread(target=threading.Event().wait, daemon=True).start()
from rundlet.rootless.enter import enter
try: enter(os.environ["XDG_RUNTIME_DIR"] + "/rundlet")
except Error as error: tell([error.code, error.message, error.hint])
os._exit(0)
"""
    [(code, message, hint)] = user.run(program)
    assert (code, "several threads" in message) == ("failed_precondition", True), (code, message)
    assert "before the first thread" in hint


def test_nothing_of_the_host_is_within_reach_that_was_not_before(user: User) -> None:
    program = (
        ENTER
        + """
def fails(act, *args):
    try: act(*args)
    except OSError as error: return error.errno
tell([fails(open, "/etc/shadow"), fails(open, "/proc/sys/kernel/hostname", "w"), fails(os.kill, 1, 0),
      fails(os.mknod, os.environ["HOME"] + "/disk", 0o060600, os.makedev(8, 0)), fails(os.chroot, "/")])
"""
    )
    eacces, eperm = 13, 1
    assert user.run(program) == [[eacces, eacces, eperm, eperm, None]]
