# SPDX-License-Identifier: Apache-2.0
"""What the fields about agents must agree on.

The mistakes to prevent: an address that could be proven in two ways, of which the weaker one then counts, and
a wildcard in what strangers may use.
"""

from collections.abc import Iterable, Iterator
from typing import Final

from watchword.trust.api.v1alpha1 import AgentCeiling, AgentsSpec
from watchword.trust.api.v1alpha1.grammar import HTTPS_URL, MAIL_ADDRESS, MAIL_DOMAIN, is_whole
from watchword.trust.api.v1alpha1.rules.entries import (
    findings_of_breaks,
    findings_of_name,
    findings_of_repeats,
)
from watchword.trust.api.v1alpha1.validation import Finding

ADDRESS_REMEDY: Final = "write it whole, such as alice@example.com, its domain in lower case"
DOMAIN_REMEDY: Final = "write it whole, such as example.com, in lower case"
WILDCARD_REMEDY: Final = "name the accounts; a service's own ceiling may say *"
PEOPLE_REMEDY: Final = "remove the address: people of the domain sign in at its provider"
MAIL_REMEDY: Final = "set mail, or list no people"
LOOPBACK: Final = r"localhost|127\.0\.0\.1|::1"
LOOPBACK_REMEDY: Final = "use StartTLS or TLS; None is for a server on this machine"
PROVIDER_REMEDY: Final = "write an https:// URL without a slash at its end, as the provider's tokens say iss"
# Plain HTTP only where nothing leaves the machine.
PROVIDER: Final = (
    rf"(?:{HTTPS_URL})|http://(?:127\.0\.0\.1|\[::1\]|localhost)(?::[1-9][0-9]{{0,4}})?(?:/[!-~]*)?"
)


def findings_of_ceiling(spec: AgentCeiling) -> Iterator[Finding]:
    """What is wrong with a service's ceiling for agents."""
    path = "spec.agents"
    yield from findings_of_breaks(f"{path}.scopes", spec.scopes)
    yield from findings_of_repeats(f"{path}.scopes", spec.scopes)
    yield from _findings_of_accounts(f"{path}.accounts", spec.accounts, may_be_all=True)


def findings_of_agents(spec: AgentsSpec) -> Iterator[Finding]:
    """What the fields of a TokenDesk about agents disagree on."""
    path = "spec.agents"
    for name, part in (("unclaimed", spec.unclaimed), ("claimed", spec.claimed)):
        if part is not None:
            yield from findings_of_breaks(f"{path}.{name}.scopes", part.scopes)
            yield from findings_of_repeats(f"{path}.{name}.scopes", part.scopes)
    if spec.unclaimed is not None:
        yield from _findings_of_accounts(f"{path}.unclaimed.accounts", spec.unclaimed.accounts)
    yield from findings_of_repeats(f"{path}.people", [each.address for each in spec.people])
    yield from findings_of_repeats(f"{path}.domains", [each.domain for each in spec.domains])
    domains = {each.domain for each in spec.domains}
    for place, person in enumerate(spec.people):
        where = f"{path}.people[{place}]"
        if not is_address(person.address):
            yield f"{where}.address", "not an address", ADDRESS_REMEDY
        elif person.address.rpartition("@")[2] in domains:
            yield f"{where}.address", "its domain is one of domains", PEOPLE_REMEDY
        yield from _findings_of_accounts(f"{where}.accounts", person.accounts)
    for place, domain in enumerate(spec.domains):
        where = f"{path}.domains[{place}]"
        if not is_whole(MAIL_DOMAIN, domain.domain):
            yield f"{where}.domain", "not a domain", DOMAIN_REMEDY
        if not is_whole(PROVIDER, domain.issuer) or domain.issuer.endswith("/"):
            yield f"{where}.issuer", "not the URL of a provider", PROVIDER_REMEDY
        if not domain.client_id.isprintable():
            detail = "it holds a control character, such as a line break"
            yield f"{where}.clientId", detail, "write it plainly"
        if domain.secret_ref is not None:
            yield from findings_of_name(f"{where}.secretRef.name", domain.secret_ref.name)
        yield from _findings_of_accounts(f"{where}.accounts", domain.accounts)
    yield from _findings_of_mail(spec)


def is_address(text: str) -> bool:
    """Whether a text is one mail address that this project compares: a dot-atom, `@`, and a domain."""
    return is_whole(MAIL_ADDRESS, text) and len(text) <= 254 and len(text.partition("@")[0]) <= 64


def _findings_of_mail(spec: AgentsSpec) -> Iterator[Finding]:
    mail, path = spec.mail, "spec.agents.mail"
    if mail is None:
        if spec.people:
            yield "spec.agents.people", "people are listed, and no mail can reach them", MAIL_REMEDY
        return
    if not is_address(mail.from_):
        yield f"{path}.from", "not an address", ADDRESS_REMEDY
    if not mail.host.isprintable() or " " in mail.host:
        yield f"{path}.host", "not the name of a host", "write its name or address"
    if mail.security == "None" and not is_whole(LOOPBACK, mail.host):
        yield f"{path}.security", "mails would leave this machine in plain text", LOOPBACK_REMEDY
    if mail.secret_ref is not None:
        yield from findings_of_name(f"{path}.secretRef.name", mail.secret_ref.name)


def _findings_of_accounts(
    path: str, accounts: Iterable[str], *, may_be_all: bool = False
) -> Iterator[Finding]:
    held = tuple(accounts)
    yield from findings_of_repeats(path, held)
    for account in held:
        if account == "*":
            if not may_be_all:
                yield path, '"*" would be every account', WILDCARD_REMEDY
            elif len(held) > 1:
                yield path, '"*" is given together with names', 'use "*" alone, or only names'
        elif "*" in account or not account.isprintable():
            yield path, f"{account!r} is a pattern or not printable", "use whole names"
        elif "," in account:
            remedy = "use a name without commas: identity headers list names"
            yield path, f"{account!r} holds a comma", remedy
