# SPDX-License-Identifier: Apache-2.0
"""Bits of keys: none that was added is ever denied, few others are taken for one, in 13 bits each."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testing.usage_samples import unhurried
from watchword.usage.key_bits import KeyBits, words_of

WORDS = st.integers(0, 2**64 - 1) | st.sampled_from([0, 1, 2**63, 2**64 - 1])


@unhurried
@given(width=st.integers(1, 10), first=st.lists(WORDS), second=st.lists(WORDS), others=st.lists(WORDS))
def test_a_key_that_was_added_is_always_given(
    width: int, first: list[int], second: list[int], others: list[int]
) -> None:
    bits = KeyBits(width)
    bits.add(first)
    bits.add(second)
    asked = [*others, *second, *first]
    given_back = bits.places(asked)
    assert given_back == sorted(set(given_back))
    assert {place for place, key in enumerate(asked) if key in {*first, *second}} <= set(given_back)


def test_an_empty_table_gives_none() -> None:
    assert KeyBits(3).places([0, 1, 2**64 - 1]) == []


@pytest.mark.parametrize(("bits_a_key", "most"), [(13, 0.012), (6, 0.08)])
def test_few_others_are_given(bits_a_key: int, most: float) -> None:
    chance = random.Random(bits_a_key)
    width = 11
    bits = KeyBits(width)
    bits.add(chance.getrandbits(64) for _ in range((64 << width) // bits_a_key))
    others = [chance.getrandbits(64) for _ in range(100_000)]
    assert 0 < len(bits.places(others)) < most * len(others)


def test_a_table_that_was_made_elsewhere_is_taken_by_its_width() -> None:
    table = bytes([0b1111] + 15 * [0])
    # Bits 0, 1, 2 and 3 of the first word of two.
    assert KeyBits(1, table).places([0 | 1 << 6 | 2 << 12 | 3 << 18, 1 << 63, 4]) == [0]
    with pytest.raises(ValueError, match=r"16 bytes is not one of 2\*\*2 words"):
        KeyBits(2, table)


def test_words_are_read_with_their_least_byte_first() -> None:
    assert list(words_of(bytes([1, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0]))) == [1, 512]
