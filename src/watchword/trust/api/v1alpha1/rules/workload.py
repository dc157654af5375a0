# SPDX-License-Identifier: Apache-2.0
"""What the fields of a TrustedWorkload must agree on.

Patterns in names are the mistake to prevent here: a name with a star trusts ServiceAccounts that do not exist
yet, made by anyone who may make one.
"""

from collections.abc import Iterator

from watchword.identity import is_namespace_name, is_service_account_name
from watchword.trust.api.v1alpha1 import GrantSpec, WorkloadSpec
from watchword.trust.api.v1alpha1.rules.entries import (
    findings_of_breaks,
    findings_of_name,
    findings_of_repeats,
)
from watchword.trust.api.v1alpha1.rules.peers import findings_of_peers
from watchword.trust.api.v1alpha1.rules.times import TIME_REMEDY, parse_time
from watchword.trust.api.v1alpha1.validation import Finding
from watchword.trust.api.v1alpha1.workload import MAX_GRANT_CHARACTERS, MAX_PEER_CHARACTERS


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
    yield from _findings_of_size(spec)
    yield from findings_of_breaks("spec.purposes", spec.purposes)
    yield from findings_of_repeats("spec.purposes", spec.purposes)
    if spec.expires is not None and parse_time(spec.expires) is None:
        yield "spec.expires", "not a time", TIME_REMEDY
    yield from findings_of_peers("spec.from", spec.from_)


def _findings_of_size(spec: WorkloadSpec) -> Iterator[Finding]:
    """Whether the object is larger than any that is meant: its lists bound it only one by one."""
    names = [
        name
        for grant in spec.grants
        for part in (grant.scopes, grant.accounts, grant.projects)
        for name in part
    ]
    given = sum(map(len, names))
    if given > MAX_GRANT_CHARACTERS:
        detail = f"its names have {given} characters in all, and at most {MAX_GRANT_CHARACTERS} may be"
        yield "spec.grants", detail, "name fewer, or split the ServiceAccount's work over several"
    given = 0
    for peer in spec.from_:
        for selector in (peer.namespace_selector, peer.pod_selector):
            labels = selector.match_labels if selector is not None else {}
            given += sum(len(name) + len(value) for name, value in labels.items())
        given += sum(map(len, peer.ip_block.except_)) if peer.ip_block is not None else 0
    if given > MAX_PEER_CHARACTERS:
        detail = f"labels and networks have {given} characters, and at most {MAX_PEER_CHARACTERS} may be"
        yield "spec.from", detail, "name fewer: a label that all of the workload's pods have is enough"


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
            yield where, '"*" is given together with names', 'use "*" alone, or only names'
