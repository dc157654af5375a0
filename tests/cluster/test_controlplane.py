# SPDX-License-Identifier: Apache-2.0
"""Facts about real ServiceAccount tokens that the checks lean on, asked of a real API server.

Should a later Kubernetes change one of them, this file says so first, and by name.
"""

from __future__ import annotations

import base64
import hashlib
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives import serialization

from testing.controlplane import (
    DEFAULT_ISSUER,
    Algorithm,
    ApiError,
    Binaries,
    Cluster,
    Etcd,
    StartFailedError,
    start_cluster,
    token_parts,
    wait_until,
)

NewNamespace = Callable[..., str]
AUDIENCE = "tuist-server"
ROOT = Path(__file__).parents[2]


def signature_holds(cluster: Cluster, token: str) -> bool:
    """By the published keys alone, with somebody else's verifier; times and audience are not looked at."""
    header, _ = token_parts(token)
    keys = {key.key_id: key for key in jwt.PyJWKSet.from_dict(cluster.jwks()).keys}
    if header["kid"] not in keys:
        return False
    try:
        jwt.PyJWS().decode(token, keys[header["kid"]], algorithms=[cluster.algorithm])
    except jwt.InvalidSignatureError:
        return False
    return True


def is_authenticated(cluster: Cluster, token: str, audience: str = AUDIENCE) -> bool:
    """What the API server itself says now."""
    return bool(cluster.token_review(token, [audience]).get("authenticated", False))


def test_a_pod_bound_token_has_exactly_these_claims(cluster: Cluster, new_namespace: NewNamespace) -> None:
    namespace = new_namespace(cluster)
    account_uid = cluster.create_service_account(namespace, "atlas")
    node_uid = cluster.create_node(f"node-{namespace}")
    pod_uid = cluster.create_pod(namespace, "atlas-0", "atlas", node=f"node-{namespace}")

    _, claims = token_parts(
        cluster.token(namespace, "atlas", [AUDIENCE], pod=("atlas-0", pod_uid), expiration_seconds=900)
    )

    issued_at = claims["iat"]
    assert isinstance(issued_at, int)
    assert len(claims.pop("jti")) == 36
    assert claims == {
        "iss": DEFAULT_ISSUER,
        "aud": [AUDIENCE],
        "sub": f"system:serviceaccount:{namespace}:atlas",
        "iat": issued_at,
        "nbf": issued_at,
        "exp": issued_at + 900,
        "kubernetes.io": {
            "namespace": namespace,
            "serviceaccount": {"name": "atlas", "uid": account_uid},
            "pod": {"name": "atlas-0", "uid": pod_uid},
            "node": {"name": f"node-{namespace}", "uid": node_uid},
        },
    }


@pytest.mark.parametrize(
    ("bind", "expected"),
    [
        pytest.param(None, set(), id="unbound"),
        pytest.param("pod", {"pod"}, id="a pod that no node has yet"),
        pytest.param("secret", {"secret"}, id="a secret"),
        pytest.param("node", {"node"}, id="a node"),
    ],
)
def test_a_token_names_what_it_is_bound_to(
    cluster: Cluster, new_namespace: NewNamespace, bind: str | None, expected: set[str]
) -> None:
    namespace = new_namespace(cluster)
    cluster.create_service_account(namespace, "atlas")
    name = f"bound-{namespace}"
    create: dict[str | None, Callable[[], Any]] = {
        None: lambda: None,
        "pod": lambda: cluster.create_pod(namespace, name, "atlas"),
        "secret": lambda: cluster.create_secret(namespace, name),
        "node": lambda: cluster.create_node(name),
    }
    create[bind]()

    binding: dict[str, Any] = {} if bind is None else {bind: name}
    _, claims = token_parts(cluster.token(namespace, "atlas", [AUDIENCE], **binding))

    assert set(claims["kubernetes.io"]) - {"namespace", "serviceaccount"} == expected


def test_the_header_has_an_algorithm_and_a_key_id_and_no_typ(
    cluster: Cluster, new_namespace: NewNamespace
) -> None:
    namespace = new_namespace(cluster)
    cluster.create_service_account(namespace, "atlas")

    header, _ = token_parts(cluster.token(namespace, "atlas", [AUDIENCE]))

    assert header == {"alg": "RS256", "kid": cluster.key_id}


def test_the_key_id_is_the_digest_of_the_public_key(cluster: Cluster) -> None:
    [published] = cluster.jwks()["keys"]
    public_key = jwt.PyJWK(published).key

    spki = public_key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    digest = base64.urlsafe_b64encode(hashlib.sha256(spki).digest()).rstrip(b"=").decode()

    assert published["kid"] == digest
    assert published["use"] == "sig"


