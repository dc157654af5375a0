# SPDX-License-Identifier: Apache-2.0
"""What stands of a published bundle where objects cannot be understood, or where the new one has no room.

An object of a newer release must not put its callers out, so its part of the bundle stands. But a bundle that
stands as a whole lets no one be put out: anyone who could make one such object, or enough of any, would have
stopped every revocation next to it. So each part stands alone, and what takes trust away is always obeyed.
"""

from collections.abc import Mapping

import msgspec

from watchword.identity import MAX_KEYS_OF_KID, thumbprint_of
from watchword.trust.api.v1alpha1 import ClusterTrustedIssuer, ProtectedService, TrustedWorkload
from watchword.trust.api.v1alpha1.rules import parse_time
from watchword.trust.audience import AudienceRules
from watchword.trust.bundle import (
    Bundle,
    BundleDesk,
    BundleGrant,
    BundleIssuer,
    BundleRevocations,
    BundleWorkload,
    seal,
)
from watchword.trust.derived_audience import is_derived
from watchword.trust.issuers import MAX_REVOKED_KEYS, revocations_of, revoked_keys
from watchword.trust.service import grants_of, grants_table

Uids = Mapping[tuple[str, str], str]


class Standing(msgspec.Struct, frozen=True):
    """What is there of which the published part may have to stand.

    Attributes:
        understood: TrustedWorkloads that are understood, by name.
        remainders: of those that are not, what is left without the fields that are unknown, by name.
        issuers: the same of ClusterTrustedIssuers that are not understood.
        live_uids: the UIDs of ServiceAccounts of this cluster, as `compile_service` takes them.
    """

    understood: Mapping[str, TrustedWorkload]
    remainders: Mapping[str, TrustedWorkload]
    issuers: Mapping[str, ClusterTrustedIssuer]
    live_uids: Uids = {}


def standing_bundle(published: Bundle, compiled: Bundle, standing: Standing, *, as_published: bool) -> Bundle:
    """What gates should run on.

    Args:
        published: the bundle that they run on.
        compiled: what the objects that are understood come to.
        standing: the objects that count besides.
        as_published: the service itself is not understood: its audiences, routes and limits stand, and
            no one comes in who was not in.

    Returns:
        The compiled rows; and of the published ones those whose workload, or whose issuer, is there and not
        understood, unless what can be read of it takes them back. Sealed with the generation 1.
    """
    tables = _Tables(published if as_published else compiled)
    was_in = {row.name for row in published.workloads}
    for issuer in compiled.issuers:
        tables.add_issuer(issuer)
    for issuer in published.issuers:
        remainder = standing.issuers.get(issuer.name)
        if remainder is not None:
            tables.add_issuer(_narrowed_issuer(issuer, remainder))
    for row in compiled.workloads:
        if not as_published or row.name in was_in:
            tables.add_row(row, compiled.issuers[row.issuer].name, compiled.grants[row.grants])
    for row in published.workloads:
        issuer_name, grants = published.issuers[row.issuer].name, published.grants[row.grants]
        whole = standing.understood.get(row.name)
        found = whole or standing.remainders.get(row.name)
        if found is None or not _is_of(row, issuer_name, found):
            continue
        if whole is None:
            tables.add_row(_narrowed_row(row, found, standing.live_uids), issuer_name, grants)
        elif issuer_name in standing.issuers:
            # It is out for its issuer's sake only; itself it says all that is to be said.
            tables.add_row(_narrowed_row(row, whole, standing.live_uids), issuer_name, grants_of(whole))
    return tables.bundle()


def with_own_audiences(bundle: Bundle, rules: AudienceRules, service: ProtectedService) -> Bundle:
    """A bundle that stands, without audiences that belong to others and with the service's own.

    What stands of a service that is not understood must not keep what would be refused if it were.
    """
    own = [each for each in rules.accepted(service) if is_derived(each)]
    standing = [each for each in bundle.audiences if not rules.is_reserved(each)]
    audiences = tuple(sorted({*own, *standing})) or bundle.audiences
    if audiences == bundle.audiences:
        return bundle
    return seal(msgspec.structs.replace(bundle, audiences=audiences), bundle.generation)


