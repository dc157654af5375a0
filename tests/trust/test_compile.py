# SPDX-License-Identifier: Apache-2.0
"""From resources to bundles: what cannot stand is left out alone, and order never matters."""

import itertools
import json
from typing import Any

import pytest

from testing.manifests import compiled, issuer, parsed, service, workload
from testing.tokens import NOW, Signer, signer, token
from watchword.identity import Identity, Refusal, verify
from watchword.trust import (
    BundleError,
    Compilation,
    ProblemReason,
    compile_resources,
    decode_bundle,
    encode_bundle,
    load,
    pack_bundle,
)

OLD, NEW = "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"


def decide(compilation: Compilation, given: bytes) -> str:
    decision = verify(given, load(compilation.bundles[0]).policy, NOW)
    return decision.reason.code if isinstance(decision, Refusal) else decision.workload


def reasons(compilation: Compilation) -> list[str]:
    return [problem.reason.value for problem in compilation.problems]


def test_a_service_an_issuer_and_a_workload_make_trust() -> None:
    assert decide(compiled(issuer(), service(), workload()), token()) == "tuist/atlas"


def test_a_service_that_trusts_nobody_has_a_bundle_that_refuses_everybody() -> None:
    assert decide(compiled(issuer(), service()), token()) == "unknown_workload"
    assert decide(compiled(service()), token()) == "unknown_key"


LEFT_OUT: list[tuple[str, list[dict[str, Any]]]] = [
    ("ServiceNotFound", [workload("bad", "x", serviceRef={"name": "nobody"})]),
    ("IssuerNotFound", [workload("bad", "x", issuerRef={"name": "nobody"})]),
    ("KeysUnavailable", [issuer("bad", keys={"cluster": {}})]),
    ("KeysUnavailable", [issuer("bad", keys={"configMap": {"namespace": "a", "name": "b"}})]),
    ("NoUsableKey", [issuer("bad", keys={"inline": {"keys": []}})]),
    ("NamespaceNotAllowed", [
        issuer("bad", Signer("bad"), allowedNamespaces={"matchLabels": {"a": "b"}}),
        workload("bad", "x", issuerRef={"name": "bad"}),
    ]),
    ("SubjectConflict", [workload("one", "x", created=OLD), workload("two", "x", created=NEW)]),
]  # fmt: skip


@pytest.mark.parametrize(("reason", "objects"), LEFT_OUT)
def test_one_bad_object_leaves_itself_out_and_the_rest_stands(
    reason: str, objects: list[dict[str, Any]]
) -> None:
    compilation = compiled(issuer(), service(), workload(), *objects)
    assert reasons(compilation) == [reason]
    assert decide(compilation, token()) == "tuist/atlas"


def test_a_bad_key_is_named_and_the_good_one_beside_it_stands() -> None:
    keys = {"inline": {"keys": [signer().jwk, {"kty": "oct", "kid": "evil", "k": "AAAA"}]}}
    compilation = compiled(issuer(keys=keys), service(), workload())
    assert reasons(compilation) == ["BadKey"]
    assert "evil" in compilation.problems[0].detail
    assert decide(compilation, token()) == "tuist/atlas"


def test_an_unfit_key_under_a_good_ones_kid_never_takes_its_place() -> None:
    good = signer().jwk
    keys = {"inline": {"keys": [good, good | {"e": "AQ"}]}}
    compilation = compiled(issuer(keys=keys), service(), workload())
    assert reasons(compilation) == ["BadKey"]
    assert decide(compilation, token()) == "tuist/atlas"


def test_the_age_of_an_issuer_decides_nothing_about_a_key_of_two() -> None:
    objects = [issuer("production", created=OLD), issuer("copy", created=NEW), service(), workload()]
    compilation = compiled(*objects)
    assert [(each.name, each.reason) for each in compilation.problems if each.kind != "TrustedWorkload"] == [
        ("copy", ProblemReason.KEY_CONFLICT), ("production", ProblemReason.KEY_CONFLICT),
    ]  # fmt: skip
    assert decide(compilation, token()) == "unknown_key"


def test_two_issuers_with_other_keys_of_one_kid_both_stand() -> None:
    stranger = Signer("key-1")
    compilation = compiled(issuer(), issuer("copy", stranger), service(), workload())
    assert reasons(compilation) == []
    assert decide(compilation, token()) == "tuist/atlas"
    # Signed by the other cluster, in which nobody is trusted.
    assert decide(compilation, token(stranger)) == "unknown_workload"


def test_of_two_workloads_of_one_age_neither_stands() -> None:
    compilation = compiled(issuer(), service(), workload("a"), workload("b"))
    assert reasons(compilation) == ["SubjectConflict", "SubjectConflict"]
    assert decide(compilation, token()) == "unknown_workload"


