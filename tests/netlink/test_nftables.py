import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rundlet.errors import AlreadyExists, NotFound
from rundlet.netlink import expression, nftables
from rundlet.netlink.message import Message
from rundlet.netlink.socket import NETLINK_NETFILTER, NetlinkSocket

V4, V6 = ipaddress.ip_network("10.88.0.0/20"), ipaddress.ip_network("fd00:1::/64")


def masquerade_of(network):
    return [
        *expression.match_version(network.version),
        *expression.match_source(network),
        *expression.match_other_destination(network),
        *expression.masquerade(),
    ]


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=200))
def test_comment_parses_back(comment):
    body = nftables.new_table("t", comment).body

    assert nftables.parse_table_comment(Message(0, 0, 1, body)) == comment


def test_table_without_a_comment():
    assert nftables.parse_table_comment(Message(0, 0, 1, bytes(4))) == ""


@pytest.mark.kernel
@pytest.mark.usefixtures("fresh_netns")
def test_rules_are_those_nft_shows(ask):
    transaction = nftables.batch(
        nftables.new_table("ours", "a comment"),
        nftables.new_chain("ours", "out", nftables.Hook("nat", nftables.POSTROUTING, 100)),
        nftables.new_rule("ours", "out", masquerade_of(V4)),
        nftables.new_rule("ours", "out", masquerade_of(V6)),
    )
    with NetlinkSocket(NETLINK_NETFILTER) as netfilter:
        netfilter.execute(*transaction)
        assert nftables.parse_table_comment(netfilter.query(nftables.get_table("ours"))) == "a comment"

    shown = ask("nft", "-j", "list", "ruleset")["nftables"]
    (chain,) = [item["chain"] for item in shown if "chain" in item]
    assert (chain["family"], chain["type"], chain["hook"], chain["prio"], chain["policy"]) == (
        "inet",
        "nat",
        "postrouting",
        100,
        "accept",
    )
    rules = [item["rule"]["expr"] for item in shown if "rule" in item]
    assert rules == [expected("ip", "10.88.0.0", 20), expected("ip6", "fd00:1::", 64)]


def expected(protocol, network, length):
    prefix = {"prefix": {"addr": network, "len": length}}

    def match(operator, field):
        return {
            "match": {
                "op": operator,
                "left": {"payload": {"protocol": protocol, "field": field}},
                "right": prefix,
            }
        }

    return [match("==", "saddr"), match("!=", "daddr"), {"masquerade": None}]


@pytest.mark.kernel
@pytest.mark.usefixtures("fresh_netns")
def test_transaction_is_all_or_nothing(ask):
    with NetlinkSocket(NETLINK_NETFILTER) as netfilter:
        with pytest.raises(NotFound, match="cannot add a rule to nftables chain ours out"):
            netfilter.execute(
                *nftables.batch(
                    nftables.new_table("ours", ""), nftables.new_rule("ours", "out", masquerade_of(V4))
                )
            )
        with pytest.raises(NotFound):
            netfilter.query(nftables.get_table("ours"))
        netfilter.execute(*nftables.batch(nftables.new_table("ours", "")))
        with pytest.raises(AlreadyExists):
            netfilter.execute(*nftables.batch(nftables.new_table("ours", "")))
        netfilter.execute(*nftables.batch(nftables.delete_table("ours")))

    assert [item for item in ask("nft", "-j", "list", "ruleset")["nftables"] if "table" in item] == []
