"""Host ports that lead to several pods: a service's, which all of its pods answer.

    map many4 { proto . port . slot : pod address . port }        in the table of `hostports`
    chain hostports { …, dnat to proto . dport . numgen random mod 16 map @many4 }

Who shares a port stands in the set `pods4`; the slots are dealt out among them anew with each that comes or goes.
"""

from collections.abc import Sequence

from rundlet.netlink import expression, nftset
from rundlet.netlink.message import Request
from rundlet.netlink.nftset import ADDRESS, PORT, PROTOCOL, SLOT, Element, SetPlan
from rundlet.network.ruleset import Ruleset

TABLE = "rundlet-hostports"
SLOTS = 16
_PROTOCOL_BYTES, _PORT_BYTES = 4, 4  # as they lie in a key, filled up to registers


def plan_set(version: int) -> SetPlan:
    """The map of slots."""
    return SetPlan(f"many{version}", (PROTOCOL, PORT, SLOT), data=(ADDRESS[version], PORT))


def plan_rule(version: int) -> tuple[bytes, ...]:
    """The translation, for the chain of the others."""
    return (
        *expression.match_version(version),
        expression.load_protocol(),
        expression.load_destination_port(1),
        expression.load_random(SLOTS, 2),
        expression.look_up(f"many{version}", into=0),
        expression.translate_destination(version),
    )


def is_shared(ruleset: Ruleset, version: int, port_key: bytes) -> bool:
    """Whether pods share the port that the key (proto . port) means."""
    return ruleset.find(TABLE, f"many{version}", _slot_key(port_key, 0)) is not None


def plan_change(
    ruleset: Ruleset, version: int, coming: Sequence[Element], going: Sequence[Element]
) -> list[Request]:
    """Elements of the set of pods that come and go, and the slots of their ports dealt out to match."""
    pods = f"pods{version}"
    gone = {element.key for element in going}
    present = [one for one in ruleset.list(TABLE, pods) if one.key not in gone]
    requests = [nftset.delete_elements(TABLE, pods, going)] if going else []
    requests += [nftset.add_elements(TABLE, pods, coming)] if coming else []
    for key in dict.fromkeys(map(read_port_key, (*coming, *going))):
        members = [one for one in (*present, *coming) if read_port_key(one) == key]
        requests += _deal(ruleset, version, key, list({one.key: one for one in members}.values()))
    return requests


def _deal(ruleset: Ruleset, version: int, key: bytes, members: Sequence[Element]) -> list[Request]:
    name = f"many{version}"
    old = [Element(_slot_key(key, slot)) for slot in range(SLOTS)] if is_shared(ruleset, version, key) else []
    owners = [members[slot % len(members)] for slot in range(SLOTS)] if members else []
    new = [
        Element(_slot_key(key, slot), read_target(owner), owner.comment) for slot, owner in enumerate(owners)
    ]
    return [
        *([nftset.delete_elements(TABLE, name, old)] if old else []),
        *([nftset.add_elements(TABLE, name, new)] if new else []),
    ]


def read_port_key(element: Element) -> bytes:
    """proto . port of an element of the set of pods (pod address . proto . pod port . host port)."""
    ports = 2 * _PORT_BYTES
    return element.key[-ports - _PROTOCOL_BYTES : -ports] + element.key[-_PORT_BYTES:]


def read_target(element: Element) -> bytes:
    """pod address . port of an element of the set of pods."""
    ports = 2 * _PORT_BYTES
    return element.key[: -ports - _PROTOCOL_BYTES] + element.key[-ports:-_PORT_BYTES]


def _slot_key(port_key: bytes, slot: int) -> bytes:
    return port_key + expression.pack_number(slot)
