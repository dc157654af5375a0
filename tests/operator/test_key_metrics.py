# SPDX-License-Identifier: Apache-2.0
"""How old keys are said to be: by the last good answer, and before the first one by what the status says."""

from __future__ import annotations

import json
from typing import Any

import pytest

from testing.manifests import issuer
from testing.tokens import signer
from tests.operator.objects import take
from watchword.operator.cache import Cache
from watchword.operator.keys.sync import KeySync
from watchword.operator.metrics import KeyFigures
from watchword.trust.key_rotation.held_keys import HeldKey, KeyState, held_key

NOW = 1_800_000_000.0
AN_HOUR_AGO = "2027-01-15T07:00:00Z"
KEY = signer()
CONFIG_MAP = {"configMap": {"namespace": "tuist", "name": "keys", "key": "jwks.json"}}
DISCOVERY = {"discovery": {"jwksURL": "https://keys.example/jwks"}}


class Figures:
    """The figures of one issuer `production` that was followed from NOW on, as seen later."""

    def __init__(self, keys: dict[str, Any], *, held: tuple[HeldKey, ...] = (), status: Any = None) -> None:
        self.now = NOW

        async def never(*_: Any) -> bytes:
            raise AssertionError("nobody asks here")

        self.sync = KeySync(
            on_change=lambda _: None, read_secret=never, fetch_own_cluster=never, now=lambda: self.now
        )
        store = Cache()
        take(store, issuer(keys=keys), status=status)
        resource = store.issuer("production")
        assert resource is not None
        self.sync.set_issuer(resource, held)
        self._figures = KeyFigures(store, self.sync)

    def age(self, seconds_later: float) -> float | None:
        self.now = NOW + seconds_later
        return self._figures.ages().get("production")

    def pending(self) -> float:
        return self._figures.pending()["production"]


def fresh(status: str) -> dict[str, Any]:
    condition = {
        "type": "KeysFresh",
        "status": status,
        "reason": "Any",
        "message": "",
        "lastTransitionTime": AN_HOUR_AGO,
    }
    return {"conditions": [condition]}


@pytest.mark.parametrize(
    ("status", "age"),
    [(None, 60), (fresh("True"), 60), (fresh("False"), 3660), (fresh("Unknown"), 3660)],
    ids=["never judged", "fresh", "stale", "unknown"],
)
def test_before_the_first_answer_the_status_says_since_when(status: Any, age: float) -> None:
    assert Figures(DISCOVERY, status=status).age(60) == age


def test_keys_in_the_object_itself_have_no_age() -> None:
    assert Figures({"inline": {"keys": [KEY.jwk]}}).age(60) is None


def test_a_config_map_that_was_read_does_not_age_and_one_that_is_gone_does() -> None:
    figures = Figures(CONFIG_MAP)
    jwks = json.dumps({"keys": [KEY.jwk]})
    figures.now = NOW + 10
    figures.sync.set_config_map("tuist", "keys", {"jwks.json": jwks})
    assert figures.age(86_400) == 0
    figures.sync.set_config_map("tuist", "keys", None)
    assert figures.age(86_410) == 86_400


@pytest.mark.parametrize(("state", "count"), [("Pending", 1), ("Active", 0), ("Retiring", 0)])
def test_keys_that_wait_are_counted(state: KeyState, count: float) -> None:
    assert Figures(DISCOVERY, held=(held_key(KEY.key, state, NOW),)).pending() == count
