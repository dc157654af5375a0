# SPDX-License-Identifier: Apache-2.0
"""What the fields of a TrustedWorkload must agree on.

Patterns in names are the mistake to prevent here: a name with a star trusts ServiceAccounts that do not exist
yet, made by whoever may make one.
"""

from collections.abc import Iterator

from watchword.identity import is_namespace_name, is_service_account_name
from watchword.trust.rules.entries import findings_of_breaks, findings_of_name, findings_of_repeats
from watchword.trust.rules.peers import findings_of_peers
from watchword.trust.rules.times import TIME_REMEDY, parse_time
from watchword.trust.specs import GrantSpec, WorkloadSpec
from watchword.trust.validation import Finding


def findings_of_workload(spec: WorkloadSpec) -> Iterator[Finding]:
    """What a TrustedWorkload's fields disagree on."""
    yield from findings_of_name("spec.serviceRef.name", spec.service_ref.name)
    yield from findings_of_name("spec.issuerRef.name", spec.issuer_ref.name)
    account = spec.service_account
    if not is_namespace_name(account.namespace):
        remedy = "name one namespace, whole; patterns are not supported"
        yield "spec.serviceAccount.namespace", "not the name of a namespace", remedy
    if not is_service_account_name(account.name):
        remedy = "name one ServiceAccount, whole; patterns are not supported"
        yield "spec.serviceAccount.name", "not the name of a ServiceAccount", remedy
    for place, grant in enumerate(spec.grants):
        yield from _findings_of_grant(f"spec.grants[{place}]", grant)
    if spec.expires is not None and parse_time(spec.expires) is None:
        yield "spec.expires", "not a time", TIME_REMEDY
    yield from findings_of_peers("spec.from", spec.from_)


def _findings_of_grant(path: str, grant: GrantSpec) -> Iterator[Finding]:
    yield from findings_of_breaks(f"{path}.scopes", grant.scopes)
    yield from findings_of_repeats(f"{path}.scopes", grant.scopes)
    for field, holders in (("accounts", grant.accounts), ("projects", grant.projects)):
        where = f"{path}.{field}"
        yield from findings_of_repeats(where, holders)
        for holder in holders:
            if holder != "*" and ("*" in holder or not holder.isprintable()):
                detail = f"{holder!r} is a pattern or not printable"
                yield where, detail, 'use whole names, or "*" alone for all'
            if "," in holder:
                remedy = "use a name without commas: identity headers list names"
                yield where, f"{holder!r} holds a comma", remedy
        if "*" in holders and len(holders) > 1:
            yield where, '"*" stands beside names', 'use "*" alone, or only names'
