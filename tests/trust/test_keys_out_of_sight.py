# SPDX-License-Identifier: Apache-2.0
"""An issuer whose keys cannot be read, or are all taken back and gone, still keeps them from a copy.

What decides whose a key is must not hang on whether its owner's JWKS is in sight at this moment. A deleted
ConfigMap, or a revoked only key, the usual emergency, would hand the key to a cluster that serves it too.
"""

from __future__ import annotations

from typing import Any

import pytest

from testing.manifests import parsed
from testing.tokens import Signer, token
from tests.trust.test_key_claims import COPY, VICTIM, bundle_of, decided, followed, held
from watchword.trust import Bundle
from watchword.trust.conflicts import problem_of
from watchword.trust.issuers import judge_issuer
from watchword.trust.key_rotation.held_keys import HeldKey, trusted_jwks
from watchword.trust.problems import Problem, ProblemReason

REVOKED = {"revoked": [{"keyThumbprint": VICTIM.key.thumbprint}]}
COPIED = held((COPY, 0.0), (VICTIM, 0.0))


def settled(*issuers: tuple[dict[str, Any], tuple[HeldKey, ...], bytes | None]) -> Bundle:
    """The bundle of a service that trusts `atlas` of both issuers; a JWKS of None cannot be read."""
    judged = []
    for document, keys, data in issuers:
        [resource] = parsed(document).resources.issuers
        away: Problem = problem_of(
            resource, "spec.keys.cluster", ProblemReason.KEYS_UNAVAILABLE, "not read", "wait"
        )
        judged.append(judge_issuer(resource, away if data is None else data, keys))
    return bundle_of(judged)


def copy_serves_it() -> tuple[dict[str, Any], tuple[HeldKey, ...], bytes | None]:
    return followed("copy"), COPIED, trusted_jwks(COPIED)


@pytest.mark.parametrize("served", [None, b'{"keys": []}', b"not a JWKS"])
def test_a_revoked_only_key_that_is_out_of_sight_goes_to_no_copy(served: bytes | None) -> None:
    bundle = settled((followed("production", **REVOKED), (), served), copy_serves_it())
    assert decided(bundle, token(VICTIM)) != "tuist/theirs"
    assert decided(bundle, token(COPY)) == "tuist/theirs"


@pytest.mark.parametrize("served", [None, b'{"keys": []}', b"not a JWKS"])
def test_a_held_key_whose_source_cannot_be_read_goes_to_no_copy(served: bytes | None) -> None:
    mine = held((VICTIM, 1000.0))
    later = held((COPY, 0.0), (VICTIM, 9000.0))
    bundle = settled((followed("production"), mine, served), (followed("copy"), later, trusted_jwks(later)))
    assert decided(bundle, token(VICTIM)) == "unknown_key"
    assert decided(bundle, token(COPY)) == "tuist/theirs"


def test_an_approved_key_whose_source_cannot_be_read_goes_to_no_older_copy() -> None:
    approved = followed("production", rotation={"approved": [VICTIM.key.thumbprint]})
    bundle = settled((approved, held((VICTIM, 9e6)), None), copy_serves_it())
    assert decided(bundle, token(VICTIM)) == "unknown_key"


def test_keys_of_another_iss_are_not_kept_by_what_cannot_be_read() -> None:
    other = followed("production", iss="https://other.example", **REVOKED)
    bundle = settled((other, held((VICTIM, 0.0)), None), copy_serves_it())
    assert decided(bundle, token(VICTIM)) == "tuist/theirs"


def test_a_key_that_was_only_pending_keeps_nothing() -> None:
    from watchword.trust.key_rotation.held_keys import held_key

    pending = (held_key(VICTIM.key, "Pending", 0.0),)
    bundle = settled((followed("production"), pending, None), copy_serves_it())
    assert decided(bundle, token(VICTIM)) == "tuist/theirs"


def test_an_issuer_without_a_past_keeps_nothing() -> None:
    bundle = settled((followed("production"), (), None), copy_serves_it())
    assert decided(bundle, token(VICTIM)) == "tuist/theirs"


def test_who_lost_a_key_before_does_not_keep_it_while_it_is_away() -> None:
    other = Signer("first")
    winner = held((VICTIM, 0.0), (other, 0.0))
    bundle = settled(
        (followed("production"), held((VICTIM, 9e6)), None), (followed("copy"), winner, trusted_jwks(winner))
    )
    assert decided(bundle, token(VICTIM)) == "tuist/theirs"
