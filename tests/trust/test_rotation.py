# SPDX-License-Identifier: Apache-2.0
"""A key is trusted as the policy says, whatever is served, edited, revoked, or however the clock goes."""

import os
from typing import Any

import pytest
from hypothesis import settings

from tests.trust.keymachine import KEYS, THUMBPRINTS, KeyMachine, answer
from watchword.identity import KeySet, load_jwks
from watchword.trust.api.v1alpha1 import Rotation
from watchword.trust.key_rotation.held_keys import HeldKey, held_from_status, held_to_status, trusted_jwks
from watchword.trust.key_rotation.state_machine import RotationOutcome, approval_deadline, rotate

NOW = 1_800_000_000.0
A, B, C = (("key-0", 0), ("key-1", 1), ("key-2", 2))
EXAMPLES = int(os.environ.get("WATCHWORD_ROTATION_EXAMPLES", "150"))

TestKeyMachine = KeyMachine.TestCase
TestKeyMachine.settings = settings(max_examples=EXAMPLES, stateful_step_count=30, deadline=None)


def life(*answers: list[tuple[str, int]] | None, every: float = 300, **rules: Any) -> RotationOutcome:
    """The outcome of the last of these answers, one each `every` seconds; None: no answer."""
    return lives([(Rotation(**rules), served) for served in answers], every)


def lives(steps: list[tuple[Rotation, list[tuple[str, int]] | None]], every: float = 300) -> RotationOutcome:
    outcome = RotationOutcome(())
    for number, (rules, served) in enumerate(steps):
        key_set = None if served is None else answer(served) if served else KeySet(())
        outcome = rotate(rules, outcome.held, key_set, NOW + number * every)
    return outcome


def states(outcome: RotationOutcome) -> dict[str, str]:
    return {f"{key.kid}/{THUMBPRINTS.index(key.thumbprint)}": key.state for key in outcome.held}


