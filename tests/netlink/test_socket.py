import os
import threading

import pytest

from rundlet.errors import AlreadyExists, NotFound
from rundlet.netlink import link
from rundlet.netlink.socket import NetlinkSocket

pytestmark = [pytest.mark.kernel, pytest.mark.usefixtures("fresh_netns")]


def new_bridge(number):
    return link.new_bridge(f"br{number}", mac=f"02:00:00:00:{number >> 8:02x}:{number & 255:02x}")


def test_requests_of_one_datagram_are_done_in_order():
    with NetlinkSocket() as route:
        route.execute(new_bridge(1), link.set_alias("br1", "first"), link.set_alias("br1", "second"))

        assert link.parse_link(route.query(link.get_link("br1"))).alias == "second"


def test_nothing_to_do_is_done():
    with NetlinkSocket() as route:
        route.execute()


def test_first_refusal_is_raised_and_the_socket_goes_on():
    with NetlinkSocket() as route:
        with pytest.raises(AlreadyExists, match="cannot create bridge br1: EEXIST"):
            route.execute(new_bridge(1), new_bridge(1), link.delete_link("nothing"))

        assert link.parse_link(route.query(link.get_link("br1"))).name == "br1"


def test_query_of_what_is_not_there():
    with NetlinkSocket() as route, pytest.raises(NotFound):
        route.query(link.get_link("nothing"))


def test_dump_of_many_parts():
    with NetlinkSocket() as route:
        route.execute(*map(new_bridge, range(100)))
        names = {link.parse_link(answer).name for answer in route.dump(link.list_links())}

    assert names == {"lo", *(f"br{number}" for number in range(100))}


def test_kernels_own_sentence_reaches_the_error():
    with NetlinkSocket() as route, pytest.raises(Exception, match="policy validation"):
        route.execute(link.new_bridge("a name that is too long", mac="02:00:00:00:00:01"))


def test_threads_share_one_socket_over_many_descriptors():
    with NetlinkSocket() as route:
        route.execute(*map(new_bridge, range(8)))
        shared = os.dup(route._socket.fileno())
    failures = []

    def talk(number):
        fd = os.dup(shared)
        try:
            for _ in range(50):
                with NetlinkSocket(fd=fd) as mine:
                    found = link.parse_link(mine.query(link.get_link(f"br{number}")))
                    stats = link.read_interface_stats(fd)
                if found.name != f"br{number}" or len(stats) != 8:
                    failures.append((number, found, stats))
        except Exception as error:  # noqa: BLE001 - the thread's failure is the test's
            failures.append((number, error))
        finally:
            os.close(fd)

    threads = [threading.Thread(target=talk, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    os.close(shared)

    assert failures == []
