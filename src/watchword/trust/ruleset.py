# SPDX-License-Identifier: Apache-2.0
"""A bundle made ready: parsed keys, one table of workloads, compiled routes.

All work that does not depend on a request happens here, once, and whatever could be doubtful in a bundle
stops it here: a gate swaps whole rulesets and never runs on half of one.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from watchword.identity import (
    ALGORITHMS,
    MAX_KEYS_OF_KID,
    Desk,
    Grant,
    Issuer,
    Key,
    PinnedKey,
    Policy,
    Revocations,
    Workload,
    is_namespace_name,
    load_key,
)
from watchword.trust.api.v1alpha1 import Limits, MeterSpec
from watchword.trust.bundle import Bundle, BundleDesk, BundleError, BundleIssuer
from watchword.trust.derived_audience import SERVICE_AUDIENCES
from watchword.trust.desk_tokens import DESK_ALGORITHM, DESK_KID_PREFIX
from watchword.trust.names import has_control_character, is_object_name
from watchword.trust.request_headers import fold, group_that_never_passes
from watchword.trust.route_templates import flaw_of_template
from watchword.trust.routes import RouteTable

AUTHORIZATION: Final = b"authorization"
_REMEDY = "make it again with `watchword compile`"


class Ruleset(msgspec.Struct, frozen=True):
    """What a gate runs.

    Attributes:
        service: `namespace/name`.
        generation: the bundle's generation.
        digest: the bundle's digest.
        policy: what checks 3 to 15 read.
        routes: what check 16 reads.
        limits: what check 17 reads; None: no limit.
        meters: what is counted.
        usage_base_path: where the read model answers.
        event_retention_days: how long usage events are kept, in days; None: for ever.
        late_days: how many days ago an event may be; None: for as long as events are kept.
        future_seconds: how far an event may be ahead of the clock, in seconds.
        issuers: how many issuers.
        workloads: how many workloads.
        pass_headers: names in lower case that go on to the app although they are dropped by default.
        token_header: the name in lower case of the header that the token is in.
        report_only_until: until when what would be refused passes, in seconds since the epoch; None: nothing
            does.
    """

    service: str
    generation: int
    digest: str
    policy: Policy
    routes: RouteTable
    limits: Limits | None
    meters: tuple[MeterSpec, ...]
    usage_base_path: str
    event_retention_days: int | None
    late_days: int | None
    future_seconds: int
    issuers: int
    workloads: int
    pass_headers: frozenset[bytes] = frozenset()
    token_header: bytes = AUTHORIZATION
    report_only_until: float | None = None


def load(bundle: Bundle) -> Ruleset:
    """Make a bundle ready to decide.

    Raises:
        BundleError: a key that cannot be loaded, a place outside of a table, or two entries for one thing.
    """
    _refuse_unfit_names(bundle)
    keys = _pinned_keys(bundle)
    if flaw := flaw_of_template(bundle.usage_base_path):
        raise BundleError("usageBasePath", flaw, _REMEDY)
    try:
        routes = RouteTable(bundle.routes)
    except ValueError as problem:
        raise BundleError("routes", str(problem), _REMEDY) from None
    return Ruleset(
        service=f"{bundle.service.namespace}/{bundle.service.name}",
        generation=bundle.generation,
        digest=bundle.digest,
        policy=Policy(
            audiences=frozenset(bundle.audiences),
            keys=keys,
            workloads=_workloads(bundle),
            max_lifetime_seconds=bundle.token.max_lifetime_seconds,
            clock_skew_seconds=bundle.token.clock_skew_seconds,
            binding=bundle.token.binding,
            service=f"{bundle.service.namespace}/{bundle.service.name}",
            desk=None if bundle.desk is msgspec.UNSET else _desk(bundle, bundle.desk, keys),
        ),
        routes=routes,
        limits=bundle.limits,
        pass_headers=_pass_headers(bundle),
        token_header=_token_header(bundle),
        report_only_until=None if bundle.report_only_until is msgspec.UNSET else bundle.report_only_until,
        meters=bundle.meters,
        usage_base_path=bundle.usage_base_path,
        event_retention_days=bundle.event_retention_days,
        late_days=bundle.late_days,
        future_seconds=bundle.future_seconds,
        issuers=len(bundle.issuers),
        workloads=len(bundle.workloads),
    )


def _pass_headers(bundle: Bundle) -> frozenset[bytes]:
    """The names that the service lets through; a bundle made by hand names none that never passes either."""
    for place, name in enumerate(bundle.pass_headers):
        # A folded name is one that is written as it is compared: lower case, letters, digits and hyphens.
        if fold(name.encode()) != name.encode() or group_that_never_passes(name) is not None:
            detail = "a header that never passes, or one that is not written in lower case with hyphens"
            raise BundleError(f"passHeaders[{place}]", detail, _REMEDY)
    passed = frozenset(name.encode() for name in bundle.pass_headers)
    # Where the token is in a header of its own, Authorization is the app's.
    return passed if _token_header(bundle) == AUTHORIZATION else passed | {AUTHORIZATION}


def _token_header(bundle: Bundle) -> bytes:
    header = bundle.token_header
    return AUTHORIZATION if isinstance(header, msgspec.UnsetType) else header.lower().encode()


def _pinned_keys(bundle: Bundle) -> dict[str, tuple[PinnedKey, ...]]:
    """All keys by kid: those that are trusted first, and all issuers of one key next to each other."""
    trusted: dict[str, list[PinnedKey]] = {}
    revoked: dict[str, list[PinnedKey]] = {}
    holders: dict[tuple[str, str], str] = {}
    for place, written in enumerate(bundle.issuers):
        issuer = _issuer(written, f"issuers[{place}]")
        for index, jwk in enumerate(written.keys):
            path = f"issuers[{place}].keys[{index}]"
            key = _loaded(jwk, path)
            known = trusted.setdefault(key.kid, [])
            if (issuer.name, key.thumbprint) in {(each.issuer.name, each.key.thumbprint) for each in known}:
                raise BundleError(f"{path}.kid", "the issuer has this key twice under one kid", _REMEDY)
            for url in issuer.urls:
                # Two issuers of one key and one `iss`: nothing that is signed could tell them apart.
                if holders.setdefault((key.thumbprint, url), issuer.name) != issuer.name:
                    detail = "another issuer of the bundle with the same URL has this key"
                    raise BundleError(path, detail, _REMEDY)
            known.append(PinnedKey(key, issuer))
            if len({each.key.thumbprint for each in known}) > MAX_KEYS_OF_KID:
                detail = f"more than {MAX_KEYS_OF_KID} keys of the bundle have this kid"
                raise BundleError(f"{path}.kid", detail, _REMEDY)
        for index, jwk in enumerate(written.revoked_keys):
            key = _loaded(jwk, f"issuers[{place}].revokedKeys[{index}]")
            revoked.setdefault(key.kid, []).append(PinnedKey(key, issuer, is_revoked=True))
    return {
        kid: _in_order(trusted.get(kid, []), revoked.get(kid, [])) for kid in trusted.keys() | revoked.keys()
    }


def _desk(bundle: Bundle, written: BundleDesk, keys: Mapping[str, tuple[PinnedKey, ...]]) -> Desk:
    """The desk with its keys, which are no issuer's and have kids that no issuer may have."""
    if not is_namespace_name(written.namespace) or not is_object_name(written.name):
        raise BundleError("desk", "not the names of a namespace and an object", _REMEDY)
    # No ClusterTrustedIssuer can have a name with a slash in it.
    name = f"{written.namespace}/{written.name}"
    issuer = Issuer(name, frozenset({written.issuer}), frozenset({DESK_ALGORITHM}))
    found: dict[str, tuple[PinnedKey, ...]] = {}
    for member, jwks in (("keys", written.keys), ("revokedKeys", written.revoked_keys)):
        for place, jwk in enumerate(jwks):
            key, path = _loaded(jwk, f"desk.{member}[{place}]"), f"desk.{member}[{place}]"
            if key.algorithm != DESK_ALGORITHM:
                raise BundleError(path, f"a desk signs with {DESK_ALGORITHM} only", _REMEDY)
            if not key.kid.startswith(DESK_KID_PREFIX) or key.kid in keys or key.kid in found:
                detail = f"its kid does not begin with {DESK_KID_PREFIX}, or another key has it"
                raise BundleError(f"{path}.kid", detail, _REMEDY)
            found[key.kid] = (PinnedKey(key, issuer, is_revoked=member != "keys"),)
    origin_keys: dict[tuple[str, str], PinnedKey] = {}
    for pinned in (each for held in keys.values() for each in held):
        place_of_key = (pinned.issuer.name, pinned.key.thumbprint)
        if place_of_key not in origin_keys or pinned.is_revoked:
            origin_keys[place_of_key] = pinned
    return Desk(
        name=name,
        keys=found,
        audiences=frozenset(each for each in bundle.audiences if each.startswith(SERVICE_AUDIENCES)),
        origin_keys=origin_keys,
        purposes={
            f"{bundle.service.namespace}/{workload}": frozenset(purposes)
            for workload, purposes in written.purposes.items()
        },
        agents=None
        if written.agents is None
        else Grant(written.agents.scopes, written.agents.accounts, written.agents.projects),
    )


