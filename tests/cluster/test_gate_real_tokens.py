# SPDX-License-Identifier: Apache-2.0
"""Tokens of a real API server at the real gate: the good ones pass, and each bad one gets its own reason.

What the gate cannot know: a token is a signed statement about the moment it was signed. When its pod or its
ServiceAccount is deleted, the API server's TokenReview says no from then on, and the gate, which asks nobody,
says yes until `exp` (plus the clock skew), unless the pod's or the account's UID is revoked in the
ClusterTrustedIssuer. That limit is held here as it is, so that nobody believes otherwise.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from testing.controlplane import (
    DEFAULT_ISSUER,
    Algorithm,
    Binaries,
    Cluster,
    Etcd,
    start_cluster,
    token_parts,
    wait_until,
)
from testing.gate_process import AUDIENCE, USAGE_PATH, Answer, Gate, issuer, running_gate, service, workload
from testing.gate_process import write_bundle as write
from watchword.trust import decode_bundle, encode_bundle, seal

NewNamespace = Callable[..., str]
NAMESPACE = "callers"
HERE, THERE = "here", "there"
LONG_AGO = "2020-01-01T00:00:00Z"


@dataclass(frozen=True, slots=True)
class World:
    """Two clusters with one `iss` and the same names in both, and a gate that pins one of them or both."""

    here: Cluster
    there: Cluster
    gate_of_one: Gate
    gate_of_both: Gate

    def token(self, account: str = "atlas", **request: Any) -> str:
        """A token of `here`, bound to the account's pod unless said otherwise."""
        return minted(self.here, account, **request)

    def signed(self, header: Mapping[str, Any] | None = None, /, **claims: Any) -> str:
        """A real token's claims with changes (None removes one), signed by the cluster's own key."""
        changed = {**token_parts(self.token())[1], **claims}
        kept = {name: value for name, value in changed.items() if value is not None}
        return self.here.sign(self.here.token_header if header is None else header, kept)


def minted(cluster: Cluster, account: str = "atlas", **request: Any) -> str:
    """A TokenRequest's token in the namespace of this file, for `AUDIENCE` and the account's pod."""
    asked = {"audiences": [AUDIENCE], "pod": f"{account}-0", **request}
    return cluster.token(NAMESPACE, account, **asked)


def populate(cluster: Cluster, *accounts: str) -> None:
    """ServiceAccounts with a pod each, in the namespace of this file."""
    cluster.create_namespace(NAMESPACE)
    for account in accounts:
        cluster.create_service_account(NAMESPACE, account)
        cluster.create_pod(NAMESPACE, f"{account}-0", account)


def decided(gate: Gate, token: str, path: str = "/authz") -> Answer:
    """The gate's answer, cold and then from its cache: both must say the same."""
    cold, cached = gate.ask(token, path), gate.ask(token, path)
    assert (cold.status, cold.reason) == (cached.status, cached.reason)
    return cold