APPROVED_A, APPROVED_B = {"approved": (THUMBPRINTS[0],)}, {"approved": (THUMBPRINTS[1],)}
CASES: list[tuple[str, RotationOutcome, dict[str, str]]] = [
    ("Continuity takes the first keys", life([A, B]), {"key-0/0": "Active", "key-1/1": "Active"}),
    (
        "Continuity takes a key beside one that is Active",
        life([A], [A, B]),
        {"key-0/0": "Active", "key-1/1": "Active"},
    ),
    ("a hard rotation waits for a person", life([A], [B]), {"key-0/0": "Retiring", "key-1/1": "Pending"}),
    (
        "a Retiring key vouches for nobody",
        life([A], [B], [A, B]),
        {"key-0/0": "Active", "key-1/1": "Pending"},
    ),
    (
        "a key that came back vouches from then on",
        life([A], [B], [A, B], [A, B]),
        {"key-0/0": "Active", "key-1/1": "Active"},
    ),
    (
        "what is Pending and no longer served is forgotten",
        life([A], [B], [C]),
        {"key-0/0": "Retiring", "key-2/2": "Pending"},
    ),
    ("a Retiring key is dropped in time", life([A, B], [A], None, every=86_401), {"key-0/0": "Active"}),
    ("retireAfterSeconds 0 drops at once", life([A, B], [A], retire_after_seconds=0), {"key-0/0": "Active"}),
    ("an empty set changes nothing", life([A], []), {"key-0/0": "Active"}),
    ("no answer changes nothing", life([A], None), {"key-0/0": "Active"}),
    (
        "approvals bind the first answer too",
        life([A, B], approved=(THUMBPRINTS[2],)),
        {"key-0/0": "Pending", "key-1/1": "Pending"},
    ),
    (
        "an approved key vouches for its company",
        life([A, B], **APPROVED_A),
        {"key-0/0": "Active", "key-1/1": "Active"},
    ),
    ("Approve waits", life([A], [A], policy="Approve"), {"key-0/0": "Pending"}),
    (
        "Approve never takes a key because time went by",
        life([A], [A], policy="Approve", every=10**7),
        {"key-0/0": "Pending"},
    ),
    (
        "Approve takes what is approved, and only that",
        life([A, B], policy="Approve", **APPROVED_A),
        {"key-0/0": "Active", "key-1/1": "Pending"},
    ),
    (
        "an approval needs no further answer",
        lives(
            [
                (Rotation(policy="Approve"), [A]),
                (Rotation(policy="Approve", approved=(THUMBPRINTS[0],)), None),
            ]
        ),
        {"key-0/0": "Active"},
    ),
    (
        "an approval taken back takes the trust back",
        lives(
            [
                (Rotation(policy="Approve", approved=(THUMBPRINTS[0],)), [A]),
                (Rotation(policy="Approve"), None),
            ]
        ),
        {"key-0/0": "Pending"},
    ),
    (
        "an approval taken back from a key that retires drops it",
        lives(
            [
                (Rotation(policy="Approve", approved=tuple(THUMBPRINTS[:2])), [A, B]),
                (Rotation(policy="Approve", approved=tuple(THUMBPRINTS[:2])), [A]),
                (Rotation(policy="Approve", approved=(THUMBPRINTS[0],)), None),
            ]
        ),
        {"key-0/0": "Active"},
    ),
    (
        "Pin takes the pinned key alone",
        life([A, B], policy="Pin", **APPROVED_B),
        {"key-1/1": "Active", "key-0/0": "Pending"},
    ),
    (
        "Follow takes whatever is served",
        life([A], [B], policy="Follow"),
        {"key-1/1": "Active", "key-0/0": "Retiring"},
    ),
    (
        "another key under a trusted kid waits",
        life([A, B], [("key-0", 2), B]),
        {"key-1/1": "Active", "key-0/2": "Pending", "key-0/0": "Retiring"},
    ),
    (
        "another key under a kid is taken once the old one is gone",
        life([A, B], [("key-0", 2), B], [("key-0", 2), B], every=86_401),
        {"key-1/1": "Active", "key-0/2": "Active"},
    ),
    (
        "under Follow another key takes the kid over",
        life([A], [("key-0", 2)], policy="Follow"),
        {"key-0/2": "Active"},
    ),
    (
        "a key under a new kid is no new key",
        life([A], [("renamed", 0)]),
        {"renamed/0": "Active", "key-0/0": "Retiring"},
    ),
    (
        "two keys that swap kids stay",
        life([A, B], [("key-0", 1), ("key-1", 0)]),
        {"key-0/1": "Active", "key-1/0": "Active"},
    ),
    (
        "going from Follow to Pin drops what nobody pinned",
        lives(
            [(Rotation(policy="Follow"), [A, B]), (Rotation(policy="Pin", approved=(THUMBPRINTS[1],)), None)]
        ),
        {"key-1/1": "Active", "key-0/0": "Pending"},
    ),
    (
        "going to Continuity does not take what waits",
        lives([(Rotation(policy="Approve"), [A]), (Rotation(), [A])]),
        {"key-0/0": "Pending"},
    ),
]


