# SPDX-License-Identifier: Apache-2.0
"""100,000 mutated tokens before three judges: this verifier, PyJWT and joserfc, each configured strictly.

The checks here must never say yes where both others say no; and where another says yes and the checks no, the
reason must be one of those that are stricter on purpose.
"""

from collections import Counter
from datetime import datetime, tzinfo
from typing import Any

import joserfc.jwk
import joserfc.jwt
import jwt
import jwt.api_jwt
import pytest

from testing.attacks.mutations import Mutator
from testing.attacks.world import AUDIENCE, NOW, PINNED, URL, key, policy
from watchword.identity import Identity, verify

SEED = 20261124
TOKENS = 100_000
# A reason that is not here has never been a difference. If it becomes one, somebody has to look.
EXPLAINED = {
    "malformed_token": "loose base64url, or repeated names in the header: one text for one value here",
    "unsupported_header": "crit, jku, jwk, x5c, zip, enc and other typ are ignored or honored by others",
    "malformed_claims": "repeated names, no finite number, or a wrong type in a claim that others skip",
    "lifetime_too_long": "a bound on exp - iat is ours alone",
    "not_a_service_account": "sub is not looked at by others",
    "inconsistent_claims": "the kubernetes.io claims are ours alone",
    "not_bound": "the kubernetes.io claims are ours alone",
    "unknown_workload": "which subjects are trusted is ours alone",
    "suspended": "which subjects are trusted is ours alone",
    "trust_expired": "which subjects are trusted is ours alone",
}


class Moment(datetime):
    """PyJWT's clock, stopped: on a slow run a token would be in time for one judge and not for the next."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> "Moment":
        return cls.fromtimestamp(NOW, tz)


class PyJWT:
    """jwt.decode as its documentation asks for it; the key by kid, as every careful user does."""

    def __init__(self) -> None:
        self.keys = {kid: jwt.PyJWK(key(kid).jwk) for kid in PINNED}

    def accepts(self, token: bytes) -> bool:
        text = token.decode("latin-1")
        pinned = self.keys[jwt.get_unverified_header(text)["kid"]]
        jwt.decode(
            text,
            pinned,
            algorithms=[str(pinned.algorithm_name)],
            audience=AUDIENCE,
            issuer=URL,
            leeway=60,
            options={"require": ["exp", "iat"]},
        )
        return True


class Joserfc:
    """joserfc.jwt with a claims registry."""

    def __init__(self) -> None:
        self.keys: dict[str, Any] = {kid: joserfc.jwk.import_key(key(kid).jwk) for kid in PINNED}
        self.claims = joserfc.jwt.JWTClaimsRegistry(
            now=int(NOW),
            leeway=60,
            iss={"essential": True, "value": URL},
            aud={"essential": True, "value": AUDIENCE},
            exp={"essential": True},
            iat={"essential": True},
        )

    def accepts(self, token: bytes) -> bool:
        kid = jwt.get_unverified_header(token.decode("latin-1"))["kid"]
        found = joserfc.jwt.decode(token, self.keys[kid], algorithms=[key(kid).algorithm])
        self.claims.validate(found.claims)
        return True


def says_yes(judge: PyJWT | Joserfc, token: bytes) -> bool:
    try:
        return judge.accepts(token)
    except Exception:  # noqa: BLE001 - another library's crash on hostile input is its "no"
        return False


def test_no_mutated_token_passes_here_that_two_others_refuse_and_each_difference_is_explained(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(jwt.api_jwt, "datetime", Moment)
    print(f"seed {SEED}")
    mutator, pyjwt, joserfc_judge = Mutator(SEED), PyJWT(), Joserfc()
    outcomes: Counter[str] = Counter()
    differences: Counter[tuple[str, str]] = Counter()
    for number in range(TOKENS):
        token = mutator.next()
        decision = verify(token, policy(), NOW)
        others = [
            name for name, judge in (("pyjwt", pyjwt), ("joserfc", joserfc_judge)) if says_yes(judge, token)
        ]
        if isinstance(decision, Identity):
            outcomes["allowed"] += 1
            assert others, f"token {number} of seed {SEED}: allowed here only: {token!r}"
            continue
        outcomes[decision.reason.code] += 1
        if others:
            differences[decision.reason.code, "+".join(others)] += 1
            assert decision.reason.code in EXPLAINED, (
                f"token {number} of seed {SEED}: {others} say yes, here {decision.reason.code}: {token!r}"
            )
    print(dict(outcomes))
    for (reason, who), count in sorted(differences.items()):
        print(f"{count:6} {reason:24} {who:16} {EXPLAINED[reason]}")
    # The mutations must reach every check, or agreement means nothing.
    assert {reason for reason, _ in differences} >= {
        "malformed_token",
        "unsupported_header",
        "malformed_claims",
    }
    assert outcomes["allowed"] > TOKENS / 50
    assert len(outcomes) > 18
