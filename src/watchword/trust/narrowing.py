# SPDX-License-Identifier: Apache-2.0
"""What stands of a published bundle where objects cannot be understood, or where the new one has no room.

An object of a newer release must not put its callers out, so its part of the bundle stands. But a bundle that
stands as a whole lets nobody be put out: whoever could make one such object, or enough of any, would have
stopped every revocation beside it. So each part stands alone, and what takes trust away is always obeyed.
"""

from collections.abc import Mapping

import msgspec

from watchword.identity import Key, load_key
from watchword.trust.bundle import Bundle, BundleGrant, BundleIssuer, BundleRevocations, BundleWorkload, seal
from watchword.trust.issuers import revocations_of, revoked_keys
from watchword.trust.rules import parse_time
from watchword.trust.service import grants_of, grants_table
from watchword.trust.specs import ClusterTrustedIssuer, TrustedWorkload

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
            nobody comes in who was not in.

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


def without_newcomers(published: Bundle, wanted: Bundle, *, only_unchanged: bool) -> Bundle:
    """What of a bundle that is too large can take the place of the one before it: nobody comes in.

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
    keys = tuple(jwk for jwk in published.keys if _thumbprint(jwk) not in revoked)
    urls = tuple(url for url in published.urls if url in (spec.issuer, *spec.additional_issuers))
    before, now = published.revocations, revocations_of(remainder)
    lines = [each.issued_before for each in (before, now) if each.issued_before is not None]
    return msgspec.structs.replace(
        published,
        keys=keys,
        urls=urls,
        revocations=BundleRevocations(
            token_ids=tuple(sorted({*before.token_ids, *now.token_ids})),
            pod_uids=tuple(sorted({*before.pod_uids, *now.pod_uids})),
            service_account_uids=tuple(sorted({*before.service_account_uids, *now.service_account_uids})),
            issued_before=max(lines) if lines else None,
        ),
    )


def _thumbprint(jwk: dict[str, object]) -> str:
    key = load_key(jwk)
    return key.thumbprint if isinstance(key, Key) else ""


class _Tables:
    """A bundle's tables, built anew."""

    def __init__(self, head: Bundle) -> None:
        self._head = head
        self._issuers: dict[str, BundleIssuer] = {}
        self._claims: set[str] = set()
        self._rows: dict[str, _Content] = {}
        self._subjects: set[tuple[str, str, str]] = set()

    def add_issuer(self, issuer: BundleIssuer) -> None:
        claims = {claim for jwk in issuer.keys for claim in (f"kid {jwk['kid']}", _thumbprint(jwk))}
        # A kid or a key of two issuers would void the bundle; whoever is understood goes first.
        if issuer.name in self._issuers or claims & self._claims or not issuer.keys or not issuer.urls:
            return
        self._issuers[issuer.name] = issuer
        self._claims |= claims

    def add_row(self, row: BundleWorkload, issuer: str, grants: tuple[BundleGrant, ...]) -> None:
        subject = (issuer, row.namespace, row.service_account)
        if issuer in self._issuers and row.name not in self._rows and subject not in self._subjects:
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
