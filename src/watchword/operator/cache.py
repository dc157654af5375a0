# SPDX-License-Identifier: Apache-2.0
"""The cluster in memory: our kinds, Namespaces and ServiceAccounts, with the indices that a reconcile
needs. No list call is ever made for an event, and an event touches what depends on it and nothing else.

Objects come in any order, twice, and late: a version that is older than what is known, or an object whose UID
was deleted, changes nothing. Of each object only what decides something is kept: its spec within bounds, the
version of it that was understood last, and its status. What the TrustedWorkloads of one namespace may take is
bounded: who may create them could otherwise fill the memory, and so stop every other namespace's edits.
"""

from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import msgspec

from watchword.kube.names import NamespacedName, ObjectKey
from watchword.kube.watch.messages import ObjectMeta, Part, version_number, version_of
from watchword.trust.api.v1alpha1 import (
    API_VERSION,
    ClusterTrustedIssuer,
    ProtectedService,
    Resource,
    TrustedWorkload,
)
from watchword.trust.api.v1alpha1.status import (
    AgentProviderStatus,
    DeskClientStatus,
    DeskStatus,
    IssuerStatus,
    ServiceStatus,
    WorkloadStatus,
)
from watchword.trust.audience import folded_audience
from watchword.trust.conditions import (
    CLIENT,
    DESK,
    ISSUER,
    PROVIDER,
    SERVICE,
    WORKLOAD,
    ConditionType,
    Verdict,
)
from watchword.trust.problems import Problem, ProblemReason
from watchword.trust.version_skew import narrowed, read_any_release

Status = IssuerStatus | ServiceStatus | WorkloadStatus | DeskStatus | DeskClientStatus | AgentProviderStatus
STATUS_TYPES: Final[Mapping[str, type[Status]]] = {
    ISSUER: IssuerStatus,
    SERVICE: ServiceStatus,
    WORKLOAD: WorkloadStatus,
    DESK: DeskStatus,
    CLIENT: DeskClientStatus,
    PROVIDER: AgentProviderStatus,
}
# Beyond what the CRDs allow: stored under older ones, or around them. Issuers are the admins'.
MAX_SPEC_BYTES: Final[Mapping[str, int]] = {
    ISSUER: 2 * 1024 * 1024,
    SERVICE: 512 * 1024,
    WORKLOAD: 192 * 1024,
    DESK: 64 * 1024,
    CLIENT: 192 * 1024,
    PROVIDER: 512 * 1024,
}
# A status that the operator wrote is smaller; a larger one is another writer's, and counts as none.
MAX_STATUS_BYTES: Final = 512 * 1024
# More than a bundle can hold of usual objects; a namespace with more is split, or the flag is raised.
DEFAULT_MAX_WORKLOADS: Final = 20_000
DEFAULT_MAX_BYTES: Final = 8 * 1024 * 1024
# Deleted UIDs and ServiceAccounts that are remembered: what was read may come after what was watched.
_REMEMBERED: Final = 65_536
_CLUSTER: Final = "kube-system"
_CONDITIONS: Final = frozenset(ConditionType)
_NULL: Final = msgspec.Raw(b"null")


class ReceivedMeta(ObjectMeta, frozen=True, gc=False):
    """The metadata that decides something."""

    generation: int = 0
    creation_timestamp: str | None = None


class ReceivedObject(Part, frozen=True, gc=False):
    """An object, its spec and status still as the bytes that came; they are not to be kept."""

    metadata: ReceivedMeta
    spec: msgspec.Raw = _NULL
    status: msgspec.Raw = _NULL


class _NamesService(Part, frozen=True):
    class Ref(Part, frozen=True):
        """The service that a TrustedWorkload names."""

        name: str = ""

    service_ref: Ref = Ref()


_names_service: Final = msgspec.json.Decoder(_NamesService)
_one: Final = msgspec.json.Decoder(ReceivedObject)


def received_from(document: Mapping[str, Any]) -> ReceivedObject:
    """The same of an object that was read whole."""
    return _one.decode(msgspec.json.encode(document))


