# SPDX-License-Identifier: Apache-2.0
"""Compare what two states say about agents: what a service lets them do, and for whom a desk lets them act.

Pure. Each scope, account, person and domain is a line of its own: a reviewer sees who gains what.
"""

from collections.abc import Iterable, Iterator

from watchword.cli.change import Kind
from watchword.trust.api.v1alpha1 import AgentDomain, AgentsSpec
from watchword.trust.bundle import BundleDesk

Line = tuple[Kind, str]


def ceiling_changes(old: BundleDesk | None, new: BundleDesk | None) -> Iterator[Line]:
    """What changes in what a service lets agents do."""
    before, after = (None if each is None else each.agents for each in (old, new))
    if before is None and after is None:
        return
    if before is None or after is None:
        yield ("gains", "agents are let in") if before is None else ("loses", "no agent is let in")
    scopes = [() if each is None else each.scopes for each in (before, after)]
    accounts = [() if each is None else each.accounts for each in (before, after)]
    yield from _each("agents may use the scope {}", "agents may no longer use the scope {}", *scopes)
    yield from _each("agents may act in the account {}", "agents may not act in the account {}", *accounts)


def agents_changes(old: AgentsSpec | None, new: AgentsSpec | None) -> Iterator[Line]:
    """What changes in whom a desk lets agents act for, and with what."""
    before, after = old or AgentsSpec(), new or AgentsSpec()
    if (old is None) != (new is None):
        yield ("gains", "agents may register") if old is None else ("loses", "no agent may register")
    for name, parts in (
        ("unclaimed", (before.unclaimed, after.unclaimed)),
        ("claimed", (before.claimed, after.claimed)),
    ):
        scopes = [() if each is None else each.scopes for each in parts]
        yield from _each(
            f"{name} agents may have the scope {{}}", f"{name} agents may not have the scope {{}}", *scopes
        )
    accounts = [() if each.unclaimed is None else each.unclaimed.accounts for each in (before, after)]
    yield from _each(
        "unclaimed agents may act in the account {}",
        "unclaimed agents may not act in the account {}",
        *accounts,
    )
    people = [
        {f"{each.address} ({_named(each.accounts)})" for each in spec.people} for spec in (before, after)
    ]
    yield from _each(
        "may claim an agent by a mail: {}", "may no longer claim an agent by a mail: {}", *people
    )
    domains = [{_domain(each) for each in spec.domains} for spec in (before, after)]
    yield from _each("may claim an agent by signing in: {}", "may no longer sign in as: {}", *domains)
    if before.mail != after.mail:
        yield "changes", "mails are sent in another way"
    bounds = [
        (
            spec.unclaimed and (spec.unclaimed.lifetime_seconds, spec.unclaimed.max_registrations),
            spec.claimed and spec.claimed.lifetime_seconds,
        )
        for spec in (before, after)
    ]
    if bounds[0] != bounds[1] and old is not None and new is not None:
        yield "changes", "how long and how many agents are kept"


def _each(gained: str, lost: str, old: Iterable[str], new: Iterable[str]) -> Iterator[Line]:
    before, after = frozenset(old), frozenset(new)
    for name in sorted(after - before):
        yield "gains", gained.format(name)
    for name in sorted(before - after):
        yield "loses", lost.format(name)


def _domain(domain: AgentDomain) -> str:
    secret = "" if domain.secret_ref is None else f", Secret {domain.secret_ref.name}"
    who = f"{domain.domain} at {domain.issuer} as {domain.client_id}{secret}"
    return f"{who} ({_named(domain.accounts)})"


def _named(accounts: Iterable[str]) -> str:
    return ", ".join(sorted(accounts)) or "no account"
