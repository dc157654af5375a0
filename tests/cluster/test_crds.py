# SPDX-License-Identifier: Apache-2.0
"""The CRDs on a real API server: what it takes, what it refuses and in which words."""

from __future__ import annotations

import pytest

from tests.controlplane import Cluster
from watchword.trust.crds import KINDS, definitions


@pytest.fixture(scope="session")
def crds(cluster: Cluster) -> Cluster:
    """The shared API server, with our kinds."""
    for definition in definitions():
        cluster.apply(definition)
    return cluster


def test_the_api_server_takes_the_definitions_without_a_complaint(crds: Cluster) -> None:
    for kind in KINDS:
        path = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{kind.plural}.watchword.dev"
        conditions = {each["type"]: each for each in crds.request("GET", path)["status"]["conditions"]}
        assert conditions["Established"]["status"] == "True"
        assert "NonStructuralSchema" not in conditions
