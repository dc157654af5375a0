# SPDX-License-Identifier: Apache-2.0
"""What the alerts on keys are raised by, as a scrape of the real operator sees it."""

from __future__ import annotations

import itertools
import json
from typing import Any

from testing.operated import Operated
from testing.tokens import Signer

FIRST, SECOND = Signer("metrics-first", "ES256"), Signer("metrics-second", "ES256")
AGE, PENDING = "watchword_operator_key_age_seconds", "watchword_operator_keys_pending"
_numbers = itertools.count(1)


def publish(operated: Operated, namespace: str, *signers: Signer) -> None:
    document = json.dumps({"keys": [each.jwk for each in signers]})
    operated.cluster.apply(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"namespace": namespace, "name": "keys"},
            "data": {"jwks.json": document},
        }
    )


def issuer_of(operated: Operated, namespace: str) -> dict[str, Any]:
    """An issuer with its keys in a ConfigMap, new ones of which wait for approval; its first is trusted."""
    publish(operated, namespace, FIRST)
    source = {"configMap": {"namespace": namespace, "name": "keys"}}
    made = operated.trusted_issuer(
        name=f"metered-{next(_numbers)}",
        issuer="https://metered.example",
        keys=source,
        rotation={"policy": "Approve", "approved": [FIRST.key.thumbprint]},
    )
    operated.apply(made)
    operated.wait_for(made, "KeysFresh/Fetched")
    return made


def test_a_key_that_waits_is_counted_until_it_is_approved(operated: Operated) -> None:
    namespace = operated.new_namespace()
    made = issuer_of(operated, namespace)
    name = made["metadata"]["name"]
    try:
        assert operated.replica.metric(PENDING, issuer=name) == 0
        publish(operated, namespace, FIRST, SECOND)
        operated.replica.wait_until(
            lambda: operated.replica.metric(PENDING, issuer=name) == 1, "a key waits", 30
        )
        approved = [each.key.thumbprint for each in (FIRST, SECOND)]
        operated.edit(made, rotation={"policy": "Approve", "approved": approved})
        operated.replica.wait_until(
            lambda: operated.replica.metric(PENDING, issuer=name) == 0, "no key waits", 30
        )
    finally:
        operated.delete(made)


def test_keys_whose_source_is_gone_grow_old_and_those_that_are_read_again_are_young(
    operated: Operated,
) -> None:
    namespace = operated.new_namespace()
    made = issuer_of(operated, namespace)
    name = made["metadata"]["name"]
    try:
        assert operated.replica.metric(AGE, issuer=name) == 0
        path = f"/api/v1/namespaces/{namespace}/configmaps/keys"
        operated.cluster.request("DELETE", path)
        operated.replica.wait_until(
            lambda: operated.replica.metric(AGE, issuer=name) > 1, "the keys are older", 30
        )
        publish(operated, namespace, FIRST)
        operated.replica.wait_until(
            lambda: operated.replica.metric(AGE, issuer=name) == 0, "the keys are young again", 30
        )
    finally:
        operated.delete(made)


def test_the_cluster_s_own_keys_have_an_age(operated: Operated) -> None:
    operated.replica.wait_until(
        lambda: operated.replica.metric(AGE, issuer="here") > 0, "the keys of this cluster have an age", 30
    )
