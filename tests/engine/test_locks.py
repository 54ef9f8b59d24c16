import threading

from rundlet.engine.locks import KeyedLocks


def test_one_key_is_serial_and_leaves_nothing():
    locks = KeyedLocks()
    inside, most = 0, 0

    def work() -> None:
        nonlocal inside, most
        for _ in range(200):
            with locks.hold("pod"):
                inside += 1
                most = max(most, inside)
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
    assert len(locks) == 0


def test_other_keys_do_not_wait():
    locks = KeyedLocks()
    with locks.hold("one"), locks.hold("two"):
        assert len(locks) == 2
    assert len(locks) == 0
