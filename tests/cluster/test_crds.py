# SPDX-License-Identifier: Apache-2.0
"""The CRDs on a real API server: what it takes, what it refuses and in which words."""

from __future__ import annotations

import pytest

from testing.controlplane import ApiError, Cluster
from tests.cluster.admission import create
from tests.trust.admission import ACCEPTED, BOUNDED, REFUSED, Bounded, Object, Refused
from watchword.trust.crd.cel import RULES
from watchword.trust.crd.definitions import KINDS

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


def refusal(cluster: Cluster, document: Object) -> str:
    """What the API server says against an object."""
    with pytest.raises(ApiError) as refused:
        create(cluster, document)
    return refused.value.message


def test_the_api_server_takes_the_definitions_without_a_complaint(crds: Cluster) -> None:
    for kind in KINDS:
        stored = crds.request("GET", f"{DEFINITIONS}/{kind.plural}.watchword.dev")
        conditions = {each["type"]: each for each in stored["status"]["conditions"]}
        assert conditions["Established"]["status"] == "True"
        assert "NonStructuralSchema" not in conditions


def test_every_rule_has_an_object_that_it_refuses() -> None:
    told = {(case.place, case.detail) for case in REFUSED}
    assert told == {(rule.place, rule.detail) for rule in RULES if "oldSelf" not in rule.expression}


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: f"{case.place} {case.detail}"[:80])
def test_a_rule_refuses_with_the_field_and_what_would_be_right(crds: Cluster, case: Refused) -> None:
    (message,) = {rule.message for rule in RULES if (rule.place, rule.detail) == (case.place, case.detail)}
    said = refusal(crds, case.object)
    assert message in said
    assert f"{case.field}: Invalid value" in said


@pytest.mark.parametrize("case", BOUNDED, ids=lambda case: f"{case.field} {case.words}"[:80])
def test_a_bound_refuses_with_the_field(crds: Cluster, case: Bounded) -> None:
    said = refusal(crds, case.object)
    assert case.words in said
    assert case.field in said


@pytest.mark.parametrize("document", ACCEPTED.values(), ids=ACCEPTED)
def test_a_good_object_is_taken(crds: Cluster, document: Object) -> None:
    assert create(crds, document)["metadata"]["uid"]
