# SPDX-License-Identifier: Apache-2.0
"""Random lives of an issuer's keys: answers, lies, edits, restarts, clocks that jump, and what must never be.

The invariants are written from the documents' words and share no code with key_rotation/state_machine.py.
"""

from __future__ import annotations

import json
from functools import cache

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from testing.tokens import Signer
from watchword.identity import KeySet, load_jwks
from watchword.trust.api.v1alpha1 import Rotation
from watchword.trust.key_rotation.held_keys import held_from_status, held_to_status, trusted_jwks
from watchword.trust.key_rotation.state_machine import HeldKey, RotationOutcome, rotate

KEYS = [Signer(f"key-{n}", "ES256") for n in range(5)]
THUMBPRINTS = [signer.key.thumbprint for signer in KEYS]
NAMES = [f"key-{n}" for n in range(4)]
# Each served key is (kid, number of the key): a kid may come with another key, and a key under another kid.
ENTRIES = st.tuples(st.sampled_from(NAMES), st.integers(0, len(KEYS) - 1))
ANSWERS = st.lists(ENTRIES, min_size=1, max_size=4, unique_by=lambda entry: entry[0])
NO_KEYS = [b"", b"{}", b'{"keys": []}', b'{"keys": [{"kty": "oct", "kid": "key-0", "k": "AAAA"}]}', b"<html>"]
PRINTS = st.frozensets(st.sampled_from(THUMBPRINTS), max_size=3)


def answer(entries: list[tuple[str, int]]) -> KeySet:
    """What an issuer serves, read as the operator reads it."""
    return _load(tuple(entries))


@cache
def _load(entries: tuple[tuple[str, int], ...]) -> KeySet:
    return load_jwks(json.dumps({"keys": [KEYS[n].jwk | {"kid": kid} for kid, n in entries]}).encode())


