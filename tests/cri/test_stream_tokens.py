"""Tokens: one use, one minute, a thousand at most."""

import pytest

from rundlet.cri.stream_tokens import IN_FLIGHT_MAX, LIFETIME_S, AttachOrder, Tokens
from rundlet.errors import ResourceExhausted
from rundlet.streaming.command import Wanted

ORDER = AttachOrder("c", Wanted(stdout=True))


class Clock:
    now_s = 100.0

    def __call__(self):
        return self.now_s


def test_a_token_is_good_once():
    tokens = Tokens()
    token = tokens.issue(ORDER)
    assert tokens.take(token) == ORDER
    assert tokens.take(token) is None
    assert tokens.take("never issued") is None


def test_a_token_is_good_for_a_minute():
    clock = Clock()
    tokens = Tokens(clock)
    early = tokens.issue(ORDER)
    clock.now_s += LIFETIME_S - 1
    late = tokens.issue(ORDER)
    clock.now_s += 1
    assert tokens.take(early) is None
    assert tokens.take(late) == ORDER


def test_tokens_in_flight_are_limited_until_they_are_used_or_expire():
    clock = Clock()
    tokens = Tokens(clock)
    first, *_ = [tokens.issue(ORDER) for _ in range(IN_FLIGHT_MAX)]
    with pytest.raises(ResourceExhausted):
        tokens.issue(ORDER)
    tokens.take(first)
    tokens.issue(ORDER)
    with pytest.raises(ResourceExhausted):
        tokens.issue(ORDER)
    clock.now_s += LIFETIME_S
    tokens.issue(ORDER)


def test_tokens_are_not_to_be_guessed():
    tokens = Tokens()
    found = {tokens.issue(ORDER) for _ in range(100)}
    assert len(found) == 100
    assert all(len(token) == 16 for token in found)