def document_of(kind: str, received: ReceivedObject, *, with_spec: bool) -> dict[str, Any]:
    """The object as the compiler reads it, without what decides nothing.

    Args:
        kind: its kind.
        received: as it arrived.
        with_spec: False: what it says does not count, and is not decoded.
    """
    metadata = received.metadata
    named: dict[str, Any] = {
        "name": metadata.name,
        "uid": metadata.uid,
        "resourceVersion": metadata.resource_version,
        "generation": metadata.generation,
    }
    if metadata.namespace:
        named["namespace"] = metadata.namespace
    if metadata.creation_timestamp is not None:
        named["creationTimestamp"] = metadata.creation_timestamp
    document: dict[str, Any] = {"apiVersion": API_VERSION, "kind": kind, "metadata": named}
    if with_spec:
        document["spec"] = msgspec.json.decode(received.spec)
    status = bytes(received.status)
    if status != b"null" and len(status) <= MAX_STATUS_BYTES:
        document["status"] = msgspec.json.decode(received.status)
    return document


def spec_bytes(received: ReceivedObject) -> int:
    """How many bytes its spec has."""
    return len(bytes(received.spec))


def service_named(received: ReceivedObject) -> str:
    """The service that a TrustedWorkload names, without reading the rest; empty where that cannot be told."""
    try:
        return _names_service.decode(received.spec).service_ref.name
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return ""


class BudgetLimits(msgspec.Struct, frozen=True):
    """What the TrustedWorkloads of one namespace may come to.

    Attributes:
        workloads: how many of them are read.
        spec_bytes: how many bytes their `spec`s may have in all, as JSON.
    """

    workloads: int = DEFAULT_MAX_WORKLOADS
    spec_bytes: int = DEFAULT_MAX_BYTES


class Moved(NamedTuple):
    """The names of other objects that came within the budget, and of those that fell out of it."""

    entered: tuple[str, ...] = ()
    left: tuple[str, ...] = ()


class NamespaceBudget:
    """The TrustedWorkloads of one namespace, in the order of their creationTimestamps and then their names.

    Within the budget is the longest run from the oldest on that fits it. So a deletion only ever lets others
    in, and an object is put out only by an older one. Each change costs about what it changes.
    """

    def __init__(self, limits: BudgetLimits) -> None:
        """Start empty."""
        self._limits = limits
        self._order: list[tuple[str, str]] = []
        self._sizes: dict[str, tuple[str, int]] = {}
        self._within, self._bytes_within = 0, 0

    def put(self, name: str, created: str, size: int) -> Moved:
        """Take an object as it is now.

        Args:
            name: its name.
            created: its creationTimestamp, RFC 3339 in UTC as an API server writes it.
            size: bytes of its spec.
        """
        if self._sizes.get(name) == (created, size):
            return Moved()
        self._take_out(name)
        key = (created, name)
        place = bisect_left(self._order, key)
        self._order.insert(place, key)
        self._sizes[name] = (created, size)
        if place < self._within:
            self._within += 1
            self._bytes_within += size
        return self._settle(name)

    def drop(self, name: str) -> Moved:
        """Take it that an object is gone."""
        self._take_out(name)
        return self._settle(name)

    def is_within(self, name: str) -> bool:
        """Whether an object is there, and within the budget."""
        known = self._sizes.get(name)
        return known is not None and bisect_left(self._order, (known[0], name)) < self._within

    @property
    def over(self) -> int:
        """How many objects are over the budget."""
        return len(self._order) - self._within

    def __len__(self) -> int:
        return len(self._order)

    def _take_out(self, name: str) -> None:
        known = self._sizes.pop(name, None)
        if known is None:
            return
        place = bisect_left(self._order, (known[0], name))
        del self._order[place]
        if place < self._within:
            self._within -= 1
            self._bytes_within -= known[1]

    def _settle(self, changed: str) -> Moved:
        left: list[str] = []
        entered: list[str] = []
        while self._within and not self._fits(self._within, self._bytes_within):
            self._within -= 1
            name = self._order[self._within][1]
            self._bytes_within -= self._sizes[name][1]
            left.append(name)
        while self._within < len(self._order):
            name = self._order[self._within][1]
            size = self._sizes[name][1]
            if not self._fits(self._within + 1, self._bytes_within + size):
                break
            self._within += 1
            self._bytes_within += size
            entered.append(name)
        return Moved(
            tuple(each for each in entered if each != changed),
            tuple(each for each in left if each != changed),
        )

    def _fits(self, workloads: int, spec_bytes: int) -> bool:
        return workloads <= self._limits.workloads and spec_bytes <= self._limits.spec_bytes


