# SPDX-License-Identifier: Apache-2.0
"""No status and no Event of one namespace names another one, or what is in it: its readers may not see there.

Two namespaces with names that are found in any text do to each other what they can; what an issuer, which is
cluster-scoped, says of itself may name neither.
"""

from __future__ import annotations

import json
from typing import Any

from testing.operated import Operated

MINE, THEIRS = "marker-mine", "marker-theirs"


def make(operated: Operated, place: str, other: str) -> list[dict[str, Any]]:
    """A service and workloads that reach into another namespace without naming it."""
    everywhere = {"namespaceSelector": {"matchLabels": {"markers": "yes"}}}
    service = operated.service(place, f"{place}-api")
    second = operated.service(
        place, f"{place}-second", selector={"matchLabels": {"app": f"{place}-api"}}, upstreamPort=9090
    )
    own = {"serviceRef": {"name": f"{place}-api"}}
    workloads = [
        operated.workload(place, f"{place}-wide", (place, f"{place}-app"), **{"from": [everywhere]}, **own),
        operated.workload(place, f"{place}-again", (place, f"{place}-none"), **own),
        operated.workload(place, f"{place}-lost", (place, f"{place}-none"), **own),
        operated.workload(
            place, f"{place}-orphan", (place, f"{place}-app"), serviceRef={"name": f"{place}-nothing"}
        ),
    ]
    operated.account(place, f"{place}-app")
    for name in range(3):
        operated.account(place, f"{place}-stranger-{name}")
        operated.pod(place, f"{place}-stranger-{name}", f"{place}-pod-{name}", app="x")
    operated.pod(place, f"{place}-app", app="y")
    operated.apply(service, second, *workloads)
    return [service, second, *workloads]


def texts_of(operated: Operated, place: str) -> list[str]:
    """All statuses of our kinds and all Events of a namespace, without what they are of."""
    texts = []
    for plural in ("protectedservices", "trustedworkloads"):
        path = f"/apis/watchword.dev/v1alpha1/namespaces/{place}/{plural}"
        texts += [json.dumps(each.get("status")) for each in operated.cluster.request("GET", path)["items"]]
    events = operated.cluster.request("GET", f"/api/v1/namespaces/{place}/events")["items"]
    return texts + [each["message"] for each in events]


def test_no_text_of_one_namespace_names_another_ones_objects(operated: Operated) -> None:
    for place in (MINE, THEIRS):
        body = {"metadata": {"name": place, "labels": {"markers": "yes"}}}
        operated.cluster.request("POST", "/api/v1/namespaces", body)
    made = [*make(operated, MINE, THEIRS), *make(operated, THEIRS, MINE)]
    for place in (MINE, THEIRS):
        [wide] = [each for each in made if each["metadata"]["name"] == f"{place}-wide"]
        operated.wait_for(wide, "PeersNarrow/StrangersAdmitted")
        expected = "pods of 7 ServiceAccounts that the service does not trust (4 of them in other namespaces)"
        operated.replica.wait_until(
            lambda wide=wide, expected=expected: (
                expected in operated.condition(wide, "PeersNarrow")["message"]
            ),
            expected,
        )
        operated.wait_for_event(wide, "StrangersAdmitted", "Warning", "in other namespaces")
        operated.cluster.delete_service_account(place, f"{place}-app")
        operated.account(place, f"{place}-app")
    operated.settle()
    for place, other in ((MINE, THEIRS), (THEIRS, MINE)):
        texts = texts_of(operated, place)
        assert len(texts) > 8
        assert [text for text in texts if other in text] == []
    path = "/apis/watchword.dev/v1alpha1/clustertrustedissuers"
    issuers = [json.dumps(each.get("status")) for each in operated.cluster.request("GET", path)["items"]]
    issuers += [
        each["message"]
        for each in operated.cluster.request("GET", "/api/v1/namespaces/default/events")["items"]
    ]
    assert [text for text in issuers if MINE in text or THEIRS in text] == []
