# SPDX-License-Identifier: Apache-2.0
"""One service compiled alone, from inputs that were made ready once for all services.

What an edit costs must not grow with the number of services: so nothing here looks further than one service's
own workloads, and every conflict between workloads is one within a service.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import msgspec

from watchword.trust.api.v1alpha1 import (
    ProtectedService,
    ServiceSpec,
    TokenBounds,
    TokenRules,
    TrustedWorkload,
)
from watchword.trust.api.v1alpha1.rules import parse_time
from watchword.trust.audience import AudienceRules, problems_of_audiences
from watchword.trust.bundle import (
    HEADER_FEATURE,
    ROUTE_PURPOSES,
    ROUTES_FEATURE,
    SCHEMA_VERSION,
    Bundle,
    BundleDesk,
    BundleGrant,
    BundleIssuer,
    BundleWorkload,
    ServiceName,
    seal,
)
from watchword.trust.conflicts import losers, problem_of
from watchword.trust.desks import Desks, ReadyDesk, bundle_desk
from watchword.trust.issuers import Issuers, ReadyIssuer, allows
from watchword.trust.network_policy import network_policy
from watchword.trust.problems import Problem, ProblemReason
from watchword.trust.report_only import ReportOnlyRuling, ruling_of
from watchword.trust.routes import is_of_previous_release

Account = tuple[str, str]


class ServiceCompilation(msgspec.Struct, frozen=True):
    """What one service comes to.

    Attributes:
        bundle: sealed with the generation 1; the digest does not depend on it.
        workloads: those that are trusted, suspended and expired ones among them, by name.
        problems: one entry for each workload that was left out.
        audience: the service's own audience, which injection mints; empty: the cluster is not known.
        audience_problems: what is wrong with the audiences that the service declares. Where nothing is left
            to accept, the bundle accepts nothing and must not be published.
        policy: the NetworkPolicy that its mode asks for; None with `Off`.
        desk_problem: why the bundle accepts no desk's tokens although the service names one; else None.
        report_only: what `spec.reportOnlyUntil` comes to; None: there is none.
    """

    bundle: Bundle
    workloads: tuple[TrustedWorkload, ...]
    problems: tuple[Problem, ...]
    audience: str
    audience_problems: tuple[Problem, ...]
    policy: dict[str, Any] | None
    desk_problem: Problem | None = None
    report_only: ReportOnlyRuling | None = None


def compile_service(
    service: ProtectedService,
    workloads: Iterable[TrustedWorkload],
    issuers: Issuers,
    *,
    labels: Mapping[str, str] | None = None,
    live_uids: Mapping[Account, str] | None = None,
    now: float | None = None,
    audiences: AudienceRules = AudienceRules(),  # noqa: B008 - frozen
    desks: Desks = Desks(),  # noqa: B008 - frozen
) -> ServiceCompilation:
    """Compile one service. Never raises for bad resources.

    Args:
        service: the service.
        workloads: those whose `serviceRef` names it, in any order.
        issuers: all issuers, judged together.
        labels: of the service's namespace.
        live_uids: the UIDs of ServiceAccounts of this cluster by (namespace, name): the empty string for one
            that is known to be gone; nothing for one that is not known. Only issuers with `keys.cluster` are
            of this cluster.
        now: seconds since the epoch; from `expires` on, a workload's peers leave the NetworkPolicy. None:
            nothing has expired, and no `reportOnlyUntil` counts.
        audiences: which are derived, and which belong to others, the desks' issuer URLs among them
            (`with_desks`).
        desks: all desks, judged.
    """
    namespace = service.metadata.namespace
    allowed = issuers.allowed_in(namespace, labels or {})
    trusted, problems = _trusted(workloads, issuers, allowed, labels or {})
    active = [each for each in trusted if not has_ended(each, now)]
    own_audience = audiences.audience_of(service)
    desk = _desk_of(service, desks, labels or {}, own_audience)
    report_only = ruling_of(service, labels or {}, now)
    return ServiceCompilation(
        bundle=seal(
            _bundle(
                service,
                trusted,
                allowed,
                live_uids or {},
                revoked=issuers.revoked_in(namespace, labels or {}),
                audiences=audiences.accepted(service),
                desk=bundle_desk(desk, service, trusted, own_audience)
                if isinstance(desk, ReadyDesk)
                else None,
                report_only=report_only,
            ),
            1,
        ),
        workloads=tuple(trusted),
        problems=tuple(problems),
        audience=own_audience,
        audience_problems=tuple(problems_of_audiences(service, audiences)),
        policy=network_policy(service, active),
        desk_problem=desk if isinstance(desk, Problem) else None,
        report_only=report_only,
    )


def _desk_of(
    service: ProtectedService, desks: Desks, labels: Mapping[str, str], audience: str
) -> ReadyDesk | Problem | None:
    desk = desks.of(service, labels)
    if isinstance(desk, ReadyDesk) and not audience:
        # A desk token is for the derived audience and nothing else.
        detail = (
            "the cluster is not known, so that no audience can be derived, and a desk's tokens have no other"
        )
        remedy = "give --cluster-id (`kubectl get namespace kube-system -o jsonpath={.metadata.uid}`)"
        reason = ProblemReason.DESK_WITHOUT_AUDIENCE
        return problem_of(service, "spec.tokenDeskRef.name", reason, detail, remedy)
    return desk


def problem_of_orphan(workload: TrustedWorkload) -> Problem:
    """What is wrong with a workload whose service is not there, or cannot be used."""
    # A serviceRef has no namespace: no one can trust a workload on behalf of someone else's service.
    name, namespace = workload.spec.service_ref.name, workload.metadata.namespace
    detail = f"there is no usable ProtectedService {name} in the namespace {namespace}"
    remedy = "name a ProtectedService of the same namespace"
    return problem_of(workload, "spec.serviceRef.name", ProblemReason.SERVICE_NOT_FOUND, detail, remedy)


def has_ended(workload: TrustedWorkload, now: float | None) -> bool:
    """Whether a workload has expired at a moment (seconds since the epoch; None: before all of them)."""
    if now is None or workload.spec.expires is None:
        return False
    end = parse_time(workload.spec.expires)
    return end is not None and end <= now


def _trusted(
    workloads: Iterable[TrustedWorkload],
    issuers: Issuers,
    allowed: Collection[str],
    labels: Mapping[str, str],
) -> tuple[list[TrustedWorkload], list[Problem]]:
    """The workloads that stand, and what is wrong with the others."""
    problems: list[Problem] = []
    fit: list[TrustedWorkload] = []
    for workload in sorted(workloads, key=lambda each: each.metadata.name):
        if workload.spec.issuer_ref.name in allowed:
            fit.append(workload)
        else:
            problems.append(_unfit(workload, issuers, labels))
    out = set()
    for loser in losers(fit, lambda each: [_subject_of(each)]):
        detail = f"{loser.other.metadata.name} trusts the same subject of the same issuer for this service"
        remedy = "keep one object for one workload, with all its grants"
        problems.append(
            problem_of(loser.resource, "spec.serviceAccount", ProblemReason.SUBJECT_CONFLICT, detail, remedy)
        )
        out.add(id(loser.resource))
    return [each for each in fit if id(each) not in out], problems


def _subject_of(workload: TrustedWorkload) -> tuple[str, str, str]:
    account = workload.spec.service_account
    return workload.spec.issuer_ref.name, account.namespace, account.name


def _unfit(workload: TrustedWorkload, issuers: Issuers, labels: Mapping[str, str]) -> Problem:
    namespace, name = workload.metadata.namespace, workload.spec.issuer_ref.name
    field = "spec.issuerRef.name"
    issuer = issuers.known.get(name)
    if issuer is None:
        detail = f"there is no usable ClusterTrustedIssuer {name}"
        remedy = "name an existing one, or ask a cluster admin to add it"
        return problem_of(workload, field, ProblemReason.ISSUER_NOT_FOUND, detail, remedy)
    if not allows(issuer, namespace, labels):
        detail = f"the issuer {name} does not allow the namespace {namespace} to rely on it"
        remedy = "label the namespace as spec.allowedNamespaces of the issuer says, or ask a cluster admin"
        return problem_of(workload, field, ProblemReason.NAMESPACE_NOT_ALLOWED, detail, remedy)
    detail = f"the ClusterTrustedIssuer {name} has a problem of its own"
    return problem_of(workload, field, ProblemReason.ISSUER_UNUSABLE, detail, "fix the issuer first")


def _bundle(
    service: ProtectedService,
    workloads: list[TrustedWorkload],
    ready: Mapping[str, ReadyIssuer],
    live_uids: Mapping[Account, str],
    *,
    revoked: list[BundleIssuer],
    audiences: tuple[str, ...],
    desk: BundleDesk | None,
    report_only: ReportOnlyRuling | None,
) -> Bundle:
    spec = service.spec
    grants_by_name = {workload.metadata.name: grants_of(workload) for workload in workloads}
    grants = grants_table(grants_by_name.values())
    place_of_issuer = {name: place for place, name in enumerate(ready)}
    place_of_grants = {row: place for place, row in enumerate(grants)}
    rows = []
    for workload in workloads:
        name, issuer = workload.metadata.name, workload.spec.issuer_ref.name
        account = workload.spec.service_account
        is_of_this_cluster = ready[issuer].resource.spec.keys.cluster is not None
        live_uid = live_uids.get((account.namespace, account.name)) if is_of_this_cluster else None
        rows.append(
            BundleWorkload(
                name=name,
                issuer=place_of_issuer[issuer],
                namespace=account.namespace,
                service_account=account.name,
                grants=place_of_grants[grants_by_name[name]],
                suspended=workload.spec.suspend,
                expires_at=None if workload.spec.expires is None else parse_time(workload.spec.expires),
                live_uid=live_uid,
            )
        )
    return Bundle(
        schema_version=SCHEMA_VERSION,
        service=ServiceName(namespace=service.metadata.namespace, name=service.metadata.name),
        generation=1,
        digest="",
        audiences=audiences,
        token=TokenBounds(
            max_lifetime_seconds=spec.token.max_lifetime_seconds,
            clock_skew_seconds=spec.token.clock_skew_seconds,
            binding=spec.token.binding,
        ),
        token_header=msgspec.UNSET if spec.token.header == "Authorization" else spec.token.header,
        # Every issuer that the namespace may rely on, used or not: a stranger is then told that it is
        # unknown, and not that its key is.
        issuers=(*(issuer.entry for issuer in ready.values()), *revoked),
        grants=tuple(grants),
        workloads=tuple(rows),
        routes=spec.routes,
        limits=spec.limits,
        pass_headers=tuple(sorted({name.lower() for name in spec.proxy.pass_headers})),
        meters=spec.usage.meters,
        usage_base_path=spec.usage.base_path,
        event_retention_days=spec.usage.event_retention_days,
        late_days=spec.usage.late_days,
        future_seconds=spec.usage.future_seconds,
        requires=_required(spec),
        desk=msgspec.UNSET if desk is None else desk,
        report_only_until=msgspec.UNSET
        if report_only is None or report_only.until is None
        else report_only.until,
    )


def _required(spec: ServiceSpec) -> tuple[str, ...]:
    """What a gate must know to follow a service's whole bundle, so that it never reads it as wider."""
    needed = {
        ROUTE_PURPOSES: any(route.purpose is not None for route in spec.routes),
        ROUTES_FEATURE: not all(map(is_of_previous_release, spec.routes)),
        HEADER_FEATURE: spec.token.header != TokenRules().header,
    }
    return tuple(feature for feature, is_needed in needed.items() if is_needed)


def grants_table(lists: Iterable[tuple[BundleGrant, ...]]) -> list[tuple[BundleGrant, ...]]:
    """The distinct lists of grants, in the order in which a bundle has them."""
    return sorted(set(lists), key=lambda row: [(each.scopes, each.accounts, each.projects) for each in row])


def grants_of(workload: TrustedWorkload) -> tuple[BundleGrant, ...]:
    """A workload's grants, as a bundle has them."""
    return tuple(
        BundleGrant(
            scopes=tuple(sorted(set(each.scopes))),
            accounts=tuple(sorted(set(each.accounts))),
            projects=tuple(sorted(set(each.projects))),
        )
        for each in workload.spec.grants
    )