@pytest.fixture(scope="module")
def world(
    cluster: Cluster, other_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    """Both clusters hold the same names; only some are trusted, and each for one cluster alone."""
    for each in (cluster, other_cluster):
        populate(each, "atlas", "stranger", "suspended", "lapsed", "only-there")
    folder = tmp_path_factory.mktemp("gates")
    trusted = [
        workload("atlas", HERE, (NAMESPACE, "atlas")),
        workload("suspended", HERE, (NAMESPACE, "suspended"), suspend=True),
        workload("lapsed", HERE, (NAMESPACE, "lapsed"), expires=LONG_AGO),
    ]
    one = write(folder / "one.json", issuer(HERE, cluster.jwks()), service(), *trusted)
    both = write(
        folder / "both.json",
        issuer(HERE, cluster.jwks()),
        issuer(THERE, other_cluster.jwks()),
        service(),
        *trusted,
        workload("only-there", THERE, (NAMESPACE, "only-there")),
    )
    with running_gate(one) as gate_of_one, running_gate(both) as gate_of_both:
        yield World(cluster, other_cluster, gate_of_one, gate_of_both)


def test_a_pods_projected_token_passes_with_its_identity(world: World) -> None:
    answer = decided(world.gate_of_one, world.token())

    assert (answer.status, answer.reason) == (200, "")
    assert answer.headers["X-Watchword-Subject"] == f"system:serviceaccount:{NAMESPACE}:atlas"
    assert answer.headers["X-Watchword-Issuer"] == HERE
    assert answer.headers["X-Watchword-Workload"] == "tuist/atlas"


def test_an_hour_is_the_longest_life_by_default_and_passes(world: World) -> None:
    assert decided(world.gate_of_one, world.token(expiration_seconds=3600)).status == 200


def test_a_token_for_this_service_and_another_passes(world: World) -> None:
    assert decided(world.gate_of_one, world.token(audiences=["another", AUDIENCE])).status == 200


def _in_secret(world: World) -> str:
    name = f"secret-{time.monotonic_ns()}"
    world.here.create_secret(NAMESPACE, name)
    return world.token(pod=None, secret=name)


def _on_node(world: World) -> str:
    name = f"node-{time.monotonic_ns()}"
    world.here.create_node(name)
    return world.token(pod=None, node=name)


def _spliced(world: World) -> str:
    return world.token().rpartition(".")[0] + "." + world.token().rpartition(".")[2]


def _shifted(world: World, seconds: int, *names: str) -> str:
    claims = token_parts(world.token())[1]
    return world.signed(**{name: claims[name] + seconds for name in names})


def _without_key_id(world: World) -> str:
    return world.signed({"alg": world.here.algorithm})


ALL_TIMES = ("iat", "nbf", "exp")
REFUSED: dict[str, tuple[str, Callable[[World], str]]] = {
    "of a cluster that is not pinned": ("401 unknown_key", lambda world: minted(world.there)),
    "for another service": ("401 wrong_audience", lambda world: world.token(audiences=["another"])),
    "for the API server": ("401 wrong_audience", lambda world: world.token(audiences=[])),
    "for the API server, of a year": (
        "401 wrong_audience",
        lambda world: world.token(audiences=[], expiration_seconds=3607),
    ),
    "past its end": ("401 expired", lambda world: _shifted(world, -3600, *ALL_TIMES)),
    "issued in the future": ("401 issued_in_future", lambda world: _shifted(world, 120, *ALL_TIMES)),
    "not valid yet": ("401 not_yet_valid", lambda world: _shifted(world, 120, "nbf")),
    "of two hours": ("401 lifetime_too_long", lambda world: world.token(expiration_seconds=7200)),
    "without an end": ("401 missing_time", lambda world: world.signed(exp=None)),
    "without a beginning": ("401 missing_time", lambda world: world.signed(iat=None)),
    "bound to nothing": ("401 not_bound", lambda world: world.token(pod=None)),
    "bound to a secret": ("401 not_bound", _in_secret),
    "bound to a node": ("401 not_bound", _on_node),
    "of another issuer by the same key": (
        "401 wrong_issuer",
        lambda world: world.signed(iss="https://other"),
    ),
    "with the issuer's URL and a slash": (
        "401 wrong_issuer",
        lambda world: world.signed(iss=f"{DEFAULT_ISSUER}/"),
    ),
    "with the signature of another token": ("401 bad_signature", _spliced),
    "without a key's name": ("401 missing_key_id", _without_key_id),
    "that names an algorithm of another key type": (
        "401 unsupported_algorithm",
        lambda world: world.signed({**world.here.token_header, "alg": "ES256"}),
    ),
    "that brings a key of its own": (
        "401 unsupported_header",
        lambda world: world.signed({**world.here.token_header, "jwk": world.here.jwks()["keys"][0]}),
    ),
    "with a time that is text": ("401 malformed_claims", lambda world: world.signed(exp="tomorrow")),
    "of a node": ("401 not_a_service_account", lambda world: world.signed(sub="system:node:node-1")),
    "whose subject is not its account": (
        "401 inconsistent_claims",
        lambda world: world.signed(sub=f"system:serviceaccount:{NAMESPACE}:stranger"),
    ),
    "of nobody we know": ("403 unknown_workload", lambda world: world.token("stranger")),
    "of somebody suspended": ("403 suspended", lambda world: world.token("suspended")),
    "of somebody whose trust ran out": ("403 trust_expired", lambda world: world.token("lapsed")),
    "longer than 8 KiB": (
        "401 token_too_large",
        lambda world: world.token(audiences=[f"audience-{number:04}" for number in range(600)]),
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_token_is_refused_with_its_reason(world: World, case: str) -> None:
    expected, mint = REFUSED[case]

    answer = decided(world.gate_of_one, mint(world))

    assert f"{answer.status} {answer.reason}" == expected
    assert answer.problem["reason"] == answer.reason
    assert answer.problem["remedy"]


def test_the_default_token_of_a_pod_is_told_what_to_mount_instead(world: World) -> None:
    answer = decided(world.gate_of_one, world.token(audiences=[], expiration_seconds=3607))

    remedy = answer.problem["remedy"]
    assert remedy.startswith("The pod sends its default token, which is for the API server. Mount a ")
    assert f"volume with audience `{AUDIENCE}`" in remedy


@pytest.mark.parametrize(
    ("seconds", "reason"),
    [
        # The token lives for 600 s.
        pytest.param(-630, "", id="half a minute after its end"),
        pytest.param(-720, "expired", id="two minutes after its end"),
        pytest.param(30, "", id="half a minute before its time"),
        pytest.param(120, "issued_in_future", id="two minutes before its time"),
    ],
)
def test_the_gate_forgives_clocks_as_the_api_server_does(world: World, seconds: int, reason: str) -> None:
    token = _shifted(world, seconds, *ALL_TIMES)

    assert decided(world.gate_of_one, token).reason == reason
    review = world.here.token_review(token, [AUDIENCE])
    assert review.get("authenticated", False) is (reason == "")


def test_the_year_long_default_token_is_too_long_even_where_its_audience_is_accepted(
    world: World, tmp_path: Path
) -> None:
    bundle = write(
        tmp_path / "bundle.json",
        issuer(HERE, world.here.jwks()),
        service(),
        workload("atlas", HERE, (NAMESPACE, "atlas")),
    )
    # No service can declare it: an issuer's URL is reserved. A bundle made by hand may hold it all the same.
    accepting = msgspec.structs.replace(decode_bundle(bundle.read_bytes()), audiences=(DEFAULT_ISSUER,))
    bundle.write_bytes(encode_bundle(seal(accepting, 1)))
    with running_gate(bundle) as gate:
        year = decided(gate, world.token(audiences=[], expiration_seconds=3607))
        hour = decided(gate, world.token(audiences=[], expiration_seconds=3600))

    assert (year.status, year.reason) == (401, "lifetime_too_long")
    assert (hour.status, hour.reason) == (200, "")


def test_a_service_that_says_so_takes_tokens_that_are_bound_to_nothing(world: World, tmp_path: Path) -> None:
    bundle = write(
        tmp_path / "bundle.json",
        issuer(HERE, world.here.jwks()),
        service(token={"binding": "Any"}),
        workload("atlas", HERE, (NAMESPACE, "atlas")),
    )
    with running_gate(bundle) as gate:
        assert decided(gate, world.token(pod=None)).status == 200
        assert decided(gate, world.token()).status == 200


@pytest.mark.parametrize("path", ["/authz", USAGE_PATH])
def test_the_same_name_in_another_cluster_is_another_workload(world: World, path: str) -> None:
    # Byte for byte the same iss, sub and aud; both keys are pinned; each name is trusted in one cluster only.
    if path == USAGE_PATH:
        path = f"/authz/envoy{path}"
    pairs = [(world.here, "atlas"), (world.there, "only-there")]
    for cluster, account in pairs:
        assert decided(world.gate_of_both, minted(cluster, account), path).status == 200
    for (cluster, _), (_, account) in zip(pairs, reversed(pairs), strict=True):
        refused = decided(world.gate_of_both, minted(cluster, account), path)
        assert (refused.status, refused.reason) == (403, "unknown_workload")


def test_a_cluster_cannot_sign_under_the_key_name_of_another(world: World) -> None:
    # All that one cluster can say in the name of the other, signed by what it has.
    claims = token_parts(world.token())[1]

    borrowed_name = decided(world.gate_of_both, world.there.sign(world.here.token_header, claims))
    own_name = decided(world.gate_of_both, world.there.sign(world.there.token_header, claims))

    assert (borrowed_name.status, borrowed_name.reason) == (401, "bad_signature")
    assert (own_name.status, own_name.reason) == (403, "unknown_workload")


@pytest.mark.parametrize(
    ("additional", "reason"),
    [
        pytest.param([], "wrong_issuer", id="it names another issuer"),
        # Kubernetes' own name for it, were somebody to accept it: there is still no audience in it.
        pytest.param(["kubernetes/serviceaccount"], "wrong_audience", id="accepted, it has no audience"),
    ],
)
def test_a_legacy_token_from_a_secret_never_passes(
    world: World, tmp_path: Path, additional: list[str], reason: str
) -> None:
    legacy = world.here.legacy_token(NAMESPACE, "atlas", secret=f"legacy-{len(additional)}")
    assert world.here.token_review(legacy)["authenticated"] is True
    bundle = write(
        tmp_path / "bundle.json",
        issuer(HERE, world.here.jwks(), additionalIssuers=additional),
        service(token={"binding": "Any"}),
        workload("atlas", HERE, (NAMESPACE, "atlas")),
    )

    with running_gate(bundle) as gate:
        answer = decided(gate, legacy)

    assert (answer.status, answer.reason) == (401, reason)


@pytest.mark.parametrize("algorithm", [name for name in get_args(Algorithm) if name != "RS256"])
def test_a_cluster_with_an_elliptic_key_passes(
    algorithm: Algorithm, control_plane: Binaries, etcd: Etcd, tmp_path: Path
) -> None:
    with start_cluster(
        tmp_path / "cluster", algorithm=algorithm, etcd=etcd, binaries=control_plane
    ) as cluster:
        populate(cluster, "atlas")
        token = minted(cluster)
        keys = cluster.jwks()
    bundle = write(
        tmp_path / "bundle.json",
        issuer(HERE, keys, algorithms=[algorithm]),
        service(),
        workload("atlas", HERE, (NAMESPACE, "atlas")),
    )

    # The API server is gone by now: the gate needs nobody.
    with running_gate(bundle) as gate:
        assert decided(gate, token).status == 200
        assert decided(gate, token[:-8] + "A" * 8).reason == "bad_signature"


def test_while_a_cluster_moves_its_old_issuer_passes_where_it_is_named(
    control_plane: Binaries, etcd: Etcd, tmp_path: Path
) -> None:
    new, old = "https://issuer.example/new", "https://issuer.example/old"
    with start_cluster(
        tmp_path / "cluster", issuer=new, additional_issuers=[old], etcd=etcd, binaries=control_plane
    ) as cluster:
        populate(cluster, "atlas")
        after = minted(cluster)
        before = cluster.sign(cluster.token_header, {**token_parts(after)[1], "iss": old})
        keys = cluster.jwks()
    trusted = workload("atlas", HERE, (NAMESPACE, "atlas"))
    moving = write(
        tmp_path / "moving.json", issuer(HERE, keys, iss=new, additionalIssuers=[old]), service(), trusted
    )
    unaware = write(tmp_path / "unaware.json", issuer(HERE, keys, iss=old), service(), trusted)

    with running_gate(moving) as gate:
        assert [decided(gate, token).status for token in (after, before)] == [200, 200]
    with running_gate(unaware) as gate:
        assert decided(gate, before).status == 200
        assert decided(gate, after).reason == "wrong_issuer"


def test_what_is_revoked_is_refused_and_what_stands_beside_it_passes(
    world: World, new_namespace: NewNamespace, tmp_path: Path
) -> None:
    namespace = new_namespace(world.here)
    accounts = ("by-token", "by-pod", "by-account")
    uids = {name: world.here.create_service_account(namespace, name) for name in accounts}
    pods = {f"{name}-{place}": name for name in accounts for place in (0, 1)}
    pod_uids = {pod: world.here.create_pod(namespace, pod, account) for pod, account in pods.items()}
    tokens = {pod: world.here.token(namespace, account, [AUDIENCE], pod=pod) for pod, account in pods.items()}
    revoked = [
        {"tokenId": token_parts(tokens["by-token-0"])[1]["jti"]},
        {"podUid": pod_uids["by-pod-0"]},
        {"serviceAccountUid": uids["by-account"]},
    ]
    bundle = write(
        tmp_path / "bundle.json",
        issuer(HERE, world.here.jwks(), revoked=revoked),
        service(),
        *(workload(name, HERE, (namespace, name)) for name in accounts),
    )

    with running_gate(bundle) as gate:
        reasons = {pod: decided(gate, token).reason for pod, token in tokens.items()}

    assert reasons == {
        "by-token-0": "revoked",
        "by-token-1": "",
        "by-pod-0": "revoked",
        "by-pod-1": "",
        "by-account-0": "revoked",
        "by-account-1": "revoked",
    }


def test_all_tokens_issued_before_a_moment_are_revoked_at_once(world: World, tmp_path: Path) -> None:
    token = world.token()
    claims = token_parts(token)[1]
    moment = claims["iat"] + 1
    line = datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    bundle = write(
        tmp_path / "bundle.json",
        issuer(HERE, world.here.jwks(), revoked=[{"issuedBefore": line}]),
        service(),
        workload("atlas", HERE, (NAMESPACE, "atlas")),
    )

    with running_gate(bundle) as gate:
        assert decided(gate, token).reason == "revoked"
        assert decided(gate, world.signed(iat=moment)).reason == ""


@pytest.mark.parametrize("deleted", ["pod", "service account", "service account, made again"])
def test_what_was_deleted_passes_until_it_expires_or_is_revoked(
    world: World, new_namespace: NewNamespace, tmp_path: Path, deleted: str
) -> None:
    here = world.here
    namespace = new_namespace(here)
    account_uid = here.create_service_account(namespace, "atlas")
    pod_uid = here.create_pod(namespace, "atlas-0", "atlas")
    token, reviewed = (here.token(namespace, "atlas", [AUDIENCE], pod="atlas-0") for _ in range(2))
    claims = token_parts(token)[1]
    over = {name: claims[name] - 3600 for name in ALL_TIMES}
    expired = here.sign(here.token_header, {**claims, **over})
    trusted = (service(), workload("atlas", HERE, (namespace, "atlas")))
    bundle = write(tmp_path / "bundle.json", issuer(HERE, here.jwks()), *trusted)
    gone: dict[str, str] = {"podUid": pod_uid} if deleted == "pod" else {"serviceAccountUid": account_uid}

    with running_gate(bundle) as gate:
        if deleted == "pod":
            here.delete_pod(namespace, "atlas-0")
        else:
            here.delete_service_account(namespace, "atlas")
        if deleted.endswith("made again"):
            here.create_service_account(namespace, "atlas")
        wait_until(
            lambda: not here.token_review(reviewed, [AUDIENCE]).get("authenticated", False),
            what=f"TokenReview's no after the {deleted} was deleted",
        )

        assert decided(gate, token).status == 200
        assert decided(gate, expired).reason == "expired"

        write(bundle, issuer(HERE, here.jwks(), revoked=[gone]), *trusted, generation=2)
        # The yes above is in the gate's cache: a new bundle must end it.
        wait_until(lambda: gate.ask(token).reason == "revoked", what="the revocation live")
        assert decided(gate, reviewed).reason == "revoked"


def test_trusting_one_more_workload_and_taking_it_back_is_live_without_a_restart(
    world: World, tmp_path: Path
) -> None:
    pinned, trusted = issuer(HERE, world.here.jwks()), workload("stranger", HERE, (NAMESPACE, "stranger"))
    bundle = write(tmp_path / "bundle.json", pinned, service())
    token = world.token("stranger")

    with running_gate(bundle) as gate:
        # A gate that trusts nobody is ready, and refuses everybody.
        assert decided(gate, token).reason == "unknown_workload"
        write(bundle, pinned, service(), trusted, generation=2)
        wait_until(lambda: gate.ask(token).status == 200, what="the stranger in")
        write(bundle, pinned, service(), generation=3)
        wait_until(lambda: gate.ask(token).reason == "unknown_workload", what="the stranger out")
