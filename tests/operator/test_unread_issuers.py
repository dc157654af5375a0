# SPDX-License-Identifier: Apache-2.0
"""An issuer that this release does not understand keeps its keys from other issuers that serve them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from testing.manifests import issuer
from testing.tokens import Signer
from tests.operator.objects import remove, take
from watchword.operator.cache import Cache
from watchword.operator.controllers.issuer import IssuerController
from watchword.trust.conditions import ConditionValue, Verdict
from watchword.trust.key_rotation.held_keys import HeldKey, held_key, held_to_status

MINE, THEIRS = Signer("mine"), Signer("theirs")


class Served:
    """What is known of the keys of the other issuer, which serves both."""

    held: tuple[HeldKey, ...] = (held_key(THEIRS.key, "Active", 0.0), held_key(MINE.key, "Active", 9000.0))
    jwks: bytes | None = json.dumps({"keys": [THEIRS.jwk, MINE.jwk]}).encode()
    fetched_at: float | None = 0.0

    @property
    def fresh(self) -> ConditionValue:
        return Verdict.PUBLISHED.with_message()

    settled = fresh


class Keys:
    """Fetches nothing, and knows one issuer's keys."""

    def set_issuer(self, issuer: Any, held: Any) -> None: ...
    def drop_issuer(self, name: str) -> None: ...
    def keys_of(self, name: str) -> Any:
        return Served()

    def take_changes(self, name: str) -> tuple[()]:
        return ()


def kept_of(board: IssuerController) -> list[str]:
    return [key.kid for key in board.issuers.ready["copy"].keys]


@pytest.mark.parametrize("keys", [{"cluster": {}}, {"inline": {"keys": [MINE.jwk]}}], ids=["held", "inline"])
def test_the_keys_of_an_issuer_that_is_not_understood_go_to_no_copy(keys: dict[str, Any]) -> None:
    store = Cache()
    board = IssuerController(store, Keys())
    held = held_to_status([held_key(MINE.key, "Active", 0.0)])
    newer = issuer("production", keys=keys, aFieldOfALaterRelease=True)
    take(store, newer, status={"keys": held} if "cluster" in keys else None)
    take(store, issuer("copy", keys={"discovery": {"jwksURL": "https://keys.example/jwks"}}))
    board.judge(["production", "copy"])
    assert "production" not in board.issuers.known
    assert kept_of(board) == ["theirs"]
    # Once it is deleted, nothing is kept for it.
    remove(store, newer)
    board.judge(["production"])
    assert kept_of(board) == ["mine", "theirs"]


def test_nothing_is_known_of_an_issuers_successor_before_it_was_judged() -> None:
    """Else its status would name the keys of the one before, and it would be followed from there."""
    store = Cache()
    board = IssuerController(store, Keys())
    first = issuer("production", keys={"cluster": {}})
    take(store, first, uid="first")
    board.judge(["production"])
    assert board.keys_of("production", "first") is not None
    remove(store, first, uid="first")
    take(store, first, uid="second")
    assert board.keys_of("production", "second") is None
    board.judge(["production"])
    assert board.keys_of("production", "second") is not None