def with_present_report_only(bundle: Bundle, compiled: Bundle, published: Bundle) -> Bundle:
    """A bundle that stands, with report only as far as both say so: it is never longer, nor allowed again.

    Args:
        bundle: what stands.
        compiled: what is understood comes to.
        published: the bundle that gates run on.
    """
    until: float | msgspec.UnsetType = msgspec.UNSET
    if compiled.report_only_until is not msgspec.UNSET and published.report_only_until is not msgspec.UNSET:
        until = min(compiled.report_only_until, published.report_only_until)
    if until == bundle.report_only_until:
        return bundle
    return seal(msgspec.structs.replace(bundle, report_only_until=until), bundle.generation)


def with_present_desk(bundle: Bundle, compiled: Bundle, published: Bundle, standing: Standing) -> Bundle:
    """A bundle that stands, with the desk as it is now: no key and no purpose that was taken back stands.

    Args:
        bundle: what stands.
        compiled: what is understood comes to: it has the desk as it is, or none where it may not count.
        published: the bundle that gates run on.
        standing: the objects that count besides: a workload keeps the purposes that it still names.
    """
    if bundle.desk is msgspec.UNSET:
        return bundle
    desk: BundleDesk | msgspec.UnsetType = msgspec.UNSET
    if compiled.desk is not msgspec.UNSET and _is_same_desk(bundle.desk, compiled.desk):
        before, now = published.desk, compiled.desk
        known = before.purposes if before is not msgspec.UNSET and _is_same_desk(before, now) else {}
        purposes = {
            row.name: now.purposes.get(row.name)
            or _kept_purposes(known.get(row.name, ()), row.name, standing)
            for row in bundle.workloads
        }
        desk = msgspec.structs.replace(
            now,
            purposes={name: words for name, words in purposes.items() if words},
            # Of a service that is not understood, `bundle` has the published ones: no one joins them.
            resource_servers=tuple(
                each for each in now.resource_servers if each in bundle.desk.resource_servers
            ),
        )
    if desk == bundle.desk:
        return bundle
    return seal(msgspec.structs.replace(bundle, desk=desk), bundle.generation)


def _kept_purposes(published: tuple[str, ...], name: str, standing: Standing) -> tuple[str, ...]:
    """Of a workload's published purposes those that what can be read of it still names."""
    found = standing.understood.get(name) or standing.remainders.get(name)
    return () if found is None else tuple(each for each in published if each in found.spec.purposes)


def _is_same_desk(one: BundleDesk, other: BundleDesk) -> bool:
    return (one.namespace, one.name, one.issuer) == (other.namespace, other.name, other.issuer)


def without_newcomers(published: Bundle, wanted: Bundle, *, only_unchanged: bool) -> Bundle:
    """What of a bundle that is too large can take the place of the one before it: no one comes in.

    Args:
        published: the bundle that gates run on.
        wanted: the one that is too large.
        only_unchanged: whose row is not the same as before is out as well, since it may need more room.

    Returns:
        Of `wanted` the workloads and issuers that were in before, and all else. Sealed with the generation 1.
    """
    tables = _Tables(wanted)
    known = {issuer.name for issuer in published.issuers}
    for issuer in wanted.issuers:
        if issuer.name in known:
            tables.add_issuer(issuer)
    before = {row.name: _content(published, row) for row in published.workloads}
    for row in wanted.workloads:
        content = _content(wanted, row)
        if row.name in before and (not only_unchanged or content == before[row.name]):
            tables.add_row(*content)
    return tables.bundle()


_Content = tuple[BundleWorkload, str, tuple[BundleGrant, ...]]


def _content(bundle: Bundle, row: BundleWorkload) -> _Content:
    """A row with what it points to, so that rows of two bundles can be compared."""
    return (
        msgspec.structs.replace(row, issuer=0, grants=0),
        bundle.issuers[row.issuer].name,
        bundle.grants[row.grants],
    )


def _is_of(row: BundleWorkload, issuer: str, found: TrustedWorkload) -> bool:
    account = found.spec.service_account
    return (issuer, row.namespace, row.service_account) == (
        found.spec.issuer_ref.name,
        account.namespace,
        account.name,
    )