@pytest.mark.parametrize("algorithm", [name for name in get_args(Algorithm) if name != "RS256"])
def test_an_api_server_signs_by_the_type_of_its_key(
    algorithm: Algorithm, control_plane: Binaries, etcd: Etcd, tmp_path: Path
) -> None:
    with start_cluster(tmp_path, algorithm=algorithm, etcd=etcd, binaries=control_plane) as cluster:
        cluster.create_namespace("edge")
        cluster.create_service_account("edge", "atlas")

        minted = cluster.token("edge", "atlas", [AUDIENCE])
        signed_here = cluster.sign(cluster.token_header, token_parts(minted)[1])

        assert token_parts(minted)[0]["alg"] == algorithm
        assert signature_holds(cluster, minted)
        assert is_authenticated(cluster, signed_here)


def test_clusters_that_share_an_issuer_do_not_share_keys(
    cluster: Cluster, other_cluster: Cluster, new_namespace: NewNamespace
) -> None:
    namespace = new_namespace(cluster, other_cluster)
    for each in (cluster, other_cluster):
        each.create_service_account(namespace, "atlas")
    here, there = (each.token(namespace, "atlas", [AUDIENCE]) for each in (cluster, other_cluster))

    assert token_parts(here)[1]["iss"] == token_parts(there)[1]["iss"]
    assert token_parts(here)[1]["sub"] == token_parts(there)[1]["sub"]
    assert token_parts(here)[0]["kid"] != token_parts(there)[0]["kid"]
    assert not signature_holds(cluster, there)
    assert not is_authenticated(cluster, there)
    assert is_authenticated(other_cluster, there)


@pytest.mark.parametrize("deleted", ["pod", "service account", "service account, made again"])
def test_a_good_signature_outlives_what_it_speaks_for(
    cluster: Cluster, new_namespace: NewNamespace, deleted: str
) -> None:
    namespace = new_namespace(cluster)
    cluster.create_service_account(namespace, "atlas")
    cluster.create_pod(namespace, "atlas-0", "atlas")
    reviewed, kept = (cluster.token(namespace, "atlas", [AUDIENCE], pod="atlas-0") for _ in range(2))
    assert is_authenticated(cluster, reviewed)

    if deleted == "pod":
        cluster.delete_pod(namespace, "atlas-0")
    else:
        cluster.delete_service_account(namespace, "atlas")
    if deleted.endswith("made again"):
        cluster.create_service_account(namespace, "atlas")

    # The API server answers from its watch cache, a moment behind, and would remember a yes for 10 s.
    wait_until(lambda: not is_authenticated(cluster, kept), what=f"no after the {deleted} was deleted")
    assert signature_holds(cluster, kept)


def test_a_token_past_its_time_is_refused_though_its_signature_holds(
    cluster: Cluster, new_namespace: NewNamespace
) -> None:
    namespace = new_namespace(cluster)
    cluster.create_service_account(namespace, "atlas")
    _, claims = token_parts(cluster.token(namespace, "atlas", [AUDIENCE]))
    earlier = {name: claims[name] - 3600 for name in ("iat", "nbf", "exp")}

    unchanged = cluster.sign(cluster.token_header, claims)
    expired = cluster.sign(cluster.token_header, {**claims, **earlier})

    assert is_authenticated(cluster, unchanged)
    assert not is_authenticated(cluster, expired)
    assert signature_holds(cluster, expired)


def test_a_token_shorter_than_ten_minutes_is_not_minted(
    cluster: Cluster, new_namespace: NewNamespace
) -> None:
    namespace = new_namespace(cluster)
    cluster.create_service_account(namespace, "atlas")

    with pytest.raises(ApiError) as refused:
        cluster.token(namespace, "atlas", [AUDIENCE], expiration_seconds=599)

    assert refused.value.status == 422
    assert "expirationSeconds" in refused.value.message


@pytest.mark.parametrize(
    ("audiences", "lifetime_seconds"),
    [
        pytest.param([], 365 * 24 * 3600, id="for the API server: a year, and a time to warn after"),
        pytest.param([AUDIENCE], 3607, id="for a service: as asked"),
    ],
)
def test_the_token_that_every_pod_gets_by_default_lives_for_a_year(
    cluster: Cluster, new_namespace: NewNamespace, audiences: list[str], lifetime_seconds: int
) -> None:
    namespace = new_namespace(cluster)
    cluster.create_service_account(namespace, "atlas")
    cluster.create_pod(namespace, "atlas-0", "atlas")

    # 3607 s is what the ServiceAccount admission plugin asks for, and how the API server knows such a token.
    token = cluster.token(namespace, "atlas", audiences, pod="atlas-0", expiration_seconds=3607)

    _, claims = token_parts(token)
    assert claims["exp"] - claims["iat"] == lifetime_seconds
    assert ("warnafter" in claims["kubernetes.io"]) == (not audiences)