@dataclass(slots=True)
class Entry:
    """One object of our kinds.

    Attributes:
        key: its kind, namespace and name.
        uid: of this object and no other.
        version: the resourceVersion of the newest version that was read.
        generation: its metadata.generation.
        created: its metadata.creationTimestamp.
        resource: the version that counts: the newest, or the last that was understood; None: none.
        problems: what is wrong with the newest version.
        remainder: the newest version without the fields that this release does not know; of a service that
            is wrong, without what is wrong. None: nothing of the kind is in it.
        is_newer: the newest version has fields that this release does not know, and is right otherwise.
        status: what its status says, in conditions of ours.
        held: of an issuer, `status.keys` as it stands there, whatever it is.
        names_service: of a TrustedWorkload whose spec is not read, the service that it names.
        is_over_budget: its spec is not read, since its namespace has more than is read of one.
    """

    key: ObjectKey
    uid: str
    version: int
    generation: int
    resource: Resource | None
    problems: tuple[Problem, ...] = ()
    remainder: Resource | None = None
    is_newer: bool = False
    status: Status = field(default_factory=WorkloadStatus)
    held: object = None
    names_service: str = ""
    is_over_budget: bool = False

    @property
    def is_unread(self) -> bool:
        """Whether the newest version is not understood, but a part of it, and no version of it ever was."""
        return self.remainder is not None and self.resource is None

    @property
    def service(self) -> NamespacedName | None:
        """The service that it is about; None where that is nothing or not known."""
        kind, namespace, name = self.key
        if kind == SERVICE:
            return NamespacedName(namespace, name)
        resource = self.resource or self.remainder
        if isinstance(resource, TrustedWorkload):
            return NamespacedName(namespace, resource.spec.service_ref.name)
        return NamespacedName(namespace, self.names_service) if self.names_service else None


def read_entry(kind: str, document: Mapping[str, Any], before: Entry | None) -> Entry | None:
    """Read an object as a watch gives it. Never raises for a bad one.

    Args:
        kind: the kind that was watched.
        document: the object.
        before: the entry of the same name until now.

    Returns:
        The entry; None for what has no name or UID, and so is no object.
    """
    metadata = document.get("metadata")
    if not isinstance(metadata, dict):
        return None
    name, uid = metadata.get("name"), metadata.get("uid")
    namespace = metadata.get("namespace") or ""
    if not all(isinstance(text, str) for text in (name, uid, namespace)) or not name or not uid:
        return None
    reading = read_any_release(document)
    resource = reading.resource
    same = before if before is not None and before.uid == uid else None
    understood = same.resource if same else None
    if resource is None and reading.remainder is not None and understood is not None:
        resource = narrowed(understood, reading.remainder)
    elif resource is None and kind == SERVICE:
        # Its bundle stays anyway: then it must at least change with its workloads.
        resource = understood
    generation, status = metadata.get("generation"), document.get("status")
    return Entry(
        key=ObjectKey(kind, namespace, str(name)),
        uid=str(uid),
        version=version_of(metadata),
        generation=generation if isinstance(generation, int) else 0,
        resource=resource,
        problems=reading.problems,
        remainder=reading.remainder,
        is_newer=reading.is_newer,
        status=read_status(kind, status),
        # Also what cannot be read: an issuer with a past must not pass for a new one.
        held=status.get("keys") if kind == ISSUER and isinstance(status, dict) else None,
    )


