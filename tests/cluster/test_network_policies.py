# SPDX-License-Identifier: Apache-2.0
"""The API server takes the very NetworkPolicies that the evaluator judges."""

from __future__ import annotations

import pytest

from testing.controlplane import ApiError, Cluster
from testing.manifests import compiled, service
from tests.policies.world import MANIFESTS
from tests.trust.admission import ACCEPTED, Object


def policies_of(*documents: Object) -> list[Object]:
    made = compiled(*documents).network_policies
    assert made
    return [dict(each) for each in made]


@pytest.mark.parametrize(
    "policy",
    [
        *policies_of(*MANIFESTS),
        *policies_of(service(), ACCEPTED["a workload with all that it can say"]),
        *policies_of(ACCEPTED["the largest service"], ACCEPTED["the largest workload"]),
    ],
    ids=lambda policy: policy["metadata"]["name"],
)
def test_the_api_server_takes_a_policy(crds: Cluster, policy: Object) -> None:
    path = f"/apis/networking.k8s.io/v1/namespaces/{policy['metadata']['namespace']}/networkpolicies"
    try:
        crds.request("POST", path, policy, parameters={"dryRun": "All", "fieldValidation": "Strict"})
    except ApiError as refused:
        pytest.fail(str(refused))
