"""Tokens by role, the cookie that stands for one, and how many wrong ones an address may bring."""

from __future__ import annotations

import pytest

from stream.ward.wall.roles import COOKIE_S, MOST_WRONG, WRONG_WINDOW_S, Identity, Role, Tokens, WrongTokens

A, B, C = "a" * 16, "b" * 16, "c" * 24


class Now:
    def __init__(self) -> None:
        self.s = 1_000_000.0

    def __call__(self) -> float:
        return self.s


def test_a_token_gives_its_role_and_no_other_word_does() -> None:
    tokens = Tokens([(A, Role.WATCH), (B, Role.MARK), (C, Role.METRICS)], Now())
    roles = {token: found.role for token in (A, B, C) if (found := tokens.of_token(token))}
    assert roles == {A: Role.WATCH, B: Role.MARK, C: Role.METRICS}
    for wrong in ("", A[:-1], A + "a", A.upper(), " " + A, "\udcff" * 16, "é" * 16, A + "\0"):
        assert tokens.of_token(wrong) is None
    watch, mark, metrics = (Identity(role) for role in Role)
    assert [each.may_watch for each in (watch, mark, metrics)] == [True, True, False]
    assert [each.may_mark for each in (watch, mark, metrics)] == [False, True, False]


def test_a_cookie_holds_no_token_and_ends() -> None:
    now = Now()
    tokens = Tokens([(A, Role.WATCH), (B, Role.MARK)], now)
    mine = tokens.of_token(B)
    assert mine is not None
    cookie = tokens.cookie(mine)
    assert B not in cookie
    assert tokens.of_cookie(cookie) == mine
    until, _, signature = cookie.partition(".")
    forged = (
        f"{int(until) + 1}.{signature}",
        f"{until}.{signature[:-1]}0",
        until,
        f"{until}.",
        ".",
        "",
        f"-1.{signature}",
    )
    for each in (*forged, f"{until}.{signature}x", f"{'9' * 40}.{signature}", "é.é", f"{until}.é"):
        assert tokens.of_cookie(each) is None
    now.s += COOKIE_S - 1
    assert tokens.of_cookie(cookie) == mine
    now.s += 2
    assert tokens.of_cookie(cookie) is None


def test_a_cookie_outlives_the_server_and_dies_with_its_token() -> None:
    now = Now()
    before = Tokens([(A, Role.WATCH)], now)
    mine = before.of_token(A)
    assert mine is not None
    cookie = before.cookie(mine)
    assert Tokens([(B, Role.MARK), (A, Role.WATCH)], now).of_cookie(cookie) == mine
    assert Tokens([(B, Role.WATCH)], now).of_cookie(cookie) is None
    changed = Tokens([(A, Role.MARK)], now)
    assert not changed.holds(mine)
    assert before.holds(mine)
    assert Tokens([], now).is_open
    assert not Tokens([], now).holds(mine)


@pytest.mark.parametrize(
    ("first", "other", "is_one"),
    [
        ("10.0.0.7", "10.0.0.8", False),
        ("10.0.0.7", "::ffff:10.0.0.7", True),
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("fe80::1%eth0", "fe80::2%eth0", True),
        ("", "somewhere", False),
    ],
)
def test_wrong_tokens_of_one_address_are_bounded(first: str, other: str, is_one: bool) -> None:
    now = Now()
    wrong = WrongTokens(now)
    for _ in range(MOST_WRONG):
        assert wrong.wait_s(first) == 0
        wrong.add(first)
        now.s += 1
    assert wrong.wait_s(first) == pytest.approx(WRONG_WINDOW_S - MOST_WRONG)
    assert (wrong.wait_s(other) > 0) is is_one
    now.s += WRONG_WINDOW_S - MOST_WRONG + 0.1
    assert wrong.wait_s(first) == 0
    assert wrong.count == MOST_WRONG


def test_addresses_that_bring_wrong_tokens_do_not_fill_memory() -> None:
    wrong = WrongTokens(Now())
    for number in range(10_000):
        wrong.add(f"10.{number >> 8 & 255}.{number & 255}.1")
    assert len(wrong._times) <= 4096
