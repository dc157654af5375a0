# SPDX-License-Identifier: Apache-2.0
"""One odd key never voids what stands beside it, and the order of a list never decides who somebody is."""

import itertools
import json
from typing import Any

import pytest

from testing.manifests import compiled, issuer, parsed, service, workload
from testing.tokens import Signer, signer
from watchword.trust import compile_resources, decode_bundle, encode_bundle, load

SECRET = {"kty": "oct", "kid": signer().jwk["kid"], "k": "AAAA"}


def pinned(*objects: dict[str, Any]) -> list[str]:
    (bundle,) = compiled(*objects, service()).bundles
    keys = load(decode_bundle(encode_bundle(bundle))).policy.keys
    return sorted(kid for kid, pinned in keys.items() for each in pinned if not each.is_revoked)


def test_one_key_under_two_names_of_one_issuer_is_no_rivalry() -> None:
    jwk = signer().jwk
    keys = {"inline": {"keys": [jwk, jwk | {"kid": "alias"}]}}
    assert pinned(issuer(keys=keys)) == sorted([jwk["kid"], "alias"])


@pytest.mark.parametrize("order", [1, -1])
def test_a_bad_key_under_the_kid_of_a_good_one_leaves_the_good_one(order: int) -> None:
    keys = {"inline": {"keys": [signer().jwk, SECRET][::order]}}
    assert pinned(issuer(keys=keys)) == [signer().jwk["kid"]]


def test_members_that_belong_to_another_type_of_key_are_not_taken_along() -> None:
    jwk = signer().jwk | {"extra": 2**200, ("x" if signer().jwk["kty"] == "RSA" else "n"): 2**200}
    assert pinned(issuer(keys={"inline": {"keys": [jwk]}})) == [jwk["kid"]]


def test_a_bad_key_is_named_by_where_it_stands() -> None:
    (problem,) = compiled(issuer(keys={"inline": {"keys": [signer().jwk, SECRET]}})).problems
    assert problem.field == "spec.keys.inline.keys[1].k"
    resources = parsed(issuer(keys={"cluster": {}})).resources
    data = json.dumps({"keys": [signer().jwk, SECRET]}).encode()
    (problem,) = compile_resources(resources, keys={"production": data}).problems
    assert problem.field == "spec.keys.cluster"
    assert problem.detail.startswith("keys[1].k: ")


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"{}", b'{"keys": 1}', b'{"keys": [1, null]}', b"\xff", b"[" * 9999]
)
def test_what_was_fetched_and_is_no_set_of_keys_leaves_the_issuer_out(data: bytes) -> None:
    compilation = compile_resources(parsed(issuer(keys={"cluster": {}})).resources, keys={"production": data})
    assert {problem.reason.value for problem in compilation.problems} == {"BadKey", "NoUsableKey"}


def test_problems_too_are_the_same_in_any_order_of_the_inputs() -> None:
    shared = Signer("key-x")
    claimants = [
        workload("a"),
        workload("b"),
        workload("c"),
        issuer("x", shared),
        issuer("y", shared),
    ]
    seen = {
        tuple(str(problem).partition(": ")[2] for problem in compiled(issuer(), service(), *order).problems)
        for order in itertools.permutations(claimants)
    }
    assert len(seen) == 1
    assert len(seen.pop()) == 5


def test_a_revoked_key_is_left_out_whatever_its_source() -> None:
    good, leaked = signer(), Signer("leaked")
    revoked = [{"keyThumbprint": leaked.key.thumbprint}]
    assert pinned(issuer("production", good, leaked, revoked=revoked)) == [good.kid]
    resources = parsed(issuer(keys={"cluster": {}}, revoked=revoked)).resources
    data = json.dumps({"keys": [good.jwk, leaked.jwk]}).encode()
    (judged,) = compile_resources(resources, keys={"production": data}).problems or [None]
    assert judged is None
    (problem,) = compiled(issuer("production", leaked, revoked=revoked)).problems
    assert problem.reason.value == "NoUsableKey"
