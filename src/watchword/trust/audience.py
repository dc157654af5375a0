# SPDX-License-Identifier: Apache-2.0
"""Which audiences a service's gates accept: one that is derived from its place, and declared ones.

A callee that chose the audience of its callers' tokens could replay them: at another service, at the API
server, at a cloud. So the one that injection mints is computed and never read from an object, and of those
that an object declares the ones that belong to others are left out.
"""

from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Final

import msgspec

from watchword.trust.api.v1alpha1 import ClusterTrustedIssuer, ProtectedService
from watchword.trust.conflicts import problem_of
from watchword.trust.derived_audience import derived_audience, is_derived
from watchword.trust.problems import Problem, ProblemReason

# The API server under the names of its own Service, whatever the cluster's domain is.
_API_SERVER: Final = (
    "https://kubernetes.default*",
    "kubernetes.default*",
    "https://kubernetes",
    "kubernetes",
)
# What large relying parties accept, by their own documentation. The chart's value replaces the list.
DEFAULT_RESERVED: Final = (
    "sts.amazonaws.com",
    "sts.amazonaws.com.cn",
    "pods.eks.amazonaws.com",
    "api://AzureADTokenExchange*",
    "https://iam.googleapis.com/*",
    "//iam.googleapis.com/*",
    "*.svc.id.goog",
    "vault",
    "istio-ca",
    "identity.l5d.io",
    "spire-server",
)


class AudienceRules(msgspec.Struct, frozen=True, dict=True):
    """What decides on audiences besides the service itself.

    Attributes:
        cluster_id: of this cluster; empty: not known, and then no audience is derived.
        former_cluster_ids: IDs that this cluster had: accepted, never minted.
        reserved: audiences of others; a `*` at the start or the end stands for any text.
        urls: URLs of issuers and of this API server.
    """

    cluster_id: str = ""
    former_cluster_ids: tuple[str, ...] = ()
    reserved: tuple[str, ...] = ()
    urls: frozenset[str] = frozenset()

    def audience_of(self, service: ProtectedService) -> str:
        """The derived audience of a service, which injection mints; empty: the cluster is not known."""
        metadata = service.metadata
        return derived_audience(self.cluster_id, metadata.namespace, metadata.name) if self.cluster_id else ""

    def accepted(self, service: ProtectedService) -> tuple[str, ...]:
        """What a service's gates accept, sorted; empty: nothing can be accepted."""
        metadata = service.metadata
        derived = (
            derived_audience(each, metadata.namespace, metadata.name)
            for each in (self.cluster_id, *self.former_cluster_ids)
            if each
        )
        declared = (each for each in service.spec.audiences if not self.is_reserved(each))
        return tuple(sorted({*derived, *declared}))

    def is_reserved(self, audience: str) -> bool:
        """Whether an audience is someone else's, compared without case and without slashes at the end."""
        folded = folded_audience(audience)
        return (
            is_derived(audience)
            or folded in self._exact
            or audience.casefold().startswith(self._starts)
            or folded.endswith(self._ends)
        )

    @cached_property
    def _exact(self) -> frozenset[str]:
        listed = (each for each in (*_API_SERVER, *self.reserved) if "*" not in each)
        return frozenset(folded_audience(each) for each in (*listed, *self.urls) if each)

    @cached_property
    def _starts(self) -> tuple[str, ...]:
        listed = (*_API_SERVER, *self.reserved)
        return tuple(each[:-1].casefold() for each in listed if each.endswith("*") and len(each) > 1)

    @cached_property
    def _ends(self) -> tuple[str, ...]:
        return tuple(each[1:].casefold() for each in self.reserved if each.startswith("*") and len(each) > 1)


def flaw_of_reserved(entry: str) -> str | None:
    """Why an entry of the reserved audiences cannot be used; None: it can."""
    inner = entry.removesuffix("*") if entry.endswith("*") else entry.removeprefix("*")
    if "*" in inner:
        return "a `*` may stand at the start or at the end, and only once"
    if not inner or not entry.isprintable() or entry != entry.strip():
        return "it must be an audience, written plainly"
    return None


def folded_audience(audience: str) -> str:
    """The form in which audiences are compared with reserved ones and with those of other services."""
    return audience.casefold().rstrip("/")


def urls_of_issuers(issuers: Iterable[ClusterTrustedIssuer]) -> frozenset[str]:
    """The URLs that ClusterTrustedIssuers reserve: an API server takes tokens for its own URL by default."""
    return frozenset(
        url for issuer in issuers for url in (issuer.spec.issuer, *issuer.spec.additional_issuers)
    )


def problems_of_audiences(service: ProtectedService, rules: AudienceRules) -> Iterator[Problem]:
    """What is wrong with the audiences of one service."""
    for place, audience in enumerate(service.spec.audiences):
        if rules.is_reserved(audience):
            field, detail = (
                f"spec.audiences[{place}]",
                f"{audience!a} belongs to someone else; it is left out",
            )
            remedy = (
                "remove it, and let callers ask for status.audience, or declare a name of the service's own"
            )
            yield problem_of(service, field, ProblemReason.AUDIENCE_RESERVED, detail, remedy)
    if not rules.accepted(service):
        detail = "no audience is left, and the cluster is not known, so that none can be derived"
        remedy = (
            "give --cluster-id (`kubectl get namespace kube-system -o jsonpath={.metadata.uid}`), "
            "or declare one"
        )
        yield problem_of(service, "spec.audiences", ProblemReason.NO_AUDIENCE, detail, remedy)


def problems_of_shared(services: Iterable[ProtectedService]) -> Iterator[Problem]:
    """One problem for each service that declares an audience of a service of another namespace.

    Compared as `AudiencesDistinct` of the operator compares them: what differs only in case, or in slashes at
    the end, is one name to people, and to some apps.
    """
    all_services = list(services)
    namespaces: dict[str, set[str]] = {}
    for service in all_services:
        for audience in service.spec.audiences:
            namespaces.setdefault(folded_audience(audience), set()).add(service.metadata.namespace)
    for service in all_services:
        for place, audience in enumerate(service.spec.audiences):
            if len(namespaces[folded_audience(audience)]) > 1:
                # The other namespace is not named: the reader of this one may not see it.
                field = f"spec.audiences[{place}]"
                detail = (
                    f"a service of another namespace declares {audience!a} too (compared without case and "
                    "without slashes at the end), and takes the same tokens"
                )
                remedy = "let callers ask for status.audience, then remove it, or declare another one"
                yield problem_of(service, field, ProblemReason.AUDIENCE_SHARED, detail, remedy)