@pytest.mark.parametrize(
    ("outcome", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_each_policy_does_what_it_says(outcome: RotationOutcome, expected: dict[str, str]) -> None:
    assert states(outcome) == expected


def test_a_revoked_key_is_trusted_under_no_policy() -> None:
    for policy in ("Pin", "Approve", "Continuity", "Follow"):
        rules = Rotation(policy=policy, approved=tuple(THUMBPRINTS[:2]))
        held = rotate(rules, (), answer([A, B]), NOW).held
        outcome = rotate(rules, held, None, NOW, revoked=frozenset({THUMBPRINTS[0]}))
        assert states(outcome) == {"key-1/1": "Active", "key-0/0": "Pending"}
        assert [change.event.reason for change in outcome.changes] == ["KeyDistrusted"]
        served_on = rotate(rules, outcome.held, answer([A, B]), NOW, revoked=frozenset({THUMBPRINTS[0]}))
        assert states(served_on) == {"key-1/1": "Active", "key-0/0": "Pending"}
        assert states(rotate(rules, served_on.held, answer([B]), NOW)) == {"key-1/1": "Active"}


def test_after_the_only_key_was_revoked_the_next_one_waits_for_a_person() -> None:
    revoked = frozenset({THUMBPRINTS[0]})
    held = rotate(Rotation(), life([A]).held, None, NOW, revoked=revoked).held
    for taken_back in (revoked, frozenset[str]()):
        outcome = rotate(Rotation(), held, answer([B]), NOW, revoked=taken_back)
        assert states(outcome) == {"key-1/1": "Pending"}


def test_a_clock_of_the_far_future_cannot_keep_a_retired_key_for_ever() -> None:
    held = life([A, B]).held
    held = rotate(Rotation(), held, answer([A]), 4e9).held
    held = rotate(Rotation(), held, answer([A]), NOW).held
    assert states(rotate(Rotation(), held, None, NOW + 86_401)) == {"key-0/0": "Active"}


def test_an_issuer_that_rotates_without_end_holds_no_more_keys_than_a_set_may_have() -> None:
    rules, held = Rotation(policy="Follow", retire_after_seconds=2_592_000), life([A]).held
    for number in range(300):
        jwk = KEYS[number % 2].jwk | {"kid": f"kid-{number}"}
        held = rotate(rules, held, load_jwks(b'{"keys": [%s]}' % _json(jwk)), NOW + number).held
    data = trusted_jwks(held)
    assert data is not None
    assert len(load_jwks(data).keys) == 64
    assert held[0].kid == "kid-299"


def _json(value: object) -> bytes:
    import json

    return json.dumps(value).encode()


@pytest.mark.parametrize(
    ("policy", "deadline"), [("Approve", 60.0), ("Continuity", 60.0), ("Pin", None), ("Follow", None)]
)
def test_a_pending_key_has_a_deadline_where_somebody_is_to_decide(
    policy: Any, deadline: float | None
) -> None:
    rules = Rotation(policy=policy, approve_within_seconds=60)
    key = rotate(Rotation(policy="Approve"), (), answer([A]), NOW).held[0]
    assert approval_deadline(rules, key) == (None if deadline is None else NOW + deadline)


CHANGES: list[tuple[str, RotationOutcome, dict[str, str]]] = [
    ("first", life([A]), {"key-0": "KeyTrusted"}),
    ("waits", life([A], [B]), {"key-0": "KeyRetiring", "key-1": "KeyPending"}),
    ("again", life([A], [B], [A]), {"key-0": "KeyTrusted", "key-1": "KeyWithdrawn"}),
    ("retired", life([A, B], [A], [A], every=86_401), {"key-1": "KeyRetired"}),
    ("nothing new", life([A], [A]), {}),
]


@pytest.mark.parametrize(
    ("outcome", "expected"), [case[1:] for case in CHANGES], ids=[case[0] for case in CHANGES]
)
def test_each_change_is_told_once(outcome: RotationOutcome, expected: dict[str, str]) -> None:
    assert {change.kid: change.event.reason for change in outcome.changes} == expected


GOOD = held_to_status(life([A]).held)[0]


@pytest.mark.parametrize(
    "entry",
    [
        None,
        1,
        {},
        GOOD | {"state": "Trusted"},
        GOOD | {"state": None},
        GOOD | {"since": "yesterday"},
        GOOD | {"since": 1},
        GOOD | {"since": "2027-01-15T08:00:00.000Z"},
        GOOD | {"jwk": KEYS[1].jwk},
        GOOD | {"jwk": None},
        GOOD | {"kid": "other"},
        GOOD | {"thumbprint": THUMBPRINTS[1]},
        GOOD | {"algorithm": "RS256"},
        {name: value for name, value in GOOD.items() if name != "jwk"},
    ],
)
def test_a_status_that_does_not_hold_together_is_not_trusted_and_no_new_beginning(entry: object) -> None:
    held = held_from_status([entry])
    assert trusted_jwks(held) is None
    for policy in ("Follow", "Continuity", "Approve"):
        assert trusted_jwks(rotate(Rotation(policy=policy), held, None, NOW).held) is None  # type: ignore[arg-type]  # a table of names
    assert states(rotate(Rotation(), held, answer([B]), NOW)) == {"key-1/1": "Pending"}
    good = rotate(Rotation(), (*held, *held_from_status([GOOD])), answer([A]), NOW)
    assert states(good) == {"key-0/0": "Active"}


@pytest.mark.parametrize("status", [None, {}, "keys", 1])
def test_a_status_without_keys_is_a_new_beginning(status: object) -> None:
    held: tuple[HeldKey, ...] = held_from_status(status)
    assert held == ()


def test_which_issuer_held_a_key_first_is_told_below_a_second_and_across_a_restart() -> None:
    first, second = (rotate(Rotation(), (), answer([A]), NOW + part).held for part in (0.125, 0.75))
    restarted = [held_from_status(held_to_status(held))[0] for held in (first, second)]
    assert [key.held_since for key in restarted] == [NOW + 0.125, NOW + 0.75]
    assert {key.since for key in restarted} == {NOW}
