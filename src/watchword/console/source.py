# SPDX-License-Identifier: Apache-2.0
"""Where the console reads: one interface, for a cluster and for a folder of manifests."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Protocol

import msgspec

from watchword.console.model import Condition, Gap, Item
from watchword.kube.names import NamespacedName
from watchword.trust import Bundle, Ruleset
from watchword.trust.objects import quoted, read_object

SERVICE: Final = "ProtectedService"
WORKLOAD: Final = "TrustedWorkload"
ISSUER: Final = "ClusterTrustedIssuer"
DESK: Final = "TokenDesk"
CLIENT: Final = "DeskClient"
PROVIDER: Final = "AgentProvider"
PLURALS: Final = {
    SERVICE: "protectedservices",
    WORKLOAD: "trustedworkloads",
    ISSUER: "clustertrustedissuers",
    DESK: "tokendesks",
    CLIENT: "deskclients",
    PROVIDER: "agentproviders",
}


class Refused(msgspec.Struct, frozen=True):
    """One refusal out of a gate's audit log; nothing in it is unproven.

    Attributes:
        at: seconds since the epoch.
        reason: the stable code.
        caller: the TrustedWorkload, else the token's subject; empty: no signature proved one.
        issuer: the ClusterTrustedIssuer; empty: not proven.
        caller_pod: the pod that the token is bound to; empty: not proven.
        detail: a sentence about this case.
        decision_id: what the caller was told.
    """

    at: float
    reason: str
    caller: str
    issuer: str
    caller_pod: str
    detail: str
    decision_id: str


class GateReading(msgspec.Struct, frozen=True):
    """What one gate says.

    Attributes:
        gate: the pod's name, or the URL of its ops port.
        decisions: how many there were since it started, by reason; `allowed` for a yes. None: not readable.
        refused: the newest refusals of its log, oldest first. None: not readable.
    """

    gate: str
    decisions: Mapping[str, int] | None
    refused: Sequence[Refused] | None


class Gates(msgspec.Struct, frozen=True):
    """What the gates of a service say.

    Attributes:
        readings: of those that were asked.
        unasked: how many more there are.
        gaps: what could not be read.
    """

    readings: tuple[GateReading, ...] = ()
    unasked: int = 0
    gaps: tuple[Gap, ...] = ()


class Read(msgspec.Struct, frozen=True):
    """What one reading found.

    Attributes:
        items: the objects by kind.
        gaps: what could not be read.
        fingerprint: differs where anything differs.
    """

    items: Mapping[str, Mapping[NamespacedName, Item]]
    gaps: tuple[Gap, ...]
    fingerprint: str


class Source(Protocol):
    """A place to read from. Each method blocks, and may be called from several threads.

    Attributes:
        title: what is read, in a few words.
        is_cluster: whether a cluster is asked: then its gates can be, and commands change it.
        flags: what commands of kubectl and watchword need to reach the same place.
        folder: the folder that is read; empty: a cluster is.
    """

    title: str
    is_cluster: bool
    flags: tuple[str, ...]
    folder: str

    def read(self) -> Read:
        """Read all objects that may be read.

        Raises:
            UnusableInput: nothing can be read at all.
        """

    def bundle(self, service: NamespacedName) -> Bundle | Gap:
        """The bundle that the gates of a service run on, or why it is not known."""

    def ruleset(self, service: NamespacedName) -> Ruleset | Gap:
        """What a token for a service is judged by, or why it is not known."""

    def gates(self, service: NamespacedName, labels: Mapping[str, str]) -> Gates:
        """What the gates of a service say; `labels` select its pods."""


def item_of(document: Mapping[str, Any], source: str = "") -> Item:
    """An object of a cluster with its status. Never raises for a bad one."""
    read = read_object({name: document[name] for name in document if name != "status"}, source)
    metadata = document.get("metadata")
    named = metadata if isinstance(metadata, dict) else {}
    given = document.get("status")
    status: dict[str, Any] = given if isinstance(given, dict) else {}
    seen, generation = status.get("observedGeneration"), named.get("generation")
    is_seen = isinstance(seen, int) and isinstance(generation, int) and seen >= generation
    return Item(
        quoted(document.get("kind")),
        NamespacedName(quoted(named.get("namespace")), quoted(named.get("name"))),
        read.resource,
        tuple(f"{each.field}: {each.detail}. Remedy: {each.remedy}." for each in read.problems),
        tuple(conditions_of(status.get("conditions"))),
        status,
        is_seen,
        source,
    )


def conditions_of(entries: object) -> Iterable[Condition]:
    """The conditions of a status; what is none is left out."""
    for each in entries if isinstance(entries, list) else ():
        if isinstance(each, dict):
            names = ("type", "status", "reason", "message", "lastTransitionTime")
            kind, status, reason, message, since = (str(each.get(name, "")) for name in names)
            yield Condition(kind, status, reason, message, since)
