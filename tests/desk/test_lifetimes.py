# SPDX-License-Identifier: Apache-2.0
"""No chain of exchanges outlives the first token."""

from hypothesis import given
from hypothesis import strategies as st

from watchword.desk.lifetimes import lifetime_of

_times = st.floats(min_value=0, max_value=2**33, allow_nan=False)


@given(_times, _times, st.integers(60, 3600), st.integers(60, 3600))
def test_a_token_never_ends_after_its_subject_nor_after_what_the_desk_allows(
    now: float, ends: float, lifetime: int, most: int
) -> None:
    made = lifetime_of(now, subject_ends=ends, lifetime_seconds=lifetime, max_lifetime_seconds=most)

    if made is None:
        assert int(ends) <= now
    else:
        assert now < made.expires_at <= ends
        assert made.issued_at <= now
        assert made.expires_at - made.issued_at <= min(lifetime, most)


@given(_times, _times, st.lists(st.floats(min_value=0, max_value=5000), max_size=8))
def test_a_chain_of_exchanges_never_outlives_the_first_token(
    now: float, ends: float, waits: list[float]
) -> None:
    """Desk tokens are never subjects; were one, it would still not live longer."""
    subject_ends = ends
    for wait in waits:
        now += wait
        made = lifetime_of(now, subject_ends=subject_ends, lifetime_seconds=3600, max_lifetime_seconds=3600)
        if made is None:
            return
        subject_ends = made.expires_at
        assert subject_ends <= ends
