# SPDX-License-Identifier: Apache-2.0
"""Resources in; bundles, problems and NetworkPolicies out.

One object that is wrong leaves itself out and nothing else: the rest of a bundle stands. Inputs may come in
any order; the outputs are the same bytes.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from watchword.trust.bundle import SCHEMA_VERSION, Bundle, BundleGrant, BundleWorkload, ServiceName, seal
from watchword.trust.issuers import ReadyIssuer, losers, problem_of, ready_issuers
from watchword.trust.network import network_policy
from watchword.trust.problems import Problem, ProblemReason
from watchword.trust.rules import parse_time
from watchword.trust.specs import ClusterTrustedIssuer, ProtectedService, Resources, TrustedWorkload


class Compilation(msgspec.Struct, frozen=True):
    """What came out.

    Attributes:
        bundles: one for each service, by namespace and name.
        problems: what was left out, and why.
        network_policies: to be applied (`mode: Enforce`).
        previews: to be shown only (`mode: Preview`).
    """

    bundles: tuple[Bundle, ...]
    problems: tuple[Problem, ...]
    network_policies: tuple[dict[str, Any], ...]
    previews: tuple[dict[str, Any], ...] = ()


def compile_resources(
    resources: Resources, *, generation: int = 1, keys: Mapping[str, bytes] | None = None
) -> Compilation:
    """Compile everything. Never raises for bad resources.

    Args:
        resources: from `parse_manifests`, or from a cluster.
        generation: of the bundles; must only grow.
        keys: JWKS documents by issuer name, for sources that only I/O can read.
    """
    problems: list[Problem] = []
    issuers = ready_issuers(resources, keys or {}, problems)
    services = {(each.metadata.namespace, each.metadata.name): each for each in resources.services}
    trusted = _trusted(resources, services, issuers, problems)
    bundles: list[Bundle] = []
    policies: list[dict[str, Any]] = []
    previews: list[dict[str, Any]] = []
    for place, service in sorted(services.items()):
        workloads = trusted.get(place, [])
        bundles.append(seal(_bundle(service, workloads, issuers, resources.namespaces), generation))
        policy = network_policy(service, workloads)
        if policy is not None:
            (policies if service.spec.network_policy.mode == "Enforce" else previews).append(policy)
    ordered = sorted(
        problems, key=lambda each: (each.kind, each.namespace, each.name, each.field, each.detail)
    )
    return Compilation(tuple(bundles), tuple(ordered), tuple(policies), tuple(previews))


def _trusted(
    resources: Resources,
    services: Mapping[tuple[str, str], ProtectedService],
    issuers: Mapping[str, ReadyIssuer],
    problems: list[Problem],
) -> dict[tuple[str, str], list[TrustedWorkload]]:
    """The workloads that stand, by the service that trusts them."""
    known = {each.metadata.name: each for each in resources.issuers}
    fit: list[TrustedWorkload] = []
    for workload in sorted(
        resources.workloads, key=lambda each: (each.metadata.namespace, each.metadata.name)
    ):
        problem = _unfit(workload, services, known, issuers, resources.namespaces)
        if problem is None:
            fit.append(workload)
        else:
            problems.append(problem)
    out = set()
    for loser in losers(fit, lambda each: [_subject_of(each)]):
        detail = f"{loser.other.metadata.name} trusts the same subject of the same issuer for this service"
        remedy = "keep one object for one workload, with all its grants"
        problems.append(
            problem_of(loser.resource, "spec.serviceAccount", ProblemReason.SUBJECT_CONFLICT, detail, remedy)
        )
        out.add(id(loser.resource))
    trusted: dict[tuple[str, str], list[TrustedWorkload]] = {}
    for workload in fit:
        if id(workload) not in out:
            place = (workload.metadata.namespace, workload.spec.service_ref.name)
            trusted.setdefault(place, []).append(workload)
    return trusted


def _subject_of(workload: TrustedWorkload) -> tuple[str, str, str, str, str]:
    spec = workload.spec
    account = spec.service_account
    return (
        workload.metadata.namespace,
        spec.service_ref.name,
        spec.issuer_ref.name,
        account.namespace,
        account.name,
    )


def _unfit(
    workload: TrustedWorkload,
    services: Mapping[tuple[str, str], ProtectedService],
    known: Mapping[str, ClusterTrustedIssuer],
    ready: Mapping[str, ReadyIssuer],
    namespaces: Mapping[str, Mapping[str, str]],
) -> Problem | None:
    namespace, issuer_name = workload.metadata.namespace, workload.spec.issuer_ref.name
    service_name = workload.spec.service_ref.name
    # A serviceRef has no namespace: nobody can trust a workload on behalf of somebody else's service.
    if (namespace, service_name) not in services:
        detail = f"there is no usable ProtectedService {service_name} in the namespace {namespace}"
        remedy = "name a ProtectedService of the same namespace"
        return problem_of(workload, "spec.serviceRef.name", ProblemReason.SERVICE_NOT_FOUND, detail, remedy)
    issuer = known.get(issuer_name)
    if issuer is None:
        detail = f"there is no usable ClusterTrustedIssuer {issuer_name}"
        remedy = "name an existing one, or ask a cluster admin to add it"
        return problem_of(workload, "spec.issuerRef.name", ProblemReason.ISSUER_NOT_FOUND, detail, remedy)
    if not _allows(issuer, namespace, namespaces):
        detail = f"the issuer {issuer_name} does not allow the namespace {namespace} to rely on it"
        remedy = "label the namespace as spec.allowedNamespaces of the issuer says, or ask a cluster admin"
        return problem_of(
            workload, "spec.issuerRef.name", ProblemReason.NAMESPACE_NOT_ALLOWED, detail, remedy
        )
    if issuer_name not in ready:
        detail = f"the ClusterTrustedIssuer {issuer_name} has a problem of its own"
        return problem_of(
            workload, "spec.issuerRef.name", ProblemReason.ISSUER_UNUSABLE, detail, "mend the issuer first"
        )
    return None


def _allows(
    issuer: ClusterTrustedIssuer, namespace: str, namespaces: Mapping[str, Mapping[str, str]]
) -> bool:
    # Every namespace has this label, whether anybody wrote it or not (Kubernetes 1.22).
    labels = {**namespaces.get(namespace, {}), "kubernetes.io/metadata.name": namespace}
    allowed = issuer.spec.allowed_namespaces
    return allowed is None or all(labels.get(key) == value for key, value in allowed.match_labels.items())


def _bundle(
    service: ProtectedService,
    workloads: list[TrustedWorkload],
    ready: Mapping[str, ReadyIssuer],
    namespaces: Mapping[str, Mapping[str, str]],
) -> Bundle:
    spec = service.spec
    # Every issuer that the namespace may rely on, used or not: a stranger is then told that it is unknown,
    # and not that its key is.
    namespace = service.metadata.namespace
    issuers = [name for name in sorted(ready) if _allows(ready[name].resource, namespace, namespaces)]
    lists = {_grants_of(workload) for workload in workloads}
    grants = sorted(lists, key=lambda row: [(each.scopes, each.accounts, each.projects) for each in row])
    place_of_issuer = {name: place for place, name in enumerate(issuers)}
    place_of_grants = {row: place for place, row in enumerate(grants)}
    return Bundle(
        schema_version=SCHEMA_VERSION,
        service=ServiceName(namespace=service.metadata.namespace, name=service.metadata.name),
        generation=1,
        digest="",
        audiences=tuple(sorted(spec.audiences)),
        token=spec.token,
        issuers=tuple(ready[name].entry for name in issuers),
        grants=tuple(grants),
        workloads=tuple(
            BundleWorkload(
                name=workload.metadata.name,
                issuer=place_of_issuer[workload.spec.issuer_ref.name],
                namespace=workload.spec.service_account.namespace,
                service_account=workload.spec.service_account.name,
                grants=place_of_grants[_grants_of(workload)],
                suspended=workload.spec.suspend,
                expires_at=None if workload.spec.expires is None else parse_time(workload.spec.expires),
            )
            for workload in workloads
        ),
        routes=spec.routes,
        limits=spec.limits,
        meters=spec.usage.meters,
        usage_base_path=spec.usage.base_path,
    )


def _grants_of(workload: TrustedWorkload) -> tuple[BundleGrant, ...]:
    return tuple(
        BundleGrant(
            scopes=tuple(sorted(set(each.scopes))),
            accounts=tuple(sorted(set(each.accounts))),
            projects=tuple(sorted(set(each.projects))),
        )
        for each in workload.spec.grants
    )
