# SPDX-License-Identifier: Apache-2.0
"""A bundle made ready: parsed keys, one table of workloads, compiled routes.

All work that does not depend on a request happens here, once, and whatever could be doubtful in a bundle
stops it here: a gate swaps whole rulesets and never runs on half of one.
"""

import msgspec

from watchword.identity import (
    ALGORITHMS,
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
from watchword.trust.bundle import Bundle, BundleIssuer, BundleProblem
from watchword.trust.names import has_control_character, is_object_name
from watchword.trust.routes import RouteTable, flaw_of_template
from watchword.trust.specs import Limits, MeterSpec

_REMEDY = "make it anew with `watchword compile`"


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


def load(bundle: Bundle) -> Ruleset:
    """Make a bundle ready to decide.

    Raises:
        BundleProblem: a key that cannot be loaded, a place outside of a table, or two entries for one thing.
    """
    _refuse_unfit_names(bundle)
    keys: dict[str, PinnedKey] = {}
    holders: dict[str, str] = {}
    for place, written in enumerate(bundle.issuers):
        issuer = _issuer(written, f"issuers[{place}]")
        for index, jwk in enumerate(written.keys):
            key = load_key(jwk, index)
            path = f"issuers[{place}].keys[{index}]"
            if not isinstance(key, Key):
                raise BundleProblem(f"{path}.{key.field}", key.detail, _REMEDY)
            if key.kid in keys:
                raise BundleProblem(f"{path}.kid", "another key of the bundle has this kid", _REMEDY)
            # One key under two issuers would let its holder choose, by the kid, which cluster it speaks for.
            if holders.setdefault(key.thumbprint, issuer.name) != issuer.name:
                raise BundleProblem(path, "another issuer of the bundle has this key", _REMEDY)
            keys[key.kid] = PinnedKey(key, issuer)
    if flaw := flaw_of_template(bundle.usage_base_path):
        raise BundleProblem("usageBasePath", flaw, _REMEDY)
    try:
        routes = RouteTable(bundle.routes)
    except ValueError as problem:
        raise BundleProblem("routes", str(problem), _REMEDY) from None
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
        ),
        routes=routes,
        limits=bundle.limits,
        meters=bundle.meters,
        usage_base_path=bundle.usage_base_path,
        event_retention_days=bundle.event_retention_days,
        late_days=bundle.late_days,
        future_seconds=bundle.future_seconds,
        issuers=len(bundle.issuers),
        workloads=len(bundle.workloads),
    )


def _refuse_unfit_names(bundle: Bundle) -> None:
    """Identities are bound to names, and names go into headers: each is whole, plain and there once."""
    service = bundle.service
    if not is_namespace_name(service.namespace) or not is_object_name(service.name):
        raise BundleProblem("service", "not the names of a namespace and an object", _REMEDY)
    names: set[str] = set()
    for place, issuer in enumerate(bundle.issuers):
        if not is_object_name(issuer.name) or issuer.name in names:
            detail = "not the name of an object, or that of another issuer of the bundle"
            raise BundleProblem(f"issuers[{place}].name", detail, _REMEDY)
        names.add(issuer.name)
    for place, row in enumerate(bundle.grants):
        texts = (text for grant in row for text in grant.scopes + grant.accounts + grant.projects)
        if any(map(has_control_character, texts)):
            raise BundleProblem(f"grants[{place}]", "a text in it holds a control character", _REMEDY)


def _issuer(written: BundleIssuer, path: str) -> Issuer:
    if not ALGORITHMS.issuperset(written.algorithms):
        detail = f"not all of them are among {', '.join(sorted(ALGORITHMS))}"
        raise BundleProblem(f"{path}.algorithms", detail, _REMEDY)
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
            raise BundleProblem(f"workloads[{place}]", "it points outside of a table", _REMEDY)
        if not is_object_name(row.name):
            raise BundleProblem(f"workloads[{place}]", "it does not have the name of an object", _REMEDY)
        subject = (names[row.issuer], f"system:serviceaccount:{row.namespace}:{row.service_account}")
        if subject in workloads:
            raise BundleProblem(f"workloads[{place}]", "another workload has this subject", _REMEDY)
        workloads[subject] = Workload(
            name=f"{bundle.service.namespace}/{row.name}",
            grants=grants[row.grants],
            suspended=row.suspended,
            expires_at=row.expires_at,
            live_uid=row.live_uid,
        )
    return workloads
