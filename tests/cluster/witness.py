# SPDX-License-Identifier: Apache-2.0
"""What the API server was told while a test ran: the witness of what the test's mark claims.

`brings_about` names conditions and Events. A mark that nobody checks goes stale with a rename; so each
version that objects went through is replayed from the API server's own history, and a claim that is not in it
fails the test.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import httpx

from testing.controlplane import Cluster
from testing.controlplane.cluster import ADMINISTRATOR

Object = dict[str, Any]
_GROUP = "/apis/watchword.dev/v1alpha1"
_PATHS = {
    "ClusterTrustedIssuer": f"{_GROUP}/clustertrustedissuers",
    "ProtectedService": f"{_GROUP}/protectedservices",
    "TrustedWorkload": f"{_GROUP}/trustedworkloads",
    "TokenDesk": f"{_GROUP}/tokendesks",
    "DeskClient": f"{_GROUP}/deskclients",
    "AgentProvider": f"{_GROUP}/agentproviders",
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
    since: str

    @classmethod
    def from_now_on(cls, cluster: Cluster) -> Witness:
        """Of what comes, and of nothing that is there already."""
        return cls(cluster, _now(cluster, _PATHS["Event"]))

    def seen(self, claims: Iterable[str]) -> set[str]:
        """Which of these (`Kind/Type/Reason`, `Kind/Event/Reason`) came about since, or soon do."""
        return self._seen(claims, self._replay)

    def seen_by_now(self, claims: Iterable[str]) -> set[str]:
        """As `seen`, but nothing that is still to come; the witness goes on from here."""
        now = _now(self.cluster, _PATHS["Event"])
        found = self._seen(claims, lambda path: self._replay_until(path, int(now)))
        self.since = now
        return found

    def _seen(self, claims: Iterable[str], history: Callable[[str], Iterator[Object]]) -> set[str]:
        by_kind: dict[str, set[str]] = {}
        for claim in claims:
            by_kind.setdefault(_told_by(claim), set()).add(claim)

        def seen_of(kind: str) -> set[str]:
            wanted, found = by_kind[kind], set[str]()
            for notice in history(_PATHS[kind]):
                if notice["type"] != "BOOKMARK":
                    found |= wanted.intersection(said_by(notice["object"], kind))
                    if wanted <= found:
                        break
            return found

        if not by_kind:
            return set()
        with ThreadPoolExecutor(len(by_kind)) as pool:
            return set[str]().union(*pool.map(seen_of, by_kind))

    def _replay_until(self, path: str, now: int) -> Iterator[Object]:
        """What is told within three seconds; less where a bookmark says that the watch came to now."""
        for notice in self._replay(path, seconds=3):
            yield notice
            if notice["type"] == "BOOKMARK" and int(notice["object"]["metadata"]["resourceVersion"]) >= now:
                return

    def _replay(self, path: str, seconds: int = _REPLAY_SECONDS) -> Iterator[Object]:
        """Every version of the objects of a kind since, and what comes within the seconds; bookmarks too."""
        query = {
            "watch": "1",
            "resourceVersion": self.since,
            "timeoutSeconds": str(seconds),
            "allowWatchBookmarks": "true",
        }
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
                yield notice


def _now(cluster: Cluster, path: str) -> str:
    listed = cluster.request("GET", path, parameters={"limit": "1"})
    version: str = listed["metadata"]["resourceVersion"]
    return version


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