def test_namespaces_are_allowed_by_their_labels() -> None:
    label = {"matchLabels": {"kubernetes.io/metadata.name": "tuist"}}
    assert not compiled(issuer(allowedNamespaces=label), service(), workload()).problems
    namespace = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": "tuist", "labels": {"team": "t"}},
    }
    team = {"matchLabels": {"team": "t"}}
    assert not compiled(issuer(allowedNamespaces=team), service(), workload(), namespace).problems


def test_keys_come_from_a_config_map_or_from_who_fetched_them() -> None:
    jwks = json.dumps({"keys": [signer().jwk]})
    place = {"configMap": {"namespace": "a", "name": "b"}}
    config_map = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": "a", "name": "b"},
                  "data": {"jwks.json": jwks}}  # fmt: skip
    assert decide(compiled(issuer(keys=place), service(), workload(), config_map), token()) == "tuist/atlas"
    resources = parsed(issuer(keys={"cluster": {}}), service(), workload()).resources
    fetched = compile_resources(resources, keys={"production": jwks.encode()})
    assert decide(fetched, token()) == "tuist/atlas"


def test_the_same_inputs_in_any_order_give_the_same_bytes() -> None:
    objects = [issuer(), issuer("other", Signer("other")), service(), workload("a", "a"), workload("b", "b")]
    seen = {encode_bundle(compiled(*order).bundles[0]) for order in itertools.permutations(objects)}
    assert len(seen) == 1


def test_the_digest_ignores_the_generation_and_nothing_else() -> None:
    one, two = (compiled(issuer(), service(), workload(), generation=n).bundles[0] for n in (1, 2))
    assert (one.digest, one.generation, two.generation) == (two.digest, 1, 2)
    assert compiled(issuer(), service()).bundles[0].digest != one.digest


def test_a_bundle_reads_back_as_it_was_packed_or_not() -> None:
    bundle = compiled(issuer(), service(), workload()).bundles[0]
    data = encode_bundle(bundle)
    assert decode_bundle(data) == decode_bundle(pack_bundle(data)) == bundle


def test_ten_thousand_workloads_fit_an_object_of_one_mebibyte() -> None:
    many = [workload(f"w-{n}", f"caller-{n}", namespace=f"team-{n % 97}") for n in range(10_000)]
    assert len(pack_bundle(encode_bundle(compiled(issuer(), service(), *many).bundles[0]))) < 512 * 1024


def test_no_part_of_a_bundle_can_be_changed_or_lost() -> None:
    data = encode_bundle(compiled(issuer(), service(), workload()).bundles[0])
    for broken in (
        data[:-1],
        data[: len(data) // 2],
        data.replace(b'"Pod"', b'"Any"'),
        data.replace(b"atlas", b"alias"),
        data.replace(b'"schemaVersion":2', b'"schemaVersion":1'),
        data.replace(b'"routes"', b'"paths"'),
        b"",
        b"{}",
        b"\x1f\x8b broken",
        pack_bundle(data)[:-9],
        pack_bundle(b" " * (17 * 1024 * 1024)),
    ):
        with pytest.raises(BundleError):
            decode_bundle(broken)


def test_expiry_suspension_and_revocation_reach_the_gate() -> None:
    assert decide(compiled(issuer(), service(), workload(suspend=True)), token()) == "suspended"
    assert decide(compiled(issuer(), service(), workload(expires=OLD)), token()) == "trust_expired"
    revoked = issuer(revoked=[{"podUid": "p-1"}])
    assert decide(compiled(revoked, service(), workload()), token()) == "revoked"


def test_the_policy_opens_the_gate_to_peers_and_the_app_to_nobody() -> None:
    peer = {"ipBlock": {"cidr": "10.20.0.0/16"}}
    (policy,) = compiled(issuer(), service(), workload(**{"from": [peer]})).network_policies
    gate, rest = policy["spec"]["ingress"]
    assert gate == {"from": [peer], "ports": [{"protocol": "TCP", "port": 8443}]}
    tcp = [port for port in rest["ports"] if port["protocol"] == "TCP"]
    assert tcp == [
        {"protocol": "TCP", "port": 1, "endPort": 8079},
        {"protocol": "TCP", "port": 8081, "endPort": 8442},
        {"protocol": "TCP", "port": 8444, "endPort": 65535},
    ]


def test_the_modes_of_the_policy_are_kept_apart() -> None:
    preview = compiled(service(networkPolicy={"mode": "Preview"}))
    assert (len(preview.network_policies), len(preview.previews)) == (0, 1)
    off = compiled(service(networkPolicy={"mode": "Off"}))
    assert (len(off.network_policies), len(off.previews)) == (0, 0)


def test_an_identity_carries_its_grants() -> None:
    decision = verify(token(), load(compiled(issuer(), service(), workload()).bundles[0]).policy, NOW)
    assert isinstance(decision, Identity)
    assert decision.grants[0].accounts == ("*",)
