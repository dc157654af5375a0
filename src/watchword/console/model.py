# SPDX-License-Identifier: Apache-2.0
"""What the pages show, as values: objects with what is said of them, and what could not be read.

The same values come from a cluster and from a folder of manifests; pages never know which it was.
"""

from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec

from watchword.kube.names import NamespacedName
from watchword.trust import ClusterTrustedIssuer, ProtectedService, TrustedWorkload
from watchword.trust.api.v1alpha1 import AgentProvider, DeskClient, Resource, TokenDesk
from watchword.trust.key_rotation.held_keys import HeldKey

Tone = Literal["good", "warn", "bad", "plain"]
# Someone wanted it so, or it is said by Ready as well: no reason to look at an object.
_ASKED_FOR: Final = frozenset({"Off", "Previewed", "KeysRetiring", "Suspended", "AudienceShared"})


class Condition(msgspec.Struct, frozen=True):
    """One condition of an object's status."""

    type: str
    status: str
    reason: str
    message: str
    since: str

    @property
    def tone(self) -> Tone:
        """How it looks: bad where something is not as it should be."""
        if self.status == "True":
            return "good"
        if self.reason in _ASKED_FOR:
            return "plain"
        return "bad" if self.status == "False" else "warn"


class State(msgspec.Struct, frozen=True):
    """One word for how something is, and a sentence that explains it.

    Attributes:
        word: the word.
        tone: how it looks.
        detail: why, and what would help; empty: the word says it all.
    """

    word: str
    tone: Tone
    detail: str = ""


class Gap(msgspec.Struct, frozen=True):
    """Something that could not be read.

    Attributes:
        what: what is missing on the page.
        why: what the reader, or the cluster, lacks.
        remedy: what would help.
        kind: of which objects there may be more than are shown; `*`: of any; empty: of none.
    """

    what: str
    why: str
    remedy: str
    kind: str = ""


class Item(msgspec.Struct, frozen=True):
    """One object with what is said of it.

    Attributes:
        kind: of the object.
        name: its namespace (empty for issuers) and name.
        resource: its fields; None where they are not valid, for which `problems` has the reasons.
        problems: what is wrong with it, a sentence each.
        conditions: of its status.
        status: the rest of the status, as it was read.
        is_seen: whether an operator has spoken of its present generation. None: no operator was asked.
        source: the file that it came from; empty: from a cluster.
    """

    kind: str
    name: NamespacedName
    resource: Resource | None
    problems: tuple[str, ...] = ()
    conditions: tuple[Condition, ...] = ()
    status: Mapping[str, Any] = {}
    is_seen: bool | None = None
    source: str = ""

    @property
    def state(self) -> State:
        """How it is, by the operator's own word where there is one."""
        if self.problems:
            return State("Problem", "bad", " ".join(self.problems))
        if self.is_seen is None:
            return State("Declared", "plain", "As the file says; no cluster was asked.")
        ready = next((each for each in self.conditions if each.type == "Ready"), None)
        if ready is None:
            return State("Not seen yet", "warn", "No operator has said anything of it. See that one leads.")
        if not self.is_seen:
            return State("Edited", "warn", "The operator has not seen the last edit yet.")
        if ready.status == "True":
            return State("Ready", "good")
        return State(ready.reason, ready.tone, ready.message)

    @property
    def service(self) -> ProtectedService | None:
        """The object, where it is a ProtectedService."""
        return self.resource if isinstance(self.resource, ProtectedService) else None

    @property
    def workload(self) -> TrustedWorkload | None:
        """The object, where it is a TrustedWorkload."""
        return self.resource if isinstance(self.resource, TrustedWorkload) else None

    @property
    def issuer(self) -> ClusterTrustedIssuer | None:
        """The object, where it is a ClusterTrustedIssuer."""
        return self.resource if isinstance(self.resource, ClusterTrustedIssuer) else None

    @property
    def desk(self) -> TokenDesk | None:
        """The object, where it is a TokenDesk."""
        return self.resource if isinstance(self.resource, TokenDesk) else None

    @property
    def client(self) -> DeskClient | None:
        """The object, where it is a DeskClient."""
        return self.resource if isinstance(self.resource, DeskClient) else None

    @property
    def provider(self) -> AgentProvider | None:
        """The object, where it is an AgentProvider."""
        return self.resource if isinstance(self.resource, AgentProvider) else None


Items = Mapping[NamespacedName, Item]


class Snapshot(msgspec.Struct, frozen=True):
    """Everything that was read at one time.

    Attributes:
        services: the ProtectedServices, in the order of their names; the others likewise.
        workloads: the TrustedWorkloads.
        issuers: the ClusterTrustedIssuers, under an empty namespace.
        desks: the TokenDesks.
        clients: the DeskClients.
        providers: the AgentProviders.
        gaps: what could not be read.
        read_at: when, in seconds since the epoch.
        seconds: how long it took.
        fingerprint: differs where anything differs.
    """

    services: Items
    workloads: Items
    issuers: Items
    desks: Items
    clients: Items
    providers: Items
    gaps: tuple[Gap, ...]
    read_at: float
    seconds: float
    fingerprint: str

    @property
    def service_names(self) -> list[NamespacedName]:
        """The services that can be asked about: those that are valid."""
        return [name for name, item in self.services.items() if item.service is not None]

    def lacks(self, kind: str) -> bool:
        """Whether there may be objects of a kind that were not read: then none is no answer."""
        return any(each.kind in (kind, "*") for each in self.gaps)

    def workloads_of(self, service: NamespacedName) -> list[Item]:
        """The TrustedWorkloads that name a service; those that are not valid are in no service."""
        return [
            each
            for name, each in self.workloads.items()
            if name.namespace == service.namespace
            and each.workload is not None
            and each.workload.spec.service_ref.name == service.name
        ]


class KeyRow(msgspec.Struct, frozen=True):
    """One key of an issuer, or of a desk.

    Attributes:
        kid: its id.
        thumbprint: RFC 7638.
        algorithm: what it signs with.
        state: Active, Pending, Retiring, Revoked or Approved (before it is served).
        since: when it came into that state, as text; empty: not known.
        tone: how the state looks.
        deadline: until when it should be approved, in seconds since the epoch; None: it has none.
    """

    kid: str
    thumbprint: str
    algorithm: str
    state: str
    since: float | None
    tone: Tone
    deadline: float | None = None

    @classmethod
    def of(cls, key: HeldKey, *, is_revoked: bool, deadline: float | None) -> "KeyRow":
        """The row of a key that the operator holds."""
        if is_revoked:
            return cls(key.kid, key.thumbprint, key.algorithm, "Revoked", key.since, "bad")
        tones: dict[str, Tone] = {"Active": "good", "Pending": "warn", "Retiring": "plain"}
        waits = deadline if key.state == "Pending" else None
        return cls(
            key.kid, key.thumbprint, key.algorithm, key.state, key.since or None, tones[key.state], waits
        )