def _narrowed_row(row: BundleWorkload, found: TrustedWorkload, live_uids: Uids) -> BundleWorkload:
    end = parse_time(found.spec.expires) if found.spec.expires is not None else None
    live_uid = row.live_uid
    if live_uid is not None:
        # It was known to be of this cluster: then who the account is now decides.
        live_uid = live_uids.get((row.namespace, row.service_account), live_uid)
    return msgspec.structs.replace(
        row,
        suspended=row.suspended or found.spec.suspend,
        expires_at=min((each for each in (row.expires_at, end) if each is not None), default=None),
        live_uid=live_uid,
    )


def _narrowed_issuer(published: BundleIssuer, remainder: ClusterTrustedIssuer) -> BundleIssuer:
    revoked, spec = revoked_keys(remainder.spec), remainder.spec
    judged = [(jwk, thumbprint_of(jwk) in revoked) for jwk in published.keys]
    keys = tuple(jwk for jwk, is_revoked in judged if not is_revoked)
    taken_back = tuple(jwk for jwk, is_revoked in judged if is_revoked)
    urls = tuple(url for url in published.urls if url in (spec.issuer, *spec.additional_issuers))
    before, now = published.revocations, revocations_of(remainder)
    lines = [each.issued_before for each in (before, now) if each.issued_before is not None]
    return msgspec.structs.replace(
        published,
        keys=keys,
        urls=urls,
        revoked_keys=(*published.revoked_keys, *taken_back)[:MAX_REVOKED_KEYS],
        revocations=BundleRevocations(
            token_ids=tuple(sorted({*before.token_ids, *now.token_ids})),
            pod_uids=tuple(sorted({*before.pod_uids, *now.pod_uids})),
            service_account_uids=tuple(sorted({*before.service_account_uids, *now.service_account_uids})),
            issued_before=max(lines) if lines else None,
        ),
    )


class _Tables:
    """A bundle's tables, rebuilt."""

    def __init__(self, head: Bundle) -> None:
        self._head = head
        self._issuers: dict[str, BundleIssuer] = {}
        self._claims: set[tuple[str, str]] = set()
        self._kids: dict[str, set[str]] = {}
        self._rows: dict[str, _Content] = {}
        self._subjects: set[tuple[str, str, str]] = set()

    def add_issuer(self, issuer: BundleIssuer) -> None:
        if issuer.name in self._issuers or not issuer.urls:
            return
        # What is understood goes first; a key that it claims for the same URL would void the bundle.
        keys = []
        thumbprints = set()
        for jwk in issuer.keys:
            thumbprint = thumbprint_of(jwk)
            named = self._kids.setdefault(jwk["kid"], set())
            is_taken = any((thumbprint, url) in self._claims for url in issuer.urls)
            if not is_taken and (thumbprint in named or len(named) < MAX_KEYS_OF_KID):
                named.add(thumbprint)
                thumbprints.add(thumbprint)
                keys.append(jwk)
        if not keys and not issuer.revoked_keys:
            return
        self._issuers[issuer.name] = msgspec.structs.replace(issuer, keys=tuple(keys))
        self._claims |= {(each, url) for each in thumbprints for url in issuer.urls}

    def add_row(self, row: BundleWorkload, issuer: str, grants: tuple[BundleGrant, ...]) -> None:
        subject = (issuer, row.namespace, row.service_account)
        known = self._issuers.get(issuer)
        if known is not None and known.keys and row.name not in self._rows and subject not in self._subjects:
            self._rows[row.name] = (row, issuer, grants)
            self._subjects.add(subject)

    def bundle(self) -> Bundle:
        issuers = sorted(self._issuers)
        place_of_issuer = {name: place for place, name in enumerate(issuers)}
        lists = grants_table(grants for _, _, grants in self._rows.values())
        place_of = {grants: place for place, grants in enumerate(lists)}
        rows = tuple(
            msgspec.structs.replace(row, issuer=place_of_issuer[issuer], grants=place_of[grants])
            for _, (row, issuer, grants) in sorted(self._rows.items())
        )
        changed = msgspec.structs.replace(
            self._head,
            issuers=tuple(self._issuers[name] for name in issuers),
            grants=tuple(lists),
            workloads=rows,
        )
        return seal(changed, 1)