def unread_entry(
    kind: str, document: Mapping[str, Any], before: Entry | None, problem: Problem, *, service: str
) -> Entry | None:
    """The entry of an object whose spec is not read, and counts for nothing; None: no object.

    Args:
        kind: the kind that was watched.
        document: the object without its spec.
        before: the entry of the same name until now.
        problem: why it is not read.
        service: of a TrustedWorkload, the service that it names; empty where that cannot be told.
    """
    metadata = document["metadata"]
    name, uid, namespace = metadata["name"], metadata["uid"], metadata.get("namespace", "")
    if not name or not uid:
        return None
    same = before if before is not None and before.uid == uid else None
    status = document.get("status")
    return Entry(
        key=ObjectKey(kind, namespace, name),
        uid=uid,
        version=version_of(metadata),
        generation=metadata.get("generation", 0),
        # A service's bundle stays anyway, and follows what becomes of its workloads; no workload stays in.
        resource=same.resource if same is not None and kind in (ISSUER, SERVICE) else None,
        problems=(problem,),
        status=read_status(kind, status),
        held=status.get("keys") if kind == ISSUER and isinstance(status, dict) else None,
        names_service=service,
        is_over_budget=problem.reason is ProblemReason.NAMESPACE_BUDGET_EXCEEDED,
    )


def read_status(kind: str, document: object) -> Status:
    """An object's status, without conditions that others add; an empty one where it cannot be read."""
    expected = STATUS_TYPES[kind]
    try:
        status = msgspec.convert(document if document is not None else {}, expected)
    except (msgspec.ValidationError, RecursionError):
        return expected()
    ours = tuple(each for each in status.conditions if each.type in _CONDITIONS)
    return status if len(ours) == len(status.conditions) else msgspec.structs.replace(status, conditions=ours)


class Effects(msgspec.Struct, frozen=True):
    """What a change makes necessary.

    Attributes:
        services: services to compile again.
        issuers: issuers to judge again.
        statuses: objects whose status may be wrong now, though nothing else is.
        to_read: TrustedWorkloads that are within their namespace's budget again, and have to be read.
        replaced: ServiceAccounts that were deleted and created again, with another UID.
        desks: whether the desks have to be judged again.
    """

    services: frozenset[NamespacedName] = frozenset()
    issuers: frozenset[str] = frozenset()
    statuses: frozenset[ObjectKey] = frozenset()
    to_read: frozenset[ObjectKey] = frozenset()
    replaced: frozenset[NamespacedName] = frozenset()
    desks: bool = False

    def __bool__(self) -> bool:
        return bool(
            self.services or self.issuers or self.statuses or self.to_read or self.replaced or self.desks
        )

    def __or__(self, other: "Effects") -> "Effects":
        return Effects(
            self.services | other.services,
            self.issuers | other.issuers,
            self.statuses | other.statuses,
            self.to_read | other.to_read,
            self.replaced | other.replaced,
            self.desks or other.desks,
        )


NOTHING: Final = Effects()


class _Namespace(NamedTuple):
    uid: str
    version: int
    labels: Mapping[str, str]


