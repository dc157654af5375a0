# SPDX-License-Identifier: Apache-2.0
"""Who may call a service with what, by the bundle that its gates run on; and who is declared and may not.

What lets a caller in is the bundle, so that a TrustedWorkload that is in none is never shown as a yes. Where
the bundle cannot be read, nothing is said of who may call, only of what is declared.
"""

from collections.abc import Iterable, Mapping

import msgspec

from watchword.console.model import Item, State, Tone
from watchword.kube.names import NamespacedName
from watchword.trust import EVERY, Bundle, TrustedWorkload
from watchword.trust.api.v1alpha1.rules import parse_time
from watchword.trust.bundle import BundleWorkload


class GrantRow(msgspec.Struct, frozen=True):
    """A grant, wherever it was read."""

    scopes: tuple[str, ...]
    accounts: tuple[str, ...]
    projects: tuple[str, ...]


class Caller(msgspec.Struct, frozen=True):
    """One row of the table of a service's callers.

    Attributes:
        workload: of the TrustedWorkload.
        issuer: the ClusterTrustedIssuer.
        account: the ServiceAccount, as `namespace/name`.
        grants: what it holds: by the bundle, else as declared.
        purposes: what it may name as the purpose of a desk token.
        state: whether it may call.
        is_declared: whether there is a TrustedWorkload for it.
    """

    workload: NamespacedName
    issuer: str
    account: str
    grants: tuple[GrantRow, ...]
    purposes: tuple[str, ...]
    state: State
    is_declared: bool = True


def grants_of(item: Item) -> tuple[GrantRow, ...]:
    """What a TrustedWorkload declares."""
    if item.workload is None:
        return ()
    return tuple(GrantRow(each.scopes, each.accounts, each.projects) for each in item.workload.spec.grants)


def callers_of(bundle: Bundle | None, declared: Iterable[Item], now: float) -> list[Caller]:
    """Every caller of one service, by name.

    Args:
        bundle: what its gates run on; None: it is not known.
        declared: the TrustedWorkloads that name the service.
        now: seconds since the epoch; trust that has expired by then is said to.
    """
    items = {each.name: each for each in declared}
    found = {} if bundle is None else {each.workload: each for each in _in_bundle(bundle, items, now)}
    for name, item in items.items():
        if name not in found:
            found[name] = declared_caller(item, now, is_bundle_known=bundle is not None)
    return [found[name] for name in sorted(found)]


def declared_caller(item: Item, now: float, *, is_bundle_known: bool) -> Caller:
    """A TrustedWorkload that is in no bundle that was read."""
    workload = item.workload
    if workload is None:
        return Caller(item.name, "", "", (), (), item.state)
    spec = workload.spec
    account = f"{spec.service_account.namespace}/{spec.service_account.name}"
    state = item.state
    if is_bundle_known and state.tone in {"good", "plain"}:
        state = State("Not in the bundle", "warn", "Its gates do not know it yet, or no longer.")
    elif state.tone in {"good", "plain"}:
        state = _declared_state(item, state, now)
    return Caller(item.name, spec.issuer_ref.name, account, grants_of(item), spec.purposes, state)


def _declared_state(item: Item, state: State, now: float) -> State:
    """How it is by its own fields, where the operator finds nothing wrong."""
    spec = item.workload.spec if item.workload is not None else None
    if spec is None:
        return state
    if spec.suspend:
        return State("Suspended", "warn", "spec.suspend is true: its calls are refused.")
    ends = parse_time(spec.expires) if spec.expires is not None else None
    if ends is not None and ends <= now:
        return State("Expired", "warn", f"spec.expires was {spec.expires}: its calls are refused.")
    return state


def _in_bundle(bundle: Bundle, declared: Mapping[NamespacedName, Item], now: float) -> Iterable[Caller]:
    purposes = {} if isinstance(bundle.desk, msgspec.UnsetType) else bundle.desk.purposes
    tables = [
        tuple(GrantRow(each.scopes, each.accounts, each.projects) for each in row) for row in bundle.grants
    ]
    for row in bundle.workloads:
        issuer, grants = bundle.issuers[row.issuer], tables[row.grants]
        name = NamespacedName(bundle.service.namespace, row.name)
        item = declared.get(name)
        if row.live_uid == "":
            state = State("ServiceAccount gone", "bad", "It was deleted; tokens of it are refused.")
        elif row.suspended:
            state = State("Suspended", "warn", "Its calls are refused as suspended.")
        elif row.expires_at is not None and row.expires_at <= now:
            state = State("Expired", "warn", "Its calls are refused as trust_expired.")
        elif not issuer.keys:
            state = State("No trusted key", "bad", f"No key of the issuer {issuer.name} is trusted.")
        elif not grants:
            state = State("No grants", "plain", "It is known to /authz, and every route refuses it.")
        else:
            state = State("May call", "good")
        state = _with_edit(state, item, row, issuer.name, grants)
        account = f"{row.namespace}/{row.service_account}"
        named = purposes.get(row.name, ())
        yield Caller(name, issuer.name, account, grants, named, state, item is not None)


def _with_edit(
    state: State, item: Item | None, row: BundleWorkload, issuer: str, grants: tuple[GrantRow, ...]
) -> State:
    """Say where the gates run on something else than the TrustedWorkload has by now."""
    if item is None or item.workload is None:
        said = "No TrustedWorkload is read for it, and the gates still run on it."
    elif _differ(grants_of(item), grants) or _names_another(item.workload, row, issuer):
        said = "The TrustedWorkload says otherwise: an edit is on its way to the gates."
    else:
        return state
    tone: Tone = "bad" if state.tone == "bad" else "warn"
    return State(state.word, tone, f"{state.detail} {said}".strip())


def _names_another(workload: TrustedWorkload, row: BundleWorkload, issuer: str) -> bool:
    """Whether a TrustedWorkload names another caller than the bundle has, or trusts it for another time."""
    spec = workload.spec
    ends = None if spec.expires is None else parse_time(spec.expires)
    account = spec.service_account
    return (
        (spec.issuer_ref.name, account.namespace, account.name, spec.suspend)
        != (issuer, row.namespace, row.service_account, row.suspended)
    ) or ends != row.expires_at


def _differ(one: tuple[GrantRow, ...], other: tuple[GrantRow, ...]) -> bool:
    """Whether two lists of grants allow something else; equal ones, which most are, are seen at once."""
    return one != other and _sets(one) != _sets(other)


def _sets(grants: Iterable[GrantRow]) -> frozenset[tuple[frozenset[str], ...]]:
    """Grants without their order, which decides nothing."""
    return frozenset(
        (frozenset(each.scopes), frozenset(each.accounts), frozenset(each.projects)) for each in grants
    )


def holds(grants: Iterable[GrantRow], scope: str, account: str) -> bool:
    """Whether one grant names both a scope and an account; an empty text asks for nothing.

    For the table's filter: what a request is let in by is the gates' own rule, as `who-can` applies it.
    """
    return any(
        (not scope or scope in each.scopes)
        and (not account or account in each.accounts or each.accounts == (EVERY,))
        for each in grants
    )