def test_a_legacy_token_has_no_audience_and_no_end_and_is_still_accepted(
    cluster: Cluster, new_namespace: NewNamespace
) -> None:
    namespace = new_namespace(cluster)
    cluster.create_service_account(namespace, "atlas")

    legacy = cluster.legacy_token(namespace, "atlas")

    _, claims = token_parts(legacy)
    assert claims["iss"] == "kubernetes/serviceaccount"
    assert not {"aud", "exp", "iat", "nbf"} & set(claims)
    assert cluster.token_review(legacy)["user"]["username"] == f"system:serviceaccount:{namespace}:atlas"


def test_a_cluster_that_moves_signs_with_one_issuer_and_accepts_both(
    control_plane: Binaries, etcd: Etcd, tmp_path: Path
) -> None:
    new, old = "https://issuer.example/new", "https://issuer.example/old"
    with start_cluster(
        tmp_path, issuer=new, additional_issuers=[old], etcd=etcd, binaries=control_plane
    ) as cluster:
        cluster.create_namespace("edge")
        cluster.create_service_account("edge", "atlas")

        minted = cluster.token("edge", "atlas", [AUDIENCE])
        claims = token_parts(minted)[1]
        before_the_move = cluster.sign(cluster.token_header, {**claims, "iss": old})
        of_neither = cluster.sign(cluster.token_header, {**claims, "iss": "https://issuer.example/"})

        assert claims["iss"] == new
        assert is_authenticated(cluster, minted)
        assert is_authenticated(cluster, before_the_move)
        assert not is_authenticated(cluster, of_neither)


def test_rbac_binds_a_service_account_that_asks(cluster: Cluster, new_namespace: NewNamespace) -> None:
    namespace = new_namespace(cluster)
    cluster.create_service_account(namespace, "atlas")

    with pytest.raises(ApiError) as refused:
        cluster.request("GET", "/api/v1/secrets", bearer=cluster.token(namespace, "atlas"))

    assert (refused.value.status, refused.value.reason) == (403, "Forbidden")


def test_a_custom_resource_is_served_and_validated_once_applied(
    cluster: Cluster, new_namespace: NewNamespace
) -> None:
    namespace = new_namespace(cluster)
    number = {"type": "integer", "x-kubernetes-validations": [{"rule": "self % 2 == 0", "message": "even"}]}
    schema = {"type": "object", "properties": {"spec": {"type": "object", "properties": {"number": number}}}}
    cluster.apply(
        {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": "pairs.test.watchword.dev"},
            "spec": {
                "group": "test.watchword.dev",
                "scope": "Namespaced",
                "names": {"plural": "pairs", "kind": "Pair"},
                "versions": [
                    {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
                ],
            },
        }
    )
    pair = {
        "apiVersion": "test.watchword.dev/v1",
        "kind": "Pair",
        "metadata": {"namespace": namespace, "name": "socks"},
    }

    stored = cluster.apply({**pair, "spec": {"number": 2}})
    with pytest.raises(ApiError) as refused:
        cluster.apply({**pair, "spec": {"number": 3}})

    assert stored["spec"] == {"number": 2}
    assert refused.value.status == 422


def test_a_server_that_does_not_start_says_why(control_plane: Binaries, etcd: Etcd, tmp_path: Path) -> None:
    with (
        pytest.raises(StartFailedError, match="unknown flag: --no-such-flag"),
        start_cluster(tmp_path, flags=["--no-such-flag"], etcd=etcd, binaries=control_plane),
    ):
        pytest.fail("a server with an unknown flag started")


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGKILL])
def test_a_test_run_that_is_killed_leaves_no_server_behind(
    control_plane: Binaries, tmp_path: Path, ending: signal.Signals
) -> None:
    program = (
        "import pathlib, sys, time\n"
        "from testing.controlplane import Binaries, start_etcd\n"
        "folder, api_server, etcd = map(pathlib.Path, sys.argv[1:])\n"
        "with start_etcd(folder, binaries=Binaries(api_server, etcd, 'given')) as running:\n"
        "    print(running.url, flush=True)\n"
        "    time.sleep(600)\n"
    )
    arguments = [str(tmp_path), str(control_plane.kube_apiserver), str(control_plane.etcd)]
    with subprocess.Popen(
        [sys.executable, "-c", program, *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as run:
        assert run.stdout is not None
        url = httpx.URL(run.stdout.readline().strip())
        run.send_signal(ending)

    def is_gone() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex((url.host, url.port or 0)) != 0

    wait_until(is_gone, what="etcd gone after its test run")


def test_what_a_test_prints_shows_no_secret(cluster: Cluster) -> None:
    shown = repr(cluster)

    assert cluster.bearer("watchword-test-administrator") not in shown
    assert "PRIVATE KEY" not in shown