class Cache:
    """What is known of the cluster. Everything returned is as of now; nothing here waits or writes."""

    def __init__(self, limits: BudgetLimits | None = None) -> None:
        """Start empty, with what the TrustedWorkloads of one namespace may come to."""
        self._limits = limits or BudgetLimits()
        self._budgets: dict[str, NamespaceBudget] = {}
        self._entries: dict[str, dict[NamespacedName, Entry]] = {kind: {} for kind in STATUS_TYPES}
        self._workloads_of: dict[NamespacedName, set[str]] = {}
        self._services_in: dict[str, set[str]] = {}
        self._workloads_for: dict[NamespacedName, set[NamespacedName]] = {}
        self._workloads_naming: dict[str, set[NamespacedName]] = {}
        self._services_naming_desk: dict[str, set[NamespacedName]] = {}
        self._namespaces: dict[str, _Namespace] = {}
        # Folded audience: namespace: the services there that declare it.
        self._declaring: dict[str, dict[str, set[str]]] = {}
        self._accounts: dict[NamespacedName, str] = {}
        # Of ServiceAccounts that are gone and that a workload names.
        self._former_uids: OrderedDict[NamespacedName, str] = OrderedDict()
        self._gone: OrderedDict[str, None] = OrderedDict()

    # What there is.

    def entry(self, kind: str, namespace: str, name: str) -> Entry | None:
        """An object of our kinds."""
        return self._entries[kind].get(NamespacedName(namespace, name))

    def entries(self, kind: str) -> list[Entry]:
        """All objects of a kind."""
        return list(self._entries[kind].values())

    def service(self, name: NamespacedName) -> ProtectedService | None:
        """The service that counts; None: there is none, or none that can be read."""
        entry = self._entries[SERVICE].get(name)
        resource = entry.resource if entry else None
        return resource if isinstance(resource, ProtectedService) else None

    def issuer(self, name: str) -> ClusterTrustedIssuer | None:
        """The issuer that counts."""
        entry = self._entries[ISSUER].get(NamespacedName("", name))
        resource = entry.resource if entry else None
        return resource if isinstance(resource, ClusterTrustedIssuer) else None

    def workloads_of(self, service: NamespacedName) -> list[Entry]:
        """The workloads that name a service, whether it is there or not."""
        names = self._workloads_of.get(service, ())
        workloads = self._entries[WORKLOAD]
        return [workloads[NamespacedName(service.namespace, name)] for name in names]

    def services_naming(self, issuer: str) -> set[NamespacedName]:
        """The services of all workloads that name an issuer."""
        return set(self._services_of(self._workloads_naming.get(issuer, ())))

    def services_naming_desk(self, desk: str) -> list[NamespacedName]:
        """The services that name a TokenDesk, whether it is there or not."""
        return sorted(self._services_naming_desk.get(desk, ()))

    def services(self) -> list[NamespacedName]:
        """Every service that is there, or that a workload names."""
        return sorted(self._entries[SERVICE].keys() | self._workloads_of.keys())

    def services_in(self, namespace: str) -> list[Entry]:
        """The services of a namespace."""
        names = self._services_in.get(namespace, ())
        return [self._entries[SERVICE][NamespacedName(namespace, name)] for name in names]

    def labels_of(self, namespace: str) -> Mapping[str, str]:
        """A Namespace's labels."""
        known = self._namespaces.get(namespace)
        return {} if known is None else known.labels

    @property
    def cluster_id(self) -> str:
        """The UID of the `kube-system` Namespace, which cannot be deleted; empty: not read yet."""
        known = self._namespaces.get(_CLUSTER)
        return "" if known is None else known.uid

    def services_declaring(self, audience: str) -> set[NamespacedName]:
        """The services that declare an audience, whatever the case of its letters."""
        return {
            NamespacedName(namespace, name)
            for namespace, names in self._declaring.get(folded_audience(audience), {}).items()
            for name in names
        }

    def services_not_understood(self) -> set[NamespacedName]:
        """The services that say more than this release knows: of these, what was published may stand."""
        return {name for name, entry in self._entries[SERVICE].items() if entry.remainder is not None}

    def shares_audience(self, service: NamespacedName) -> bool:
        """Whether a service of another namespace declares an audience that this one declares."""
        entry = self._entries[SERVICE].get(service)
        return entry is not None and any(
            len(self._declaring.get(each, ())) > 1 for each in _audiences_of(entry)
        )

    def live_uids(self, workloads: Iterable[TrustedWorkload]) -> dict[tuple[str, str], str]:
        """UIDs of workloads' ServiceAccounts as of this cluster; the empty text for one that is not there."""
        accounts = (each.spec.service_account for each in workloads)
        names = (NamespacedName(account.namespace, account.name) for account in accounts)
        return {name: self._accounts.get(name, "") for name in names}

    def count(self, kind: str) -> int:
        """How many objects there are of one of our kinds; from any thread."""
        return len(self._entries[kind])

    # What changes.

    def _knows(self, kind: str, received: ReceivedObject) -> bool:
        """Whether a version of an object, or a later one, was taken, or the object is known to be gone."""
        metadata = received.metadata
        if metadata.uid in self._gone:
            return True
        entry = self._entries[kind].get(NamespacedName(metadata.namespace, metadata.name))
        version = version_number(metadata.resource_version)
        return entry is not None and entry.uid == metadata.uid and 0 < version <= entry.version

    def over_budget(self) -> int:
        """How many TrustedWorkloads are over the budget of their namespace; from any thread."""
        return sum(each.over for each in list(self._budgets.values()))

    def take_received(self, kind: str, received: ReceivedObject) -> Effects:
        """Take an object as it arrived, read as far as it counts.

        Args:
            kind: its kind.
            received: the object. One that was left unread in this very version is read now, if it is within
                its namespace's budget by now.
        """
        metadata = received.metadata
        place = NamespacedName(metadata.namespace, metadata.name)
        before = self._entries[kind].get(place)
        again = before is not None and before.uid == metadata.uid and self._is_to_be_read(before)
        is_older = before is not None and version_number(metadata.resource_version) < before.version
        if is_older or (self._knows(kind, received) and not again):
            return NOTHING
        size, moved, problem = spec_bytes(received), NOTHING, None
        if size > MAX_SPEC_BYTES[kind]:
            problem = _problem_of_size(kind, place, size)
            moved = self._drop_from_budget(place) if kind == WORKLOAD else NOTHING
        elif kind == WORKLOAD:
            moved = self._put_into_budget(place, metadata.creation_timestamp or "", size)
            if not self._budgets[place.namespace].is_within(place.name):
                problem = _problem_of_budget(place)
        document = document_of(kind, received, with_spec=problem is None)
        if problem is None:
            return moved | self._take(kind, read_entry(kind, document, before), before, again=again)
        named = service_named(received) if kind == WORKLOAD else ""
        entry = unread_entry(kind, document, before, problem, service=named)
        effects = self._take(kind, entry, before)
        return (
            moved | effects | Effects(statuses=frozenset({entry.key}) if entry is not None else frozenset())
        )

    def _take(self, kind: str, entry: Entry | None, before: Entry | None, *, again: bool = False) -> Effects:
        if entry is None or entry.uid in self._gone:
            return NOTHING
        if before is not None and 0 < entry.version <= before.version and not again:
            return NOTHING
        place = entry.key.namespaced
        if before is not None and before.resource == entry.resource:
            # One object in memory, and the same one wherever it is asked whether something changed.
            entry.resource = before.resource
        sharing = self._sharing(before, entry)
        self._unlink(before)
        self._entries[kind][place] = entry
        self._link(entry)
        touched = self._touched_by(sharing)
        if before is not None and before.uid == entry.uid and _is_same(before, entry):
            # Only its status was written: by us, or by another writer, which does not count there.
            return NOTHING if before.status == entry.status else Effects(statuses=frozenset({entry.key}))
        return self._effects_of(before, entry, touched)

    def remove(self, kind: str, namespace: str, name: str, uid: str) -> Effects:
        """Take it that an object of our kinds, or a Namespace, is gone for good."""
        self._gone[uid] = None
        if len(self._gone) > _REMEMBERED:
            self._gone.popitem(last=False)
        if kind == "Namespace":
            known = self._namespaces.get(name)
            if known is None or known.uid != uid:
                return NOTHING
            del self._namespaces[name]
            return Effects(services=self._names_in(name)) if known.labels else NOTHING
        before = self._entries[kind].get(NamespacedName(namespace, name))
        if before is None or before.uid != uid:
            return NOTHING
        sharing = self._sharing(before, None)
        self._unlink(before)
        del self._entries[kind][before.key.namespaced]
        moved = self._drop_from_budget(before.key.namespaced) if kind == WORKLOAD else NOTHING
        return moved | self._effects_of(before, None, self._touched_by(sharing))

    def take_namespace(self, name: str, uid: str, labels: Mapping[str, str], version: int = 0) -> Effects:
        """Take a Namespace's labels, as of a resourceVersion."""
        before = self._namespaces.get(name)
        if uid in self._gone or (before is not None and 0 < version <= before.version):
            return NOTHING
        self._namespaces[name] = _Namespace(uid, version, dict(labels))
        if name == _CLUSTER and (before is None or before.uid != uid):
            # Every service's audience has it in it.
            return Effects(services=frozenset(self._entries[SERVICE]))
        if before is not None and before.labels == labels:
            return NOTHING
        return Effects(services=self._names_in(name))

    def take_account(self, account: NamespacedName, uid: str) -> Effects:
        """Take it that a ServiceAccount of this cluster is there; an empty UID: that it is gone."""
        before = self._accounts.get(account, "")
        if before == uid:
            return NOTHING
        services = frozenset(self._services_of(self._workloads_for.get(account, ())))
        former, replaced = before or self._former_uids.pop(account, ""), frozenset[NamespacedName]()
        if uid:
            self._accounts[account] = uid
            replaced = frozenset({account}) if former else replaced
        else:
            del self._accounts[account]
            if services:
                self._former_uids[account] = before
                if len(self._former_uids) > _REMEMBERED:
                    self._former_uids.popitem(last=False)
        return Effects(services=services, replaced=replaced if former != uid else frozenset())

    def remove_account(self, account: NamespacedName, uid: str) -> Effects:
        """Take it that the ServiceAccount with this UID is gone."""
        return self.take_account(account, "") if self._accounts.get(account) == uid else NOTHING

    def workloads_for(self, account: NamespacedName) -> list[Entry]:
        """The workloads that name a ServiceAccount, of whichever cluster."""
        names = self._workloads_for.get(account, ())
        return [self._entries[WORKLOAD][name] for name in names]

    def wrote_status(self, key: ObjectKey, uid: str, version: int, status: Any) -> None:
        """Take what a write of ours made of an object's status."""
        entry = self.entry(*key)
        if entry is not None and entry.uid == uid and entry.version <= version:
            entry.status = status
            # Not `version`: the same write may have met a newer spec, which the watch still has to bring.

    def _is_to_be_read(self, entry: Entry) -> bool:
        """Whether an object was left unread for its namespace's budget, and is within it by now."""
        budget = self._budgets.get(entry.key.namespace)
        return entry.is_over_budget and budget is not None and budget.is_within(entry.key.name)

    def _put_into_budget(self, place: NamespacedName, created: str, size: int) -> Effects:
        budget = self._budgets.get(place.namespace)
        if budget is None:
            budget = self._budgets[place.namespace] = NamespaceBudget(self._limits)
        return self._effects_of_budget(place.namespace, budget.put(place.name, created, size))

    def _drop_from_budget(self, place: NamespacedName) -> Effects:
        budget = self._budgets.get(place.namespace)
        if budget is None:
            return NOTHING
        moved = budget.drop(place.name)
        if not len(budget):
            del self._budgets[place.namespace]
        return self._effects_of_budget(place.namespace, moved)

    def _effects_of_budget(self, namespace: str, moved: Moved) -> Effects:
        """Let go of what fell out of the budget; what came within it has to be read."""
        services, statuses = set(), set()
        for name in moved.left:
            entry = self._entries[WORKLOAD].get(NamespacedName(namespace, name))
            if entry is None:
                continue
            service = entry.service
            self._unlink(entry)
            entry.resource, entry.remainder, entry.is_newer = None, None, False
            entry.problems, entry.is_over_budget = (_problem_of_budget(entry.key.namespaced),), True
            entry.names_service = service.name if service is not None else ""
            self._link(entry)
            statuses.add(entry.key)
            if service is not None:
                services.add(service)
        to_read = frozenset(ObjectKey(WORKLOAD, namespace, name) for name in moved.entered)
        return Effects(frozenset(services), statuses=frozenset(statuses), to_read=to_read)

    def _sharing(self, before: Entry | None, after: Entry | None) -> dict[str, bool]:
        """Which audiences of the two versions more than one namespace declares now."""
        audiences = _audiences_of(before) ^ _audiences_of(after)
        return {each: len(self._declaring.get(each, ())) > 1 for each in audiences}

    def _touched_by(self, sharing: Mapping[str, bool]) -> frozenset[ObjectKey]:
        """The services of which it changed whether they share an audience."""
        return frozenset(
            ObjectKey(SERVICE, *name)
            for audience, was_shared in sharing.items()
            if (len(self._declaring.get(audience, ())) > 1) != was_shared
            for name in self.services_declaring(audience)
        )

    def _effects_of(
        self, before: Entry | None, after: Entry | None, touched: frozenset[ObjectKey] = frozenset()
    ) -> Effects:
        entries = [entry for entry in (before, after) if entry is not None]
        kind, namespace, name = entries[0].key
        if kind == ISSUER:
            return Effects(issuers=frozenset({name}))
        if kind in (DESK, CLIENT, PROVIDER):
            return Effects(desks=True)
        services = frozenset(entry.service for entry in entries if entry.service is not None)
        if kind == SERVICE and _policy_of(before) != _policy_of(after):
            # What two services on the same pods do to each other depends on both.
            services |= self._names_in(namespace)
        unread = after is not None and after.service is None
        return Effects(services=services, statuses=touched | ({entries[0].key} if unread else set()))

    def _names_in(self, namespace: str) -> frozenset[NamespacedName]:
        return frozenset(NamespacedName(namespace, name) for name in self._services_in.get(namespace, ()))

    def _services_of(self, workloads: Iterable[NamespacedName]) -> Iterator[NamespacedName]:
        for name in workloads:
            service = self._entries[WORKLOAD][name].service
            if service is not None:
                yield service

    def _link(self, entry: Entry) -> None:
        kind, namespace, name = entry.key
        if kind == SERVICE:
            self._services_in.setdefault(namespace, set()).add(name)
            for audience in _audiences_of(entry):
                self._declaring.setdefault(audience, {}).setdefault(namespace, set()).add(name)
            if desk := _desk_named_by(entry):
                self._services_naming_desk.setdefault(desk, set()).add(entry.key.namespaced)
        resource, service = entry.resource or entry.remainder, entry.service
        if kind == WORKLOAD and service is not None:
            # Also one whose spec is not read: its status depends on what gates read.
            self._workloads_of.setdefault(service, set()).add(name)
        if isinstance(resource, TrustedWorkload) and service is not None:
            account = resource.spec.service_account
            workload = entry.key.namespaced
            self._workloads_for.setdefault(NamespacedName(account.namespace, account.name), set()).add(
                workload
            )
            self._workloads_naming.setdefault(resource.spec.issuer_ref.name, set()).add(workload)

    def _unlink(self, entry: Entry | None) -> None:
        if entry is None:
            return
        kind, namespace, name = entry.key
        if kind == SERVICE:
            _discard(self._services_in, namespace, name)
            for audience in _audiences_of(entry):
                _discard(self._declaring[audience], namespace, name)
                if not self._declaring[audience]:
                    del self._declaring[audience]
            if desk := _desk_named_by(entry):
                _discard(self._services_naming_desk, desk, entry.key.namespaced)
        resource, service = entry.resource or entry.remainder, entry.service
        if kind == WORKLOAD and service is not None:
            _discard(self._workloads_of, service, name)
        if isinstance(resource, TrustedWorkload) and service is not None:
            account = resource.spec.service_account
            _discard(self._workloads_for, (account.namespace, account.name), (namespace, name))
            _discard(self._workloads_naming, resource.spec.issuer_ref.name, (namespace, name))


