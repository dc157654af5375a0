# SPDX-License-Identifier: Apache-2.0
"""Compare two states of trust: who gains and who loses what, and what changes around it.

Pure: two compilations in, changes out. What a grant comes to is compared and not how it is written: moving a
scope from one grant to another, or an object to another file, is no change.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from watchword.cli.access_changes import Caller, access_changes
from watchword.cli.change import Change, Kind, key_name, written_keys
from watchword.cli.desk_changes import Clients, client_changes, desk_changes, desk_of_service_changes
from watchword.cli.provider_changes import Providers, provider_changes
from watchword.cli.route_changes import public_changes, route_changes
from watchword.cli.timestamps import shown_timestamp
from watchword.identity import Grant
from watchword.trust import EVERY, Bundle, ClusterTrustedIssuer, Compilation, Resources
from watchword.trust.bundle import BundleGrant
from watchword.trust.issuers import revoked_keys

# From the one that takes the fewest new keys to the one that takes all.
_POLICIES = ("Pin", "Approve", "Continuity", "Follow")


class Permission(NamedTuple):
    """One thing that a workload may do; an empty account or project: on paths without one."""

    scope: str
    account: str
    project: str


class State(msgspec.Struct, frozen=True):
    """A state of trust.

    Attributes:
        compiled: what the resources come to.
        resources: the objects as they are written.
    """

    compiled: Compilation
    resources: Resources

    @property
    def issuers(self) -> Mapping[str, ClusterTrustedIssuer]:
        """The issuers by name."""
        return {each.metadata.name: each for each in self.resources.issuers}

    @property
    def clients(self) -> Clients:
        """The clients of desks by namespace and name."""
        return {(each.metadata.namespace, each.metadata.name): each for each in self.resources.clients}

    @property
    def providers(self) -> Providers:
        """The providers of agents by namespace and name."""
        return {(each.metadata.namespace, each.metadata.name): each for each in self.resources.providers}


def changes_between(old: State, new: State, now: float) -> list[Change]:
    """Everything that differs, services first.

    Args:
        old: before.
        new: after.
        now: seconds since the epoch: trust that has expired by then is none.
    """
    found: list[Change] = []
    before, after = (_by_name(state.compiled.bundles) for state in (old, new))
    policies = [_policies(state.compiled) for state in (old, new)]
    clients = (old.clients, new.clients)
    for service in sorted(before.keys() | after.keys()):
        one, other = before.get(service), after.get(service)
        if one is None:
            found.append(Change("gains", service, "", "the service is new: its pods can have a gate"))
        if other is None:
            found.append(Change("loses", service, "", "the service is gone: its gates let no one in"))
        rows = (_rows(one, now), _rows(other, now))
        found += _of_callers(service, *rows)
        if one is not None and other is not None:
            routes = list(route_changes(service, one, other))
            callers = {
                who: (rows[0].get(who, _Row()).caller, rows[1].get(who, _Row()).caller)
                for who in sorted(rows[0].keys() | rows[1].keys())
            }
            callers |= _agents(one, other)
            found += access_changes(service, (one, other), callers, public_changes(one, other))
            found += _of_service(service, one, other, routes)
            found += desk_of_service_changes(service, one, other, clients)
        found += _of_policy(service, policies[0].get(service), policies[1].get(service))
    for name in sorted(old.issuers.keys() | new.issuers.keys()):
        found += _of_issuer(name, old.issuers.get(name), new.issuers.get(name))
    found += desk_changes(old.resources.desks, new.resources.desks)
    found += client_changes(*clients)
    found += provider_changes(old.providers, new.providers)
    return found


class _Row(NamedTuple):
    """What a caller may do, until when, and for which purposes it gets desk tokens."""

    permissions: frozenset[Permission] = frozenset()
    ends: float | None = None
    purposes: frozenset[str] = frozenset()
    grants: tuple[Grant, ...] = ()

    @property
    def caller(self) -> Caller:
        """What the routes decide by."""
        return Caller(self.grants, self.purposes)


Rows = dict[str, _Row]


def _by_name(bundles: Iterable[Bundle]) -> dict[str, Bundle]:
    return {f"{each.service.namespace}/{each.service.name}": each for each in bundles}


def _rows(bundle: Bundle | None, now: float) -> Rows:
    """What each caller may do, by who it is."""
    rows: Rows = {}
    desk = None if bundle is None or isinstance(bundle.desk, msgspec.UnsetType) else bundle.desk
    for row in bundle.workloads if bundle is not None else ():
        assert bundle is not None  # noqa: S101 - for the type checker
        has_ended = row.expires_at is not None and row.expires_at <= now
        who = f"ServiceAccount {row.namespace}/{row.service_account} of {bundle.issuers[row.issuer].name}"
        if not row.suspended and not has_ended:
            purposes = frozenset() if desk is None else frozenset(desk.purposes.get(row.name, ()))
            grants = tuple(map(_grant, bundle.grants[row.grants]))
            rows[who] = _Row(permissions_of(bundle.grants[row.grants]), row.expires_at, purposes, grants)
    return rows


def _grant(each: BundleGrant) -> Grant:
    return Grant(each.scopes, each.accounts, each.projects)


def _agents(old: Bundle, new: Bundle) -> dict[str, tuple[Caller, Caller]]:
    """Agents, who may do what a service lets them do at most."""
    ceilings = [None if isinstance(each.desk, msgspec.UnsetType) else each.desk.agents for each in (old, new)]
    before, after = (Caller() if each is None else Caller((_grant(each),)) for each in ceilings)
    return {"agents of the TokenDesk": (before, after)} if before.grants or after.grants else {}


def permissions_of(grants: Iterable[BundleGrant]) -> frozenset[Permission]:
    """What grants come to, each permission by itself (as `authorize` reads them)."""
    found: set[Permission] = set()
    for grant in grants:
        for scope in grant.scopes:
            if not grant.projects:
                found.add(Permission(scope, "", ""))
            for account in grant.accounts:
                found |= {Permission(scope, account, project) for project in grant.projects or ("",)}
    return frozenset(found)


def not_covered(wanted: Iterable[Permission], held: frozenset[Permission]) -> list[Permission]:
    """Those of the wanted permissions that the held ones do not include."""
    return sorted(
        each
        for each in wanted
        if not any(
            Permission(each.scope, account, project) in held
            for account in {each.account, EVERY if each.account else ""}
            for project in {each.project, EVERY if each.project else ""}
        )
    )


def _of_callers(service: str, old: Rows, new: Rows) -> Iterator[Change]:
    for who in sorted(old.keys() | new.keys()):
        before, after = old.get(who, _Row()), new.get(who, _Row())
        gained = _in_words(
            not_covered(after.permissions, before.permissions), after.purposes - before.purposes
        )
        lost = _in_words(not_covered(before.permissions, after.permissions), before.purposes - after.purposes)
        if who not in old:
            words = gained or "/authz alone: it is known, and granted nothing"
            yield Change("gains", service, who, f"is trusted: {words}")
        elif who not in new:
            yield Change("loses", service, who, f"is no longer trusted: {lost or '/authz'}")
        else:
            if gained:
                yield Change("gains", service, who, gained)
            if lost:
                yield Change("loses", service, who, lost)
            if before.ends != after.ends:
                is_later = before.ends is not None and (after.ends is None or after.ends > before.ends)
                said = f"the trust ends {_end(after)}, before {_end(before)} (spec.expires)"
                yield Change("gains" if is_later else "loses", service, who, said)


def _end(row: _Row) -> str:
    """When trust ends, without how long that is from now."""
    return "never" if row.ends is None else shown_timestamp(row.ends, 0.0).partition(" (")[0]


def _in_words(permissions: list[Permission], purposes: frozenset[str]) -> str:
    """`a:read for accounts acme, globex; b:write on paths without an account; desk tokens for ...`."""
    by_scope: dict[str, list[Permission]] = {}
    for each in permissions:
        by_scope.setdefault(each.scope, []).append(each)
    parts = []
    for scope, held in by_scope.items():
        accounts = sorted({each.account for each in held if each.account and not each.project})
        ends = [f"accounts {', '.join(accounts)}"] if accounts else []
        for account in sorted({each.account for each in held if each.project}):
            projects = sorted(each.project for each in held if each.account == account and each.project)
            ends.append(f"projects {', '.join(projects)} of {account}")
        parts.append(f"{scope} for {' and '.join(ends)}" if ends else f"{scope} on paths without an account")
    if purposes:
        parts.append(f"desk tokens for the purpose {', '.join(sorted(purposes))}")
    return "; ".join(parts)


def _of_service(service: str, old: Bundle, new: Bundle, routes: Iterable[Change]) -> Iterator[Change]:
    def change(what: str, kind: Kind = "changes") -> Change:
        return Change(kind, service, "", what)

    for audience in sorted(set(new.audiences) - set(old.audiences)):
        yield change(f"tokens for the audience {audience} are accepted", "gains")
    for audience in sorted(set(old.audiences) - set(new.audiences)):
        yield change(f"tokens for the audience {audience} are no longer accepted", "loses")
    if old.token.binding != new.token.binding:
        widened = new.token.binding == "Any"
        said = "tokens of no pod are accepted" if widened else "only tokens of pods are accepted"
        yield change(f"{said} (token.binding: {new.token.binding})", "gains" if widened else "loses")
    if old.token.max_lifetime_seconds != new.token.max_lifetime_seconds:
        longer = new.token.max_lifetime_seconds > old.token.max_lifetime_seconds
        yield change(
            f"tokens may live for {new.token.max_lifetime_seconds} s, before "
            f"{old.token.max_lifetime_seconds} s",
            "gains" if longer else "loses",
        )
    if old.token.clock_skew_seconds != new.token.clock_skew_seconds:
        longer = new.token.clock_skew_seconds > old.token.clock_skew_seconds
        yield change(
            f"clocks may differ by {new.token.clock_skew_seconds} s, before {old.token.clock_skew_seconds} s",
            "gains" if longer else "loses",
        )
    if _header(old) != _header(new):
        yield change(f"tokens are read from the header {_header(new)}, before from {_header(old)}")
    if old.usage_base_path != new.usage_base_path:
        yield change(f"the gate's usage endpoints are at {new.usage_base_path}, before {old.usage_base_path}")
    if _report_only(old) != _report_only(new):
        end = shown_timestamp(_report_only(new), 0.0).partition(" ")[0]
        said = f"requests that would be refused pass until {end}" if _report_only(new) else "gates enforce"
        is_longer = _report_only(new) > _report_only(old)
        yield change(f"{said} (reportOnlyUntil)", "gains" if is_longer else "loses")
    if old.limits != new.limits:
        yield change(f"each workload's rate is {_rate(new)}, before {_rate(old)}")
    yield from routes
    if old.pass_headers != new.pass_headers:
        named = ", ".join(new.pass_headers) or "none"
        yield change(f"headers that pass to the app: {named}")


def _header(bundle: Bundle) -> str:
    return "Authorization" if isinstance(bundle.token_header, msgspec.UnsetType) else bundle.token_header


def _report_only(bundle: Bundle) -> float:
    return 0.0 if isinstance(bundle.report_only_until, msgspec.UnsetType) else bundle.report_only_until


def _rate(bundle: Bundle) -> str:
    limits = bundle.limits
    return "unlimited" if limits is None else f"{limits.requests_per_second}/s with bursts of {limits.burst}"


Policy = dict[str, Any]


def _policies(compiled: Compilation) -> dict[str, tuple[str, Policy]]:
    found: dict[str, tuple[str, Policy]] = {}
    for mode, policies in (("Enforce", compiled.network_policies), ("Preview", compiled.previews)):
        for policy in policies:
            metadata = policy["metadata"]
            name = f"{metadata['namespace']}/{metadata['name'].removeprefix('watchword-')}"
            found[name] = (mode, policy["spec"])
    return found


def _of_policy(
    service: str, old: tuple[str, Policy] | None, new: tuple[str, Policy] | None
) -> Iterator[Change]:
    modes = tuple("Off" if each is None else each[0] for each in (old, new))
    if modes[0] != modes[1] and "Enforce" in modes:
        applied = modes[1] == "Enforce"
        said = "is applied" if applied else "is removed: every pod reaches the gate's and the app's port"
        kind: Kind = "loses" if applied else "gains"
        yield Change(kind, service, "", f"NetworkPolicy: it {said} (mode: {modes[1]})")
    if old is None or new is None or old[1] == new[1]:
        return
    before, after = (_peers(each[1]) for each in (old, new))
    note = "" if modes[1] == "Enforce" else " (a preview; nothing applies it)"
    for peer in sorted(after - before):
        yield Change("gains", service, "", f"NetworkPolicy: {peer} reaches the gate{note}")
    for peer in sorted(before - after):
        yield Change("loses", service, "", f"NetworkPolicy: {peer} no longer reaches the gate{note}")
    if before == after:
        yield Change("changes", service, "", f"NetworkPolicy: it selects other pods or other ports{note}")


def _peers(spec: Policy) -> frozenset[str]:
    return frozenset(_peer(peer) for rule in spec["ingress"] for peer in rule.get("from", ()))


def _peer(peer: Policy) -> str:
    if "ipBlock" in peer:
        without = ", ".join(peer["ipBlock"].get("except", ()))
        return f"{peer['ipBlock']['cidr']}{f' but {without}' if without else ''}"
    words = []
    for name, what in (("podSelector", "pods"), ("namespaceSelector", "namespaces")):
        if name in peer:
            labels = peer[name].get("matchLabels", {})
            named = ", ".join(f"{key}={value}" for key, value in labels.items())
            words.append(f"{what} {named}" if labels else f"all {what}")
    return " of ".join(words)


def _of_issuer(
    name: str, old: ClusterTrustedIssuer | None, new: ClusterTrustedIssuer | None
) -> Iterator[Change]:
    where = f"ClusterTrustedIssuer {name}"

    def change(kind: Kind, what: str) -> Change:
        return Change(kind, where, "", what)

    if old is None or new is None:
        yield change("gains", "the cluster is new") if old is None else change("loses", "the cluster is gone")
        return
    urls = [{each.spec.issuer, *each.spec.additional_issuers} for each in (old, new)]
    for url in sorted(urls[1] - urls[0]):
        yield change("gains", f"tokens with iss {url} are accepted")
    for url in sorted(urls[0] - urls[1]):
        yield change("loses", f"tokens with iss {url} are no longer accepted")
    keys = [_pinned(each) for each in (old, new)]
    for key in sorted(keys[1] - keys[0]):
        yield change("gains", f"the key {key} is trusted")
    for key in sorted(keys[0] - keys[1]):
        yield change("loses", f"the key {key} is no longer trusted")
    if _source(old) != _source(new):
        yield change("changes", f"its keys are read from {_source(new)}, before from {_source(old)}")
    if old.spec.rotation.policy != new.spec.rotation.policy:
        policy, before = new.spec.rotation.policy, old.spec.rotation.policy
        kind: Kind = "gains" if _POLICIES.index(policy) > _POLICIES.index(before) else "loses"
        yield change(kind, f"rotation.policy is {policy}, before {before}")
    revoked = [set(map(_revocation, each.spec.revoked)) for each in (old, new)]
    for each in sorted(revoked[1] - revoked[0]):
        yield change("loses", f"revoked: {each}")
    for each in sorted(revoked[0] - revoked[1]):
        yield change("gains", f"no longer revoked: {each}")
    if old.spec.allowed_namespaces != new.spec.allowed_namespaces:
        yield change("changes", "other namespaces may rely on it (allowedNamespaces)")


def _pinned(issuer: ClusterTrustedIssuer) -> set[str]:
    """Thumbprints of the keys that the object itself names as trusted."""
    written, revoked = written_keys(issuer.spec.keys.inline), revoked_keys(issuer.spec)
    pinned = {key_name(key) for key in written if key.thumbprint not in revoked}
    return pinned | {f"{each} (approved)" for each in issuer.spec.rotation.approved}


def _source(issuer: ClusterTrustedIssuer) -> str:
    keys = issuer.spec.keys
    if keys.inline is not None:
        return "the object itself"
    if keys.config_map is not None:
        place = keys.config_map
        return f"the ConfigMap {place.namespace}/{place.name} ({place.key})"
    if keys.discovery is not None:
        return keys.discovery.jwks_url or "its own URL, by discovery"
    return "this cluster's API server"


def _revocation(each: msgspec.Struct) -> str:
    named = {name: value for name, value in msgspec.to_builtins(each).items() if value is not None}
    return ", ".join(f"{name} {value}" for name, value in sorted(named.items()))
