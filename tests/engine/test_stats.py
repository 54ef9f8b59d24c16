from rundlet.engine.stats import parse_net_dev

NET_DEV = """\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:     100       1    0    0    0     0          0         0      100       1    0    0    0     0       0          0
  eth0:    2476      30    3    0    0     0          0         0     1006      11    4    0    0     0       0          0
"""


def test_net_dev():
    (found,) = parse_net_dev(NET_DEV)
    assert found == type(found)("eth0", 2476, 3, 1006, 4, 30, 0, 11, 0)