def _problem_of_budget(place: NamespacedName) -> Problem:
    verdict = Verdict.NAMESPACE_BUDGET_EXCEEDED
    reason = ProblemReason.NAMESPACE_BUDGET_EXCEEDED
    return Problem(WORKLOAD, *place, "", reason, verdict.meaning, verdict.remedy)


def _problem_of_size(kind: str, place: NamespacedName, size: int) -> Problem:
    detail = f"it has {size} bytes, and at most {MAX_SPEC_BYTES[kind]} are read"
    remedy = "shorten it; under the CRDs of this release no object is so large"
    return Problem(kind, *place, "spec", ProblemReason.INVALID_FIELD, detail, remedy)


def _is_same(before: Entry, after: Entry) -> bool:
    return (before.generation, before.resource, before.problems) == (
        after.generation,
        after.resource,
        after.problems,
    )


def _audiences_of(entry: Entry | None) -> frozenset[str]:
    """The audiences that a service declares, folded; none for any other object."""
    resource = (entry.resource or entry.remainder) if entry is not None else None
    if not isinstance(resource, ProtectedService):
        return frozenset()
    return frozenset(map(folded_audience, resource.spec.audiences))


def _desk_named_by(entry: Entry) -> str:
    """The TokenDesk that a service names; empty: none."""
    resource = entry.resource or entry.remainder
    reference = resource.spec.token_desk_ref if isinstance(resource, ProtectedService) else None
    return "" if reference is None else reference.name


def _policy_of(entry: Entry | None) -> object:
    resource = entry.resource if entry else None
    if not isinstance(resource, ProtectedService):
        return None
    spec = resource.spec
    return spec.selector, spec.port, spec.upstream_port, spec.network_policy.mode


def _discard(index: dict[Any, set[Any]], key: Any, member: Any) -> None:
    members = index.get(key)
    if members is not None:
        members.discard(member)
        if not members:
            del index[key]
