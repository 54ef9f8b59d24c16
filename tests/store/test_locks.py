import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from rundlet.errors import Cancelled, DeadlineExceeded
from rundlet.store.locks import Locks, Patience


@pytest.fixture
def locks(tmp_path):
    return Locks(str(tmp_path))


def soon(delay_s=0.05):
    return Patience(time.monotonic_ns() + int(delay_s * 1e9))


def test_one_holder_at_a_time(locks, tmp_path):
    inside, most = [], []

    def work():
        for _ in range(20):
            with locks.hold("x", Patience()):
                inside.append(1)
                most.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(most) == {1}
    assert os.listdir(tmp_path) == []


def test_waiting_ends_at_the_deadline(locks):
    with locks.hold("x", Patience()), pytest.raises(DeadlineExceeded), locks.hold("x", soon()):
        pass


def test_waiting_ends_when_given_up(locks):
    patience = Patience()
    timer = threading.Timer(0.05, patience.set)
    timer.start()
    with locks.hold("x", Patience()), pytest.raises(Cancelled), locks.hold("x", patience):
        pass
    timer.join()


def test_a_free_lock_needs_no_patience(locks):
    with locks.hold("x", Patience(0)):
        pass


def test_shared_holders_are_together_and_exclude_the_other_kind(locks, tmp_path):
    one, two = (locks.hold("x", Patience(), shared=True) for _ in range(2))
    with one, two, locks.try_hold("x") as held:
        assert not held
    with locks.try_hold("x") as held:
        assert held
        with pytest.raises(DeadlineExceeded), locks.hold("x", soon(), shared=True):
            pass
    assert os.listdir(tmp_path) == []


def test_a_killed_holder_lets_go(locks, tmp_path):
    program = (
        "import sys, time; from rundlet.store.locks import Locks, Patience\n"
        f"with Locks({str(tmp_path)!r}).hold('x', Patience()): print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        with locks.try_hold("x") as held:
            assert not held
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        with locks.hold("x", soon(5)):
            pass
    assert os.listdir(tmp_path) == []
