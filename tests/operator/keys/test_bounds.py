# SPDX-License-Identifier: Apache-2.0
"""Whatever bytes, addresses and waits may come: each is judged in all its forms, and nothing breaks."""

from __future__ import annotations

from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_network

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from testing.keys.endpoint import answer
from testing.keys.polling import A, jwks
from watchword.operator.keys.addresses import NOT_THIS_MACHINE, AddressRules
from watchword.operator.keys.errors import FetchError
from watchword.operator.keys.http import AnswerReader
from watchword.operator.keys.poller import MAX_WAIT_SECONDS, next_poll, next_try
from watchword.operator.keys.url import parse_target

FORBIDDEN = ["127.0.0.0/8", "169.254.0.0/16", "0.0.0.0/8", "224.0.0.0/4", "240.0.0.0/4"]
FORBIDDEN += ["100.100.100.200/32", "168.63.129.16/32", "192.0.0.192/32"]
FORMS = ["{}", "::ffff:{}", "64:ff9b::{}", "64:ff9b:1::{}", "::{}", "::ffff:0:{}"]


@st.composite
def forbidden(draw: st.DrawFn) -> IPv4Address:
    network = ip_network(draw(st.sampled_from(FORBIDDEN)))
    number = draw(st.integers(int(network.network_address), int(network.broadcast_address)))
    return IPv4Address(number)


@given(forbidden(), st.sampled_from(FORMS))
def test_a_forbidden_address_is_forbidden_in_every_form(address: IPv4Address, form: str) -> None:
    text = form.format(address)
    # A number this small is, as an IPv6 address, `::` or `::1` or their neighbours: refused as such.
    assert NOT_THIS_MACHINE.refusal(text) is not None


@given(forbidden(), st.integers(0, 2**80 - 1))
def test_a_forbidden_address_is_forbidden_behind_a_tunnel(address: IPv4Address, rest: int) -> None:
    six_to_four = IPv6Address((0x2002 << 112) | (int(address) << 80) | rest)
    assert NOT_THIS_MACHINE.refusal(str(six_to_four)) is not None
    teredo = IPv6Address((0x20010000 << 96) | (0x08080808 << 64) | (int(address) ^ 0xFFFFFFFF))
    assert NOT_THIS_MACHINE.refusal(str(teredo)) is not None


def test_what_was_allowed_is_allowed_and_its_neighbours_are_not() -> None:
    rules = AddressRules((ip_network("127.0.0.1/32"),))
    assert rules.refusal("127.0.0.1") is None
    assert rules.refusal("::ffff:127.0.0.1") is None
    assert rules.refusal("127.0.0.2") is not None
    assert rules.refusal("::1") is not None


@given(st.binary(max_size=300), st.integers(1, 40))
@example(answer(jwks(A)), 1)
@example(b"HTTP/1.1 200 OK\r\n\r\n" * 3, 5)
def test_no_bytes_in_any_pieces_break_the_reader(data: bytes, size: int) -> None:
    reader = AnswerReader()
    with suppress(FetchError):
        for start in range(0, len(data), size):
            reader.feed(data[start : start + size])
        reader.answer()


@given(st.binary(max_size=120), st.integers(0, 400), st.integers(1, 40))
def test_an_answer_that_was_tampered_with_is_read_or_refused(noise: bytes, place: int, size: int) -> None:
    good = answer(jwks(A))
    data = good[:place] + noise + good[place + len(noise) :]
    reader = AnswerReader()
    with suppress(FetchError):
        for start in range(0, len(data), size):
            reader.feed(data[start : start + size])
        reader.answer()


@given(st.text(max_size=60))
@example("https://a:b@c/")
@example("https://[::ffff:1.2.3.4]/")
def test_a_url_is_read_as_one_origin_or_refused(url: str) -> None:
    try:
        target = parse_target(url)
    except FetchError:
        return
    again = parse_target(str(target))
    assert again == target
    assert str(target).isascii()
    assert not set(target.host) & set("/?#@\\ ")


@given(st.integers(1, 100), st.floats(30, 86_400), st.none() | st.floats(0, 1e12))
def test_a_retry_is_never_sooner_than_asked_nor_later_than_bound(
    failures: int, interval: float, asked: float | None
) -> None:
    wait = next_try(failures, interval, asked)
    assert 1.0 <= wait <= max(interval, MAX_WAIT_SECONDS * 1.1)
    if asked is not None:
        assert wait >= min(asked, MAX_WAIT_SECONDS)


@given(st.integers(30, 86_400))
def test_a_poll_is_never_sooner_than_the_interval(interval: int) -> None:
    assert interval <= next_poll(interval) <= interval * 1.1


@pytest.mark.parametrize("seconds", [30, 300])
def test_issuers_that_fail_together_do_not_come_back_together(seconds: int) -> None:
    assert len({next_try(5, seconds) for _ in range(100)}) > 90
    assert len({next_poll(seconds) for _ in range(100)}) > 90
