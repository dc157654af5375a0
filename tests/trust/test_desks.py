# SPDX-License-Identifier: Apache-2.0
"""Which desks count, for which services, and what bundles of each form say of them."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from testing.desk import (
    DESK,
    DESK_NAMESPACE,
    DESK_URL,
    RULES,
    SERVICE_AUDIENCE,
    desk,
    desk_service,
    desk_signer,
    desk_token,
    desk_world,
)
from testing.manifests import issuer, parsed, service, workload
from testing.tokens import NOW, Signer, signer, token
from watchword.identity import Identity, Key, Reason, Refusal, load_key, verify
from watchword.trust import (
    Bundle,
    BundleError,
    authorize,
    compile_resources,
    decode_bundle,
    encode_bundle,
    load,
    seal,
)
from watchword.trust.api.v1alpha1 import TokenDesk
from watchword.trust.audience import AudienceRules
from watchword.trust.bundle_forms import entries_of
from watchword.trust.desks import DeskKeys, ready_desks, with_desks
from watchword.trust.issuers import judge_issuer, settle_issuers
from watchword.trust.key_rotation.held_keys import held_key
from watchword.trust.partial_bundle import Standing, standing_bundle, with_present_desk
from watchword.trust.service import compile_service
from watchword.trust.version_skew import narrowed

KEYS = {(DESK_NAMESPACE, DESK): DeskKeys((desk_signer().jwk,))}


def judged(*objects: dict[str, Any], namespace: str | None = DESK_NAMESPACE) -> dict[str, str]:
    """The reason why each desk does not count; empty: it does."""
    desks = parsed(*objects).resources.desks
    found = ready_desks(desks, {}, RULES, namespace=namespace)
    named = {f"{each.metadata.namespace}/{each.metadata.name}": "" for each in desks}
    return named | {"/".join(name): str(problem.reason) for name, problem in found.problems.items()}


def compiled(*objects: dict[str, Any], rules: AudienceRules = RULES) -> tuple[Bundle, set[str]]:
    made = compile_resources(parsed(*objects).resources, audiences=rules, desk_keys=KEYS)
    return made.bundles[0], {str(each.reason) for each in made.problems}


def test_desks_count_in_one_namespace_only() -> None:
    assert judged(desk(), desk("other", "tenant", issuer="https://b.example")) == {
        "watchword-desk/desk": "",
        "tenant/other": "WrongNamespace",
    }
    assert judged(desk(namespace="anywhere"), namespace=None) == {"anywhere/desk": ""}


def test_two_desks_of_one_url_or_one_name_are_none_where_nothing_says_who_was_first() -> None:
    assert set(judged(desk(), desk("second")).values()) == {"IssuerTaken"}
    one, two = desk(), desk(namespace="b", issuer="https://b.example")
    assert set(judged(one, two, namespace=None).values()) == {"IssuerTaken"}


def test_the_older_of_two_desks_keeps_its_url() -> None:
    old, new = desk(), desk("second")
    old["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z"
    new["metadata"]["creationTimestamp"] = "2026-01-02T00:00:00Z"
    assert judged(old, new) == {"watchword-desk/desk": "", "watchword-desk/second": "IssuerTaken"}


@pytest.mark.parametrize(
    "url", ["https://kubernetes.default.svc", "https://kubernetes.default.svc.cluster.local"]
)
def test_an_issuers_url_is_no_desks(url: str) -> None:
    bundle, reasons = compiled(issuer(issuer=url), desk_service(), desk(issuer=url), workload())
    assert bundle.desk is msgspec.UNSET
    assert reasons == {"IssuerTaken", "DeskNotFound"}


def test_it_takes_the_service_and_the_desk() -> None:
    assert compiled(issuer(), desk_service(), desk(), workload())[0].desk is not msgspec.UNSET
    for allowed in (None, {"matchLabels": {"kubernetes.io/metadata.name": "other"}}):
        bundle, reasons = compiled(issuer(), desk_service(), desk(allowedNamespaces=allowed), workload())
        assert (bundle.desk, reasons) == (msgspec.UNSET, {"DeskNotAllowed"})
    bundle, reasons = compiled(issuer(), service(), desk(), workload())
    assert (bundle.desk, reasons) == (msgspec.UNSET, set())


def test_without_a_cluster_no_desks_tokens_are_accepted() -> None:
    bundle, reasons = compiled(issuer(), desk_service(), desk(), workload(), rules=AudienceRules())
    assert (bundle.desk, reasons) == (msgspec.UNSET, {"DeskWithoutAudience"})


def test_no_service_takes_tokens_that_are_made_for_the_desk() -> None:
    bundle, reasons = compiled(issuer(), desk_service(audiences=["api", DESK_URL]), desk(), workload())
    assert DESK_URL not in bundle.audiences
    assert reasons == {"AudienceReserved"}


def test_a_bundle_without_a_desk_is_the_very_bytes_of_before() -> None:
    bundle, _ = compiled(
        issuer(), service(routes=[{"path": "/a", "methods": ["GET"], "scope": "a:b"}]), workload()
    )
    written = json.loads(encode_bundle(bundle))
    assert "desk" not in written
    assert written["requires"] == []
    assert written["routes"] == [{"path": "/a", "methods": ["GET"], "scope": "a:b"}]


def test_the_whole_form_holds_the_desk_and_what_its_reader_must_know() -> None:
    bundle = desk_world().bundles[0]
    read = decode_bundle(encode_bundle(bundle))
    assert read == bundle
    assert read.requires == ("route-purposes",)
    assert read.desk is not msgspec.UNSET
    assert (read.desk.issuer, read.desk.audience) == (DESK_URL, SERVICE_AUDIENCE)
    assert read.desk.purposes == {"atlas": ("cache-read",)}


def test_gates_of_the_last_release_never_let_anyone_in_by_a_route_for_a_purpose() -> None:
    # Behind it a wider one, which such requests would reach if the first were left out.
    routes = [
        {"path": "/a/cache", "methods": ["GET"], "scope": "a:b", "purpose": "cache-read"},
        {"path": "/a/{name}", "methods": ["GET"], "scope": "a:b"},
    ]
    grants = [{"scopes": ["a:b", "watchword:purpose-only"]}]
    bundle = desk_world(desk_service(routes=routes), grants=grants).bundles[0]
    old = decode_bundle(entries_of(bundle)["bundle.json"])
    assert old.schema_version == 1
    assert old.desk is msgspec.UNSET
    ruleset = load(old)
    caller = verify(token(), ruleset.policy, NOW)
    assert isinstance(caller, Identity)
    for path, is_let_in in ((b"/a/cache", False), (b"/a/other", True)):
        match = ruleset.routes.match("GET", path)
        assert not isinstance(match, Refusal)
        allowed = not isinstance(authorize(caller, match.scope, match.account, match.project), Refusal)
        assert allowed is is_let_in
    refused = verify(desk_token(), ruleset.policy, NOW)
    assert isinstance(refused, Refusal)
    assert refused.reason is Reason.UNSUPPORTED_HEADER


@pytest.mark.parametrize(
    ("keys", "field"),
    [
        (DeskKeys((desk_signer().jwk | {"kid": "first"},)), "desk.keys[0].kid"),
        (DeskKeys((Signer("wd-rsa").jwk,)), "desk.keys[0]"),
        (DeskKeys((desk_signer().jwk, desk_signer().jwk)), "desk.keys[1].kid"),
        (DeskKeys((desk_signer().jwk,), (desk_signer().jwk,)), "desk.revokedKeys[0].kid"),
        (DeskKeys((desk_signer().jwk | {"x": "AA"},)), "desk.keys[0]"),
    ],
)
def test_a_bundle_made_by_hand_with_an_unfit_desk_is_refused(keys: DeskKeys, field: str) -> None:
    with pytest.raises(BundleError) as refused:
        load(desk_world(keys=keys).bundles[0])
    assert refused.value.field.startswith(field)


def test_a_kid_of_an_issuer_that_is_the_desks_too_is_refused() -> None:
    bundle = desk_world().bundles[0]
    stolen = signer().jwk | {"kid": desk_signer().kid}
    issuers = tuple(msgspec.structs.replace(each, keys=(*each.keys, stolen)) for each in bundle.issuers)
    with pytest.raises(BundleError, match="another key has it"):
        load(msgspec.structs.replace(bundle, issuers=issuers))


@pytest.mark.parametrize("source", ["served", "in its status"])
def test_revoking_an_issuers_key_that_has_a_desk_keys_id_voids_no_bundle(source: str) -> None:
    copied = Signer("copied")
    jwk = copied.jwk | {"kid": desk_signer().kid}
    keys = [signer().jwk, jwk] if source == "served" else [signer().jwk]
    revoked = [{"keyThumbprint": copied.key.thumbprint}]
    resources = parsed(
        issuer(keys={"inline": {"keys": keys}}, revoked=revoked), desk_service(), desk(), workload()
    ).resources
    key = load_key(jwk)
    assert isinstance(key, Key)
    judged = judge_issuer(resources.issuers[0], b"", [held_key(key, "Active", NOW)])
    assert judged.ready is not None
    assert [each["kid"] for each in judged.ready.entry.revoked_keys] == []
    desks = ready_desks(resources.desks, KEYS, RULES)
    bundle = compile_service(
        resources.services[0],
        resources.workloads,
        settle_issuers([judged]),
        labels={"kubernetes.io/metadata.name": "tuist"},
        audiences=with_desks(RULES, desks),
        desks=desks,
    ).bundle
    assert bundle.desk is not msgspec.UNSET
    assert isinstance(verify(desk_token(), load(bundle).policy, NOW), Identity)


def test_a_bundle_that_stands_has_the_desks_keys_of_now() -> None:
    published = seal(desk_world().bundles[0], 7)
    rotated = desk_world(keys=DeskKeys((desk_signer("second").jwk,), (desk_signer().jwk,))).bundles[0]
    found = with_present_desk(published, rotated, published, Standing({}, {}, {}))
    assert found.desk is not msgspec.UNSET
    assert [each["kid"] for each in found.desk.keys] == [desk_signer("second").kid]
    assert found.desk.revoked_keys == (desk_signer().jwk,)
    # A desk that does not count any more, or another one, leaves none.
    without, _ = compiled(issuer(), desk_service(), workload())
    other = desk_world(desk(issuer="https://other.example")).bundles[0]
    for now in (without, other):
        assert with_present_desk(published, now, published, Standing({}, {}, {})).desk is msgspec.UNSET


def with_purposes(purposes: list[str] | None) -> Bundle:
    bundle, _ = compiled(issuer(), desk_service(), desk(), workload_of(purposes))
    return bundle


def workload_of(purposes: list[str] | None) -> dict[str, Any]:
    return workload() if purposes is None else workload(purposes=purposes)


@pytest.mark.parametrize("is_service_unread", [False, True], ids=["service is read", "service is unread"])
@pytest.mark.parametrize("is_workload_unread", [False, True], ids=["workload is read", "workload is unread"])
@pytest.mark.parametrize("published", [["a", "b"], ["a"]])
@pytest.mark.parametrize("now", [["a", "b"], ["b"], None])
def test_purposes_stand_as_far_as_their_workload_still_names_them(
    published: list[str], now: list[str] | None, *, is_service_unread: bool, is_workload_unread: bool
) -> None:
    before = with_purposes(published)
    by_name = {each.metadata.name: each for each in parsed(workload_of(now)).resources.workloads}
    if is_workload_unread:
        understood, _ = compiled(issuer(), desk_service(), desk())
        standing = Standing({}, by_name, {})
    else:
        understood = with_purposes(now)
        standing = Standing(by_name, {}, {})
    stands = standing_bundle(before, understood, standing, as_published=is_service_unread)
    result = with_present_desk(stands, understood, before, standing).desk
    assert result is not msgspec.UNSET
    wanted = set(now or ()) & set(published) if is_workload_unread else set(now or ())
    assert result.purposes == ({"atlas": tuple(sorted(wanted))} if wanted else {})


@pytest.mark.parametrize("is_service_unread", [False, True])
def test_purposes_of_a_workload_that_is_gone_are_gone(*, is_service_unread: bool) -> None:
    before, nothing = with_purposes(["a"]), Standing({}, {}, {})
    understood, _ = compiled(issuer(), desk_service(), desk())
    stands = standing_bundle(before, understood, nothing, as_published=is_service_unread)
    result = with_present_desk(stands, understood, before, nothing).desk
    assert result is not msgspec.UNSET
    assert result.purposes == {}


@pytest.mark.parametrize(("is_service_unread", "left"), [(False, ("cache", "new")), (True, ("cache",))])
def test_no_resource_server_joins_a_service_that_is_not_understood(
    left: tuple[str, ...], *, is_service_unread: bool
) -> None:
    before, _ = compiled(issuer(), desk_service(resourceServers=["cache", "gone"]), desk())
    understood, _ = compiled(issuer(), desk_service(resourceServers=["cache", "new"]), desk())
    stands = standing_bundle(before, understood, Standing({}, {}, {}), as_published=is_service_unread)
    result = with_present_desk(stands, understood, before, Standing({}, {}, {})).desk
    assert result is not msgspec.UNSET
    assert result.resource_servers == left


def test_purposes_that_another_desk_had_do_not_pass_to_the_present_one() -> None:
    before = desk_world(desk(issuer="https://other.example"), purposes=["a"]).bundles[0]
    [unread] = parsed(workload(purposes=["a"])).resources.workloads
    standing = Standing({}, {"atlas": unread}, {})
    understood, _ = compiled(issuer(), desk_service(), desk())
    stands = standing_bundle(before, understood, standing, as_published=False)
    result = with_present_desk(stands, understood, before, standing).desk
    assert result is not msgspec.UNSET
    assert result.purposes == {}


def test_a_desk_of_a_newer_release_still_takes_keys_back() -> None:
    def read(revoked: list[str]) -> TokenDesk:
        return parsed(desk(signing={"revoked": revoked})).resources.desks[0]

    found = narrowed(read(["A" * 43]), read(["B" * 43]))
    assert found.spec.signing.revoked == ("A" * 43, "B" * 43)


def test_a_name_in_an_answer_about_a_token_is_quoted_as_it_is() -> None:
    bundle = desk_world(grants=[{"scopes": ["account:usage:read"], "accounts": ["*"]}]).bundles[0]
    identity = verify(desk_token(), load(bundle).policy, NOW)
    assert isinstance(identity, Identity)
    refused = authorize(identity, "account:usage:read", account="is not granted")
    assert isinstance(refused, Refusal)
    assert (refused.reason, refused.detail.count("'is not granted'")) == (Reason.NOT_IN_TOKEN, 1)
