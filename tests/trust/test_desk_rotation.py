# SPDX-License-Identifier: Apache-2.0
"""A desk's keys over time, with an operator that looks now and then, and a desk that obeys: never a gap.

At every moment the desk has a key to sign with, that key was in the bundles before, and no token that lives
was signed by a key that left them, unless it was revoked.
"""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from watchword.trust.desk_rotation import (
    LEAD_SECONDS,
    RETIRE_SECONDS,
    HeldKey,
    key_statuses,
    next_steps,
    public_keys,
    signing_key,
)

START = 1_800_000_000.0
LONGEST = 3600.0


def key(number: int, signs_from: float, **changes: float | None) -> HeldKey:
    thumbprint = f"{number}".rjust(43, "_")
    fields = {"made_at": signs_from - LEAD_SECONDS, "revoked_at": None} | changes
    return HeldKey(
        f"wd-{thumbprint}", thumbprint, {"kid": f"wd-{thumbprint}"}, signs_from=signs_from, **fields
    )  # type: ignore[arg-type]


class Operator:
    """Does what it is told, when it looks."""

    def __init__(self) -> None:
        self.keys: list[HeldKey] = []
        self.made = 0

    def look(self, now: float, rotate: float, revoked: frozenset[str]) -> float:
        for _ in range(5):
            steps = next_steps(self.keys, rotate, now, revoked=revoked)
            if steps.make is None and not steps.revoke and not steps.drop:
                return steps.look_again_at
            if steps.make is not None:
                self.made += 1
                self.keys.append(key(self.made, steps.make, made_at=now))
            dropped = {each.kid for each in steps.drop}
            taken = {each.kid for each in steps.revoke}
            self.keys = [
                key(int(each.thumbprint.strip("_")), each.signs_from, made_at=each.made_at, revoked_at=now)
                if each.kid in taken
                else each
                for each in self.keys
                if each.kid not in dropped
            ]
        raise AssertionError("it does not settle")


@settings(max_examples=200, deadline=None)
@given(
    st.integers(3600, 40_000),
    st.lists(st.tuples(st.integers(1, 4000), st.booleans()), min_size=5, max_size=120),
)
def test_there_is_never_a_gap(rotate: int, looks: list[tuple[int, bool]]) -> None:
    operator, now, revoked = Operator(), START, frozenset[str]()
    tokens: list[tuple[str, float]] = []
    due = operator.look(now, rotate, revoked)
    in_bundles_since = {each.kid: now for each in operator.keys}
    for step, revokes in looks:
        # It looks when it said that it would, or earlier for some other reason.
        now = min(now + step, max(due, now + 1))
        signing = signing_key(operator.keys, now)
        if revokes and signing is not None:
            revoked |= {signing.thumbprint}
        due = operator.look(now, rotate, revoked)
        bundle = {jwk["kid"] for jwk in public_keys(operator.keys, revoked).keys}
        for kid in bundle:
            in_bundles_since.setdefault(kid, now)
        live = [each for each in operator.keys if each.revoked_at is None]
        # As desks do: with the oldest where none's time has come.
        signing = signing_key(live, now) or min(live, key=lambda each: each.signs_from, default=None)
        assert signing is not None
        assert signing.kid in bundle
        is_first = all(each.revoked_at is not None for each in operator.keys if each is not signing)
        assert is_first or now - in_bundles_since[signing.kid] >= LEAD_SECONDS
        tokens = [(kid, end) for kid, end in tokens if end > now]
        for kid, _ in tokens:
            assert kid in bundle or kid.removeprefix("wd-") in revoked
        tokens.append((signing.kid, now + LONGEST))
        assert len(operator.keys) <= 4 + len(revoked)


def test_the_first_key_signs_at_once_and_the_next_is_made_ten_minutes_before_its_turn() -> None:
    assert next_steps([], 7200, START).make == START
    first = key(1, START)
    early = next_steps([first], 7200, START + 7200 - LEAD_SECONDS - 1)
    assert (early.make, early.look_again_at) == (None, START + 7200 - LEAD_SECONDS)
    assert next_steps([first], 7200, START + 7200 - LEAD_SECONDS).make == START + 7200
    # One that waits already is enough.
    assert next_steps([first, key(2, START + 7200)], 7200, START + 7100).make is None


def test_an_old_key_stays_until_its_last_token_has_ended() -> None:
    held = [key(1, START), key(2, START + 7200)]
    just_before = START + 7200 + RETIRE_SECONDS - 1
    assert next_steps(held, 10**9, just_before).drop == ()
    assert next_steps(held, 10**9, just_before + 1).drop == (held[0],)


def test_a_revoked_key_is_replaced_at_once_and_stays_known_as_revoked() -> None:
    held = [key(1, START)]
    steps = next_steps(held, 7200, START + 60, revoked=frozenset({held[0].thumbprint}))
    assert (steps.make, steps.revoke, steps.drop) == (START + 60, (held[0],), ())
    keys = public_keys(held, frozenset({held[0].thumbprint}))
    assert ([each["kid"] for each in keys.keys], [each["kid"] for each in keys.revoked]) == (
        [],
        [held[0].kid],
    )
    # A key that waited takes over in its place, and no other is made.
    waiting = [*held, key(2, START + 300)]
    assert next_steps(waiting, 7200, START + 60, revoked=frozenset({held[0].thumbprint})).make is None


def test_keys_of_another_store_are_revoked_like_others() -> None:
    held = [key(1, START), key(2, START + 10)]
    steps = next_steps(held, 7200, START + 60, of_other_stores=frozenset({held[1].kid}))
    assert (steps.revoke, steps.make) == ((held[1],), None)
    assert signing_key([held[0]], START + 60) is held[0]


def test_what_status_says_of_each() -> None:
    held = [
        key(1, START), key(2, START + 100), key(3, START + 900, made_at=START + 300),
        key(4, START + 50, revoked_at=START + 70),
    ]  # fmt: skip
    found = {each.kid[-1]: each.state for each in key_statuses(held, START + 200)}
    assert found == {"1": "Retiring", "2": "Signing", "3": "Published", "4": "Revoked"}
