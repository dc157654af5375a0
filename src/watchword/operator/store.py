# SPDX-License-Identifier: Apache-2.0
"""The cluster in memory: our three kinds, Namespaces and ServiceAccounts, with the indices that a reconcile
needs. No list call is ever made for an event, and an event touches what depends on it and nothing else.

Objects come and go in any order, twice, and late: a version that is older than what is known, or an object
whose UID was deleted, changes nothing.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

import msgspec

from watchword.operator.entries import Entry, Key, read_entry
from watchword.operator.names import Name
from watchword.trust.conditions import ISSUER, SERVICE, WORKLOAD
from watchword.trust.specs import ClusterTrustedIssuer, ProtectedService, TrustedWorkload

# Deleted UIDs that are remembered: more than one watch can lag behind another.
_REMEMBERED: Final = 65_536
Account = tuple[str, str]


class Effects(msgspec.Struct, frozen=True):
    """What a change makes necessary.

    Attributes:
        services: services to compile anew.
        issuers: issuers to judge anew.
        statuses: objects whose status may be wrong now, though nothing else is.
    """

    services: frozenset[Name] = frozenset()
    issuers: frozenset[str] = frozenset()
    statuses: frozenset[Key] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.services or self.issuers or self.statuses)


NOTHING: Final = Effects()


class _Namespace(NamedTuple):
    uid: str
    version: int
    labels: Mapping[str, str]


class Store:
    """What is known of the cluster. Everything returned is as of now; nothing here waits or writes."""

    def __init__(self) -> None:
        self._entries: dict[str, dict[Name, Entry]] = {ISSUER: {}, SERVICE: {}, WORKLOAD: {}}
        self._workloads_of: dict[Name, set[str]] = {}
        self._services_in: dict[str, set[str]] = {}
        self._workloads_for: dict[Account, set[Name]] = {}
        self._workloads_naming: dict[str, set[Name]] = {}
        self._namespaces: dict[str, _Namespace] = {}
        self._accounts: dict[Account, str] = {}
        self._gone: OrderedDict[str, None] = OrderedDict()

    # What there is.

    def entry(self, kind: str, namespace: str, name: str) -> Entry | None:
        """An object of our kinds."""
        return self._entries[kind].get((namespace, name))

    def entries(self, kind: str) -> list[Entry]:
        """All objects of a kind."""
        return list(self._entries[kind].values())

    def service(self, name: Name) -> ProtectedService | None:
        """The service that counts; None: there is none, or none that can be read."""
        entry = self._entries[SERVICE].get(name)
        resource = entry.resource if entry else None
        return resource if isinstance(resource, ProtectedService) else None

    def issuer(self, name: str) -> ClusterTrustedIssuer | None:
        """The issuer that counts."""
        entry = self._entries[ISSUER].get(("", name))
        resource = entry.resource if entry else None
        return resource if isinstance(resource, ClusterTrustedIssuer) else None

    def workloads_of(self, service: Name) -> list[Entry]:
        """The workloads that name a service, whether it is there or not."""
        names = self._workloads_of.get(service, ())
        return [self._entries[WORKLOAD][service[0], name] for name in names]

    def services_naming(self, issuer: str) -> set[Name]:
        """The services of all workloads that name an issuer."""
        return set(self._services_of(self._workloads_naming.get(issuer, ())))

    def services(self) -> list[Name]:
        """Every service that is there, or that a workload names."""
        return sorted(self._entries[SERVICE].keys() | self._workloads_of.keys())

    def services_in(self, namespace: str) -> list[Entry]:
        """The services of a namespace."""
        return [self._entries[SERVICE][namespace, name] for name in self._services_in.get(namespace, ())]

    def labels_of(self, namespace: str) -> Mapping[str, str]:
        """A Namespace's labels."""
        known = self._namespaces.get(namespace)
        return {} if known is None else known.labels

    def namespaces(self) -> Iterable[str]:
        """The names of all Namespaces."""
        return self._namespaces.keys()

    def live_uids(self, workloads: Iterable[TrustedWorkload]) -> dict[Account, str]:
        """UIDs of workloads' ServiceAccounts as of this cluster; the empty text for one that is not there."""
        accounts = (each.spec.service_account for each in workloads)
        return {
            (account.namespace, account.name): self._accounts.get((account.namespace, account.name), "")
            for account in accounts
        }

    def has(self, kind: str, namespace: str, name: str, uid: str, version: int) -> bool:
        """Whether an object of this UID is known in this generation (a Namespace: resourceVersion) or a later
        one, or known to be gone."""
        if uid in self._gone:
            return True
        if kind == "Namespace":
            known = self._namespaces.get(name)
            return known is not None and known.uid == uid and known.version >= version
        entry = self._entries[kind].get((namespace, name))
        return entry is not None and entry.uid == uid and entry.generation >= version

    def count(self, kind: str) -> int:
        """How many objects there are of one of our kinds; from any thread."""
        return len(self._entries[kind])

    # What changes.

    def take(self, kind: str, document: Mapping[str, Any]) -> Effects:
        """Take a version of an object of our kinds."""
        metadata = document.get("metadata") or {}
        place = (str(metadata.get("namespace") or ""), str(metadata.get("name")))
        before = self._entries[kind].get(place)
        entry = read_entry(kind, document, before)
        if entry is None or entry.uid in self._gone:
            return NOTHING
        if before is not None and 0 < entry.version <= before.version:
            return NOTHING
        if before is not None and before.resource == entry.resource:
            # One object in memory, and the same one for whoever asks whether something changed.
            entry.resource = before.resource
        self._unlink(before)
        self._entries[kind][place] = entry
        self._link(entry)
        if before is not None and before.uid == entry.uid and _is_same(before, entry):
            # Only its status was written: by us, or by somebody whose word does not count there.
            return NOTHING if before.status == entry.status else Effects(statuses=frozenset({entry.key}))
        return self._effects_of(before, entry)

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
        before = self._entries[kind].get((namespace, name))
        if before is None or before.uid != uid:
            return NOTHING
        self._unlink(before)
        del self._entries[kind][namespace, name]
        return self._effects_of(before, None)

    def take_namespace(self, name: str, uid: str, labels: Mapping[str, str], version: int = 0) -> Effects:
        """Take a Namespace's labels, as of a resourceVersion."""
        before = self._namespaces.get(name)
        if uid in self._gone or (before is not None and 0 < version <= before.version):
            return NOTHING
        self._namespaces[name] = _Namespace(uid, version, dict(labels))
        if before is not None and before.labels == labels:
            return NOTHING
        return Effects(services=self._names_in(name))

    def take_account(self, account: Account, uid: str) -> Effects:
        """Take it that a ServiceAccount of this cluster is there; an empty UID: that it is gone."""
        before = self._accounts.get(account, "")
        if before == uid:
            return NOTHING
        if uid:
            self._accounts[account] = uid
        else:
            del self._accounts[account]
        return Effects(services=frozenset(self._services_of(self._workloads_for.get(account, ()))))

    def workloads_for(self, account: Account) -> list[Entry]:
        """The workloads that name a ServiceAccount, of whichever cluster."""
        names = self._workloads_for.get(account, ())
        return [self._entries[WORKLOAD][name] for name in names]

    def account_uid(self, account: Account) -> str:
        """The UID of a ServiceAccount of this cluster; empty: there is none."""
        return self._accounts.get(account, "")

    def wrote_status(self, key: Key, uid: str, version: int, status: Any) -> None:
        """Take what a write of ours made of an object's status."""
        entry = self.entry(*key)
        if entry is not None and entry.uid == uid and entry.version <= version:
            entry.status = status
            # Not `version`: the same write may have met a newer spec, which the watch still has to bring.

    def _effects_of(self, before: Entry | None, after: Entry | None) -> Effects:
        entries = [entry for entry in (before, after) if entry is not None]
        kind, namespace, name = entries[0].key
        if kind == ISSUER:
            return Effects(issuers=frozenset({name}))
        services = frozenset(entry.service for entry in entries if entry.service is not None)
        if kind == SERVICE and _policy_of(before) != _policy_of(after):
            # What two services on the same pods do to each other depends on both.
            services |= self._names_in(namespace)
        unread = after is not None and after.service is None
        return Effects(services=services, statuses=frozenset({entries[0].key}) if unread else frozenset())

    def _names_in(self, namespace: str) -> frozenset[Name]:
        return frozenset((namespace, name) for name in self._services_in.get(namespace, ()))

    def _services_of(self, workloads: Iterable[Name]) -> Iterator[Name]:
        for namespace, name in workloads:
            service = self._entries[WORKLOAD][namespace, name].service
            if service is not None:
                yield service

    def _link(self, entry: Entry) -> None:
        kind, namespace, name = entry.key
        if kind == SERVICE:
            self._services_in.setdefault(namespace, set()).add(name)
        resource, service = entry.resource or entry.remainder, entry.service
        if isinstance(resource, TrustedWorkload) and service is not None:
            account = resource.spec.service_account
            self._workloads_of.setdefault(service, set()).add(name)
            self._workloads_for.setdefault((account.namespace, account.name), set()).add((namespace, name))
            self._workloads_naming.setdefault(resource.spec.issuer_ref.name, set()).add((namespace, name))

    def _unlink(self, entry: Entry | None) -> None:
        if entry is None:
            return
        kind, namespace, name = entry.key
        if kind == SERVICE:
            _discard(self._services_in, namespace, name)
        resource, service = entry.resource or entry.remainder, entry.service
        if isinstance(resource, TrustedWorkload) and service is not None:
            account = resource.spec.service_account
            _discard(self._workloads_of, service, name)
            _discard(self._workloads_for, (account.namespace, account.name), (namespace, name))
            _discard(self._workloads_naming, resource.spec.issuer_ref.name, (namespace, name))


def _is_same(before: Entry, after: Entry) -> bool:
    return (before.generation, before.resource, before.problems) == (
        after.generation,
        after.resource,
        after.problems,
    )


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
