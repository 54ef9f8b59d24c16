import pytest
from hypothesis import given
from hypothesis import strategies as st

from rundlet.plan.bpf import (
    JUMP_EQUAL,
    LOAD,
    RETURN,
    Comparison,
    Instruction,
    branch,
    decode_program,
    encode_program,
    match_all,
    search,
)

YES, NO = [Instruction(RETURN, 1)], [Instruction(RETURN, 0)]
WORDS = st.sampled_from([0, 1, 5, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
VALUES = st.builds(lambda high, low: high << 32 | low, WORDS, WORDS) | st.integers(0, 2**64 - 1)
HOLDS = {
    "eq": lambda a, b: a == b,
    "ne": lambda a, b: a != b,
    "lt": lambda a, b: a < b,
    "le": lambda a, b: a <= b,
    "gt": lambda a, b: a > b,
    "ge": lambda a, b: a >= b,
}
COMPARISONS = st.tuples(st.integers(0, 5), st.sampled_from(sorted(HOLDS)), VALUES).map(
    lambda parts: Comparison(*parts)
)


def test_an_instruction_is_a_sock_filter():
    block = [Instruction(LOAD, 4), Instruction(JUMP_EQUAL, 0xC000003E, jt=1, jf=2)]
    program = encode_program(block)
    assert program == bytes.fromhex("2000000004000000150001023e0000c0")
    assert decode_program(program) == block


@given(st.lists(COMPARISONS, max_size=6), st.lists(VALUES, min_size=6, max_size=6))
def test_wide_comparisons_are_those_of_64_bit_numbers(run_program, comparisons, args):
    program = encode_program(match_all(comparisons, True, YES, NO))
    expected = all(HOLDS[c.op](args[c.argument], c.value) for c in comparisons)
    assert run_program(program, 0, args=args) == expected


@given(st.lists(COMPARISONS, max_size=6), st.lists(VALUES, min_size=6, max_size=6))
def test_narrow_comparisons_see_the_low_words_only(run_program, comparisons, args):
    program = encode_program(match_all(comparisons, False, YES, NO))
    low = 0xFFFFFFFF
    expected = all(HOLDS[c.op](args[c.argument] & low, c.value & low) for c in comparisons)
    assert run_program(program, 0, args=args) == expected


@given(VALUES, VALUES, VALUES, st.sampled_from(["eq", "ne"]))
def test_masked_comparisons(run_program, mask, value, argument, op):
    comparison = Comparison(2, op, value & mask, mask)
    program = encode_program(match_all([comparison], True, YES, NO))
    expected = HOLDS[op](argument & mask, value & mask)
    assert run_program(program, 0, args=[0, 0, argument]) == expected


@given(st.sets(st.integers(1, 2**32 - 1), max_size=300), st.data())
def test_search_finds_the_range_that_a_number_is_in(run_program, edges, data):
    starts = [0, *sorted(edges)]
    ranges = [(start, [Instruction(RETURN, index)]) for index, start in enumerate(starts)]
    program = encode_program([Instruction(LOAD, 0), *search(ranges)])
    near = st.sampled_from(starts).flatmap(lambda edge: st.sampled_from([edge, max(0, edge - 1)]))
    number = data.draw(near | st.integers(0, 2**32 - 1))
    expected = max(index for index, start in enumerate(starts) if start <= number)
    assert run_program(program, number) == expected


@pytest.mark.parametrize("length", [1, 254, 255, 256, 257, 1000])
@pytest.mark.parametrize("number", [7, 8])
def test_a_branch_reaches_over_blocks_of_any_length(run_program, length, number):
    padding = [Instruction(LOAD, 0)] * (length - 1)
    block = branch(JUMP_EQUAL, 7, [*padding, *YES], [*padding, *NO])
    assert run_program(encode_program([Instruction(LOAD, 0), *block]), number) == (number == 7)
