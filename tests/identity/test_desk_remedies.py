# SPDX-License-Identifier: Apache-2.0
"""What a refusal of a desk token says to do is about the desk: no kubelet renews it, and no file holds it."""

from __future__ import annotations

from typing import Any

import pytest

from testing.attacks.case import Case, ids
from testing.attacks.tokens_desk import DESK_TOKENS
from testing.desk import desk_signer, desk_token, desk_world, from_origin
from testing.manifests import issuer
from testing.tokens import NOW
from watchword.identity import Policy, Reason, Refusal, verify
from watchword.identity.compact import parse_compact
from watchword.trust import load

# True of a ServiceAccount token alone.
OF_CLUSTERS = (
    "kubelet",
    "token's file",
    "issuing cluster's API server",
    "TokenRequest",
    "expirationSeconds",
    "Kubernetes API server",
)


def policy_of(*objects: dict[str, Any], **of_workload: Any) -> Policy:
    return load(desk_world(*objects, **of_workload).bundles[0]).policy


POLICY = policy_of()


def is_of_the_desk(data: bytes) -> bool:
    token = parse_compact(data)
    return (
        not isinstance(token, Refusal)
        and token.header.get("typ") == "at+jwt"
        and token.header.get("kid") in {desk_signer().kid, desk_signer("revoked").kid}
    )


OF_THE_DESK = [case for case in DESK_TOKENS if is_of_the_desk(case.build())]


@pytest.mark.parametrize("case", OF_THE_DESK, ids=ids(OF_THE_DESK))
def test_no_remedy_of_a_clusters_token_is_given_for_a_desks(case: Case[bytes]) -> None:
    refusal = verify(case.build(), POLICY, NOW)
    assert isinstance(refusal, Refusal)
    assert not [words for words in OF_CLUSTERS if words in refusal.remedy]


at = int(NOW)


@pytest.mark.parametrize(
    ("data", "policy", "reason", "words"),
    [
        (
            desk_token(iat=at - 900, exp=at - 600),
            POLICY,
            Reason.EXPIRED,
            "Exchange the pod's own token at the desk again",
        ),
        (desk_token(iat=at + 600, exp=at + 900), POLICY, Reason.ISSUED_IN_FUTURE, "that the desk runs on"),
        (
            desk_token(iat=at - 60, exp=at + 9000),
            POLICY,
            Reason.LIFETIME_TOO_LONG,
            "spec.tokens of the TokenDesk watchword-desk/desk",
        ),
        (desk_token()[:-8] + b"AAAAAAAA", POLICY, Reason.BAD_SIGNATURE, "as the desk issued it"),
        (desk_token(scope="x:y"), POLICY, Reason.MALFORMED_CLAIMS, "at the desk again"),
        (
            desk_token(**from_origin(pod="", pod_uid="")),
            POLICY,
            Reason.NOT_BOUND,
            "Exchange the projected token of a pod at the desk.",
        ),
        (
            desk_token(),
            policy_of(issuer(revoked=[{"podUid": "p-1"}])),
            Reason.REVOKED,
            "Afterwards, exchange the pod's own token at the desk again.",
        ),
        (
            desk_token(**from_origin(token_id="stolen")),
            policy_of(issuer(revoked=[{"tokenId": "stolen"}])),
            Reason.REVOKED,
            "Afterwards, exchange the pod's own token at the desk again.",
        ),
    ],
    ids=lambda value: value.code if isinstance(value, Reason) else "",
)
def test_a_remedy_leads_to_the_desk(data: bytes, policy: Policy, reason: Reason, words: str) -> None:
    refusal = verify(data, policy, NOW)
    assert isinstance(refusal, Refusal)
    assert refusal.reason is reason
    assert words in refusal.remedy