class KeyMachine(RuleBasedStateMachine):
    """One issuer; each rule is a thing that happens in the field."""

    def __init__(self) -> None:
        super().__init__()
        self.rules = Rotation()
        self.revoked: frozenset[str] = frozenset()
        self.held: tuple[HeldKey, ...] = ()
        self.now = 1_800_000_000.0
        self.was_seen = False
        self.last_served: list[tuple[str, int]] = []

    def step(self, served: KeySet | None) -> RotationOutcome:
        before = self.held
        outcome = rotate(self.rules, before, served, self.now, revoked=self.revoked)
        self.check(before, served, outcome)
        self.held = outcome.held
        self.was_seen |= bool(before) or bool(served and served.keys)
        return outcome

    @rule(entries=ANSWERS)
    def the_issuer_answers(self, entries: list[tuple[str, int]]) -> None:
        outcome = self.step(answer(entries))
        assert outcome.refused is None
        self.last_served = entries

    @rule()
    def the_issuer_answers_the_same_again(self) -> None:
        if self.last_served:
            self.step(answer(self.last_served))

    @rule(data=st.sampled_from(NO_KEYS))
    def an_answer_has_no_usable_key(self, data: bytes) -> None:
        quiet = rotate(self.rules, self.held, None, self.now, revoked=self.revoked)
        outcome = self.step(load_jwks(data))
        assert outcome.refused is not None
        assert outcome.held == quiet.held
        assert outcome.changes == quiet.changes

    @rule(seconds=st.sampled_from([1, 59, 61, 3600, 86_399, 86_401, 10**6]))
    def time_passes(self, seconds: int) -> None:
        self.now += seconds
        self.step(None)

    @rule(seconds=st.sampled_from([1, 3600, 10**6]))
    def the_clock_goes_back(self, seconds: int) -> None:
        self.now -= seconds
        self.step(None)
        for key in self.held:
            assert key.since <= self.now, "a clock that went back stretches a retirement"

    @rule(policy=st.sampled_from(["Pin", "Approve", "Continuity", "Follow"]))
    def the_policy_is_changed(self, policy: str) -> None:
        self.edit(policy=policy)

    @rule(approved=PRINTS)
    def the_approvals_are_edited(self, approved: frozenset[str]) -> None:
        self.edit(approved=tuple(sorted(approved)))

    @rule(seconds=st.sampled_from([0, 60, 86_400]))
    def the_time_to_retire_is_edited(self, seconds: int) -> None:
        self.edit(retire_after_seconds=seconds)

    @rule(revoked=PRINTS)
    def keys_are_revoked(self, revoked: frozenset[str]) -> None:
        self.revoked = revoked
        self.step(None)

    @precondition(lambda self: self.held)
    @rule()
    def the_operator_restarts(self) -> None:
        assert held_from_status(json.loads(json.dumps(held_to_status(self.held)))) == self.held

    def edit(self, **fields: object) -> None:
        values = {name: getattr(self.rules, name) for name in self.rules.__struct_fields__} | fields
        self.rules = Rotation(**values)
        self.step(None)

    def check(self, before: tuple[HeldKey, ...], served: KeySet | None, outcome: RotationOutcome) -> None:
        was_trusted = {key.thumbprint for key in before if key.state in ("Active", "Retiring")}
        trusted = {key.thumbprint for key in outcome.held if key.state in ("Active", "Retiring")}
        gained = trusted - was_trusted
        approved = set(self.rules.approved) - self.revoked
        said = {key.thumbprint for key in served.keys} if served else set()
        if self.rules.policy == "Continuity":
            vouched = {key.thumbprint for key in before if key.state == "Active"} - self.revoked
            nobody_said_anything = not self.was_seen and not self.rules.approved
            if not (said & (vouched | approved)) and not nobody_said_anything:
                assert gained <= approved, "a key is trusted from an answer of nobody that is known"
        if served is None and self.rules.policy != "Follow":
            assert gained <= approved, "a key is trusted without an answer and without a person"
        if served and served.keys:
            for key in outcome.held:
                is_served = (key.kid, key.thumbprint) in {(each.kid, each.thumbprint) for each in served.keys}
                assert is_served == (key.state != "Retiring"), key
        # What is told is what happened.
        identities = {(key.kid, key.thumbprint, key.state) for key in outcome.held}
        earlier = {(key.kid, key.thumbprint, key.state) for key in before}
        assert bool(outcome.changes) == (identities != earlier)
        assert len({(change.kid, change.thumbprint) for change in outcome.changes}) == len(outcome.changes)

    @invariant()
    def nothing_is_trusted_against_the_rules(self) -> None:
        trusted = [key for key in self.held if key.state in ("Active", "Retiring")]
        for key in trusted:
            assert key.thumbprint not in self.revoked
            if self.rules.policy in ("Pin", "Approve"):
                assert key.thumbprint in self.rules.approved
            if key.state == "Retiring":
                assert self.now < key.since + self.rules.retire_after_seconds, "trusted past its time"

    @invariant()
    def the_gate_can_load_every_trusted_key(self) -> None:
        trusted = {(key.kid, key.thumbprint) for key in self.held if key.is_trusted}
        data = trusted_jwks(self.held)
        loaded = load_jwks(data) if data is not None else KeySet(())
        assert {(key.kid, key.thumbprint) for key in loaded.keys} == trusted
        assert not loaded.problems

    @invariant()
    def a_quiet_step_changes_nothing(self) -> None:
        outcome = rotate(self.rules, self.held, None, self.now, revoked=self.revoked)
        assert outcome.held == self.held
        assert not outcome.changes

    @invariant()
    def the_next_change_by_time_is_announced(self) -> None:
        outcome = rotate(self.rules, self.held, None, self.now, revoked=self.revoked)
        quiet_until = outcome.next_at if outcome.next_at is not None else self.now + 10**8
        before_it = rotate(self.rules, self.held, None, quiet_until - 1, revoked=self.revoked)
        assert before_it.held == self.held
