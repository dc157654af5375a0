# SPDX-License-Identifier: Apache-2.0
"""`watchword pin` of a real cluster: what it prints is taken by an API server, and can be followed."""

from __future__ import annotations

import asyncio
import json
from ipaddress import ip_network

import msgspec
import pytest

from testing.controlplane import Cluster
from testing.keys.polling import World, running, until
from tests.cluster.keys.conftest import ISSUERS, Kubectl
from watchword.identity import load_jwks
from watchword.operator.keys.addresses import AddressRules
from watchword.operator.keys.credentials import CredentialSecret
from watchword.trust import parse_manifests
from watchword.trust.api.v1alpha1 import ClusterTrustedIssuer

LOOPBACK = AddressRules((ip_network("127.0.0.0/8"),))


@pytest.mark.parametrize("extra", [(), ("--discovery",), ("--discovery", "--policy", "Pin")])
def test_both_forms_of_what_is_printed_are_the_same_object_and_taken(
    kinds: Cluster, kubectl: Kubectl, extra: tuple[str, ...]
) -> None:
    printed = kubectl.run("pin", "--context", "there", *extra, "-o", "json")
    assert printed.exit_code == 0, printed.output
    document = json.loads(printed.stdout)
    yaml = kubectl.run("pin", "--context", "there", *extra).stdout
    as_text, as_json = (
        parse_manifests([(f"issuer.{form}", text.encode())])
        for form, text in (("yaml", yaml), ("json", printed.stdout))
    )
    assert as_text.resources.issuers[0].spec == as_json.resources.issuers[0].spec
    parameters = {"dryRun": "All", "fieldValidation": "Strict"}
    assert kinds.request("POST", ISSUERS, document, parameters=parameters)["kind"] == "ClusterTrustedIssuer"


def test_what_is_printed_follows_a_real_api_server_with_a_token_of_its_own(
    other_cluster: Cluster, kubectl: Kubectl
) -> None:
    """The API server of kubeadm's kind: keys on another host than `iss`, own authority, no strangers."""
    if "keys" not in {
        each["metadata"]["name"] for each in other_cluster.request("GET", "/api/v1/namespaces")["items"]
    }:
        other_cluster.create_namespace("keys")
    other_cluster.create_service_account("keys", "reader")
    authority = str(other_cluster.authority)
    printed = kubectl.run("pin", "--context", "there", "--discovery", "--ca-bundle", authority, "-o", "json")
    document = json.loads(printed.stdout)
    discovery = document["spec"]["keys"]["discovery"]
    assert discovery["jwksURL"].endswith("/openid/v1/jwks")
    (key,) = load_jwks(json.dumps(other_cluster.jwks()).encode()).keys
    assert document["spec"]["rotation"] == {"policy": "Continuity", "approved": [key.thumbprint]}
    # Its own address here: the API server advertises the port that it was given, not the way to it.
    discovery |= {"jwksURL": f"{other_cluster.url}/openid/v1/jwks"}

    async def scenario() -> None:
        world = World(LOOPBACK)
        name = document["metadata"]["name"]

        def issuer() -> ClusterTrustedIssuer:
            return msgspec.convert(
                {"metadata": document["metadata"], "spec": document["spec"]}, ClusterTrustedIssuer
            )

        async with running(world):
            world.sync.set_issuer(issuer(), ())
            await until(lambda: world.fresh(name) == "AnswerRefused", "a stranger is refused")
            assert "HTTP 403" in world.sync.keys_of(name).fresh.message
            discovery["credentialSecretRef"] = {"namespace": "watchword-system", "name": "reader"}
            host = discovery["jwksURL"].split("/")[2]
            token = other_cluster.token("keys", "reader")
            world.secrets["watchword-system", "reader", "token"] = CredentialSecret(name, host, token)
            world.sync.set_issuer(issuer(), ())
            await until(lambda: world.trusted(name) == [key.kid], "its keys are followed")
            assert world.settled(name) == "Settled"

    asyncio.run(scenario())


def test_an_authority_that_is_missing_is_said(kubectl: Kubectl) -> None:
    printed = kubectl.run("pin", "--context", "there", "--discovery")
    assert "--ca-bundle" in printed.stderr
    assert "credentialSecretRef" in printed.stdout
