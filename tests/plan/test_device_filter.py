"""The device program beside a direct model, run by an interpreter of the instructions it uses."""

import struct

import pytest
from hypothesis import given

from rundlet.errors import InvalidArgument
from rundlet.plan.device_filter import build_device_filter
from rundlet.plan.device_rules import Rule, read_rules
from rundlet.spec.runtime import DeviceRule
from tests.plan.device_model import REQUESTS, RULES, is_allowed

BITS = {"m": 1, "r": 2, "w": 4}
KINDS = {"b": 1, "c": 2}
WORD = (1 << 32) - 1


def decode(program):
    """(code, destination, source, offset, immediate) of each struct bpf_insn."""
    return [
        (code, registers & 15, registers >> 4, offset, immediate)
        for code, registers, offset, immediate in struct.iter_unpack("<BBhi", program)
    ]


def run(program, kind, major, minor, access):
    """r0 at exit.  Registers start unset, as the verifier demands: reading one too early fails."""
    context = struct.pack("<III", access << 16 | kind, major, minor)
    registers = {1: "context"}
    block = decode(program)
    at = 0
    while True:
        code, to, source, offset, immediate = block[at]
        at += 1
        match code:
            case 0x61:
                assert registers[source] == "context"
                (registers[to],) = struct.unpack_from("<I", context, offset)
            case 0xB4:
                registers[to] = immediate & WORD
            case 0xBC:
                registers[to] = registers[source] & WORD
            case 0x54:
                registers[to] = registers[to] & immediate & WORD
            case 0x74:
                registers[to] = (registers[to] & WORD) >> immediate
            case 0x15:
                at += offset * (registers[to] == immediate % (1 << 64))
            case 0x55:
                at += offset * (registers[to] != immediate % (1 << 64))
            case 0x95:
                return registers[0]
            case _:
                raise AssertionError(f"instruction {code:#x} at {at - 1}")


def build(rules):
    return build_device_filter(read_rules([DeviceRule(**rule) for rule in rules]))


@given(RULES.filter(bool), REQUESTS)
def test_each_access_is_judged_by_the_last_rule_that_names_it(rules, request_):
    kind, major, minor, access = request_
    verdict = run(build(rules), KINDS[kind], major, minor, sum(BITS[letter] for letter in access))
    assert verdict == all(is_allowed(rules, kind, major, minor, letter) for letter in access)


@given(RULES.filter(bool))
def test_every_instruction_can_be_reached(rules):
    block = decode(build(rules))
    reached, waiting = set(), [0]
    while waiting:
        at = waiting.pop()
        if at in reached:
            continue
        reached.add(at)
        code, *_, offset, _ = block[at]
        if code == 0x95:
            continue
        waiting.append(at + 1)
        if code in (0x15, 0x55):
            assert offset > 0
            waiting.append(at + 1 + offset)
    assert reached == set(range(len(block)))


def test_a_privileged_container_may_do_everything():
    program = build([{"allow": True, "access": "rwm"}])
    assert run(program, KINDS["b"], 8, 0, 7) == 1


def test_a_kind_allowed_here_and_another_there_allow_both_together():
    rules = [
        {"allow": True, "type": "b", "major": 8, "minor": 0, "access": "r"},
        {"allow": True, "type": "b", "major": 8, "access": "w"},
    ]
    assert run(build(rules), KINDS["b"], 8, 0, BITS["r"] | BITS["w"]) == 1
    assert run(build(rules), KINDS["b"], 8, 1, BITS["r"] | BITS["w"]) == 0


def test_numbers_beyond_31_bits_name_no_device():
    rules = [{"allow": True, "type": "c", "major": WORD, "minor": 0, "access": "rw"}]
    assert run(build(rules), KINDS["c"], 9, 0, BITS["r"]) == 0


def test_too_many_rules_are_refused():
    with pytest.raises(InvalidArgument, match="more than a device program holds"):
        build_device_filter([Rule(allow=False)] + [Rule(True, "c", 1, minor) for minor in range(1000)])
