# SPDX-License-Identifier: Apache-2.0
"""What the API server was told while a test ran: the witness of what the test's mark claims.

`brings_about` names conditions and Events. A mark that nobody checks goes stale with a rename; so each
version that objects went through is replayed from the API server's own history, and a claim that is not in it
fails the test.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx

from tests.controlplane import Cluster
from tests.controlplane.cluster import ADMINISTRATOR

Object = dict[str, Any]
_GROUP = "/apis/watchword.dev/v1alpha1"
_PATHS = {
    "ClusterTrustedIssuer": f"{_GROUP}/clustertrustedissuers",
    "ProtectedService": f"{_GROUP}/protectedservices",
    "TrustedWorkload": f"{_GROUP}/trustedworkloads",
    "Event": "/api/v1/events",
}
# What was written before the test ended comes at once; so long is waited for what never was.
_REPLAY_SECONDS = 5


def clusters_of(values: Iterable[object]) -> list[Cluster]:
    """The API servers that a test reaches through its fixtures."""
    found: dict[str, Cluster] = {}
    waiting, seen = list(values), set[int]()
    while waiting:
        value = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, Cluster):
            found[value.url] = value
        elif isinstance(value, tuple | list):
            waiting.extend(value)
        elif type(value).__module__.startswith("tests."):
            waiting.extend(getattr(value, "__dict__", {}).values())
    return list(found.values())


@dataclass
class Witness:
    """Of one API server, from a resourceVersion on; 0: of what is now, and of what comes."""

    cluster: Cluster
    _since: str

    @classmethod
    def from_now_on(cls, cluster: Cluster) -> Witness:
        """Of what comes, and of nothing that is there already."""
        listed = cluster.request("GET", _PATHS["Event"], parameters={"limit": "1"})
        return cls(cluster, listed["metadata"]["resourceVersion"])

    def seen(self, claims: Iterable[str]) -> set[str]:
        """Which of these (`Kind/Type/Reason`, `Kind/Event/Reason`) came about since."""
        waited, found = set(claims), set[str]()
        for kind, path in _PATHS.items():
            wanted = {each for each in waited if _told_by(each) == kind}
            if wanted:
                for document in self._history(path):
                    found |= wanted.intersection(said_by(document, kind))
                    if wanted <= found:
                        break
        return found

    def _history(self, path: str) -> Iterator[Object]:
        """Every version of the objects of a kind since; ends when no more come."""
        query = {"watch": "1", "resourceVersion": self._since, "timeoutSeconds": str(_REPLAY_SECONDS)}
        headers = {"Authorization": f"Bearer {self.cluster.bearer(ADMINISTRATOR)}"}
        url = f"{self.cluster.url}{path}"
        trusted = ssl.create_default_context(cafile=self.cluster.authority)
        with (
            httpx.Client(verify=trusted, trust_env=False, timeout=30.0) as client,
            client.stream("GET", url, params=query, headers=headers) as answer,
        ):
            for line in answer.iter_lines():
                notice = json.loads(line)
                assert notice["type"] != "ERROR", f"no history of {path}: {notice['object']}"
                yield notice["object"]


def said_by(document: Object, kind: str) -> Iterator[str]:
    """What one version of an object says, as claims name it."""
    if kind == "Event":
        yield f"{document['involvedObject']['kind']}/Event/{document['reason']}"
        return
    for each in (document.get("status") or {}).get("conditions") or []:
        yield f"{kind}/{each['type']}/{each['reason']}"


def _told_by(claim: str) -> str:
    kind, type_, _ = claim.split("/")
    return "Event" if type_ == "Event" else kind