def _loaded(jwk: dict[str, Any], path: str) -> Key:
    key = load_key(jwk)
    if not isinstance(key, Key):
        raise BundleError(f"{path}.{key.field}", key.detail, _REMEDY)
    return key


def _in_order(trusted: list[PinnedKey], revoked: list[PinnedKey]) -> tuple[PinnedKey, ...]:
    by_key: dict[str, list[PinnedKey]] = {}
    for each in (*trusted, *revoked):
        # A revoked key beyond the bound is not known: its tokens are refused all the same.
        if each.key.thumbprint in by_key or len(by_key) < MAX_KEYS_OF_KID:
            by_key.setdefault(each.key.thumbprint, []).append(each)
    return tuple(each for group in by_key.values() for each in group)


def _refuse_unfit_names(bundle: Bundle) -> None:
    """Identities are bound to names, and names go into headers: each is whole, plain and there once."""
    service = bundle.service
    if not is_namespace_name(service.namespace) or not is_object_name(service.name):
        raise BundleError("service", "not the names of a namespace and an object", _REMEDY)
    names: set[str] = set()
    for place, issuer in enumerate(bundle.issuers):
        if not is_object_name(issuer.name) or issuer.name in names:
            detail = "not the name of an object, or that of another issuer of the bundle"
            raise BundleError(f"issuers[{place}].name", detail, _REMEDY)
        names.add(issuer.name)
    ceiling = None if bundle.desk is msgspec.UNSET else bundle.desk.agents
    if ceiling is not None and (
        ceiling.projects or any(map(has_control_character, ceiling.scopes + ceiling.accounts))
    ):
        raise BundleError("desk.agents", "it names projects, or holds a control character", _REMEDY)
    for place, row in enumerate(bundle.grants):
        texts = (text for grant in row for text in grant.scopes + grant.accounts + grant.projects)
        if any(map(has_control_character, texts)):
            raise BundleError(f"grants[{place}]", "a text in it holds a control character", _REMEDY)


def _issuer(written: BundleIssuer, path: str) -> Issuer:
    if not ALGORITHMS.issuperset(written.algorithms):
        detail = f"not all of them are among {', '.join(sorted(ALGORITHMS))}"
        raise BundleError(f"{path}.algorithms", detail, _REMEDY)
    revoked = written.revocations
    return Issuer(
        name=written.name,
        urls=frozenset(written.urls),
        algorithms=frozenset(written.algorithms),
        revocations=Revocations(
            token_ids=frozenset(revoked.token_ids),
            pod_uids=frozenset(revoked.pod_uids),
            service_account_uids=frozenset(revoked.service_account_uids),
            issued_before=revoked.issued_before,
        ),
    )


def _workloads(bundle: Bundle) -> dict[tuple[str, str], Workload]:
    # One tuple of grants serves every workload that has the same: most of the memory at 10,000 workloads.
    grants = [
        tuple(Grant(each.scopes, each.accounts, each.projects) for each in row) for row in bundle.grants
    ]
    names = [issuer.name for issuer in bundle.issuers]
    workloads: dict[tuple[str, str], Workload] = {}
    for place, row in enumerate(bundle.workloads):
        if row.issuer >= len(names) or row.grants >= len(grants):
            raise BundleError(f"workloads[{place}]", "it points outside of a table", _REMEDY)
        if not is_object_name(row.name):
            raise BundleError(f"workloads[{place}]", "it does not have the name of an object", _REMEDY)
        subject = (names[row.issuer], f"system:serviceaccount:{row.namespace}:{row.service_account}")
        if subject in workloads:
            raise BundleError(f"workloads[{place}]", "another workload has this subject", _REMEDY)
        workloads[subject] = Workload(
            name=f"{bundle.service.namespace}/{row.name}",
            grants=grants[row.grants],
            suspended=row.suspended,
            expires_at=row.expires_at,
            live_uid=row.live_uid,
        )
    return workloads
