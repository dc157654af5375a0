# SPDX-License-Identifier: Apache-2.0
"""TokenDesks made ready: whose issuer URL is its own, and which service may rely on which desk.

A desk's key speaks for all workloads of the services that name it, so it takes both sides: the service names
the desk, and the desk allows the service's namespace. Whatever is missing leaves the desk out of the bundle,
and the rest of the bundle stands.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from watchword.trust.api.v1alpha1 import ProtectedService, TokenDesk, TrustedWorkload
from watchword.trust.audience import AudienceRules, folded_audience
from watchword.trust.bundle import BundleDesk, BundleGrant
from watchword.trust.conflicts import losers, problem_of
from watchword.trust.label_selectors import selects_namespace
from watchword.trust.problems import Problem, ProblemReason

DeskName = tuple[str, str]
_REF = "spec.tokenDeskRef.name"


class DeskKeys(msgspec.Struct, frozen=True):
    """The public signing keys of a desk, as JWKs.

    Attributes:
        keys: those whose tokens are accepted.
        revoked: those that were taken back, so that their tokens are answered as revoked.
    """

    keys: tuple[dict[str, Any], ...] = ()
    revoked: tuple[dict[str, Any], ...] = ()


class ReadyDesk(msgspec.Struct, frozen=True):
    """A desk that services may name.

    Attributes:
        resource: the object.
        keys: its keys.
    """

    resource: TokenDesk
    keys: DeskKeys


class Desks(msgspec.Struct, frozen=True):
    """All desks that count: what each service is compiled against.

    Attributes:
        ready: those that services may name, by name.
        problems: what is wrong with the others, by namespace and name.
    """

    ready: Mapping[str, ReadyDesk] = {}
    problems: Mapping[DeskName, Problem] = {}

    @property
    def issuers(self) -> frozenset[str]:
        """The issuer URLs of the desks that count: no service may take tokens that are made for them."""
        return frozenset(each.resource.spec.issuer for each in self.ready.values())

    def of(self, service: ProtectedService, labels: Mapping[str, str]) -> ReadyDesk | Problem | None:
        """The desk that a service names; why it has none; or None where it names none.

        Args:
            service: the service.
            labels: of its namespace.
        """
        reference = service.spec.token_desk_ref
        if reference is None:
            return None
        desk = self.ready.get(reference.name)
        if desk is None:
            detail = f"there is no usable TokenDesk {reference.name}"
            remedy = "name one of the namespace that is set aside for desks, or ask the platform's admins"
            return problem_of(service, _REF, ProblemReason.DESK_NOT_FOUND, detail, remedy)
        namespace = service.metadata.namespace
        if not allows_namespace(desk.resource, namespace, labels):
            detail = f"the desk {reference.name} does not allow the namespace {namespace} to rely on it"
            remedy = "label the namespace as spec.allowedNamespaces of the desk says, or ask its admins"
            return problem_of(service, _REF, ProblemReason.DESK_NOT_ALLOWED, detail, remedy)
        return desk


def allows_namespace(desk: TokenDesk, namespace: str, labels: Mapping[str, str]) -> bool:
    """Whether services of a namespace, which has these labels, may name a desk. Absent means none."""
    allowed = desk.spec.allowed_namespaces
    if allowed is None or not allowed.match_labels:
        return False
    return selects_namespace(allowed, namespace, labels)


def ready_desks(
    desks: Iterable[TokenDesk],
    keys: Mapping[DeskName, DeskKeys],
    rules: AudienceRules,
    *,
    namespace: str | None = None,
) -> Desks:
    """Judge all desks.

    Args:
        desks: the TokenDesks, in any order.
        keys: their public keys; a desk that is not in it has none yet.
        rules: which audiences and URLs belong to others.
        namespace: the one namespace in which desks count; None: every one does, as where there is no cluster.
    """
    found = sorted(desks, key=_name_of)
    problems: dict[DeskName, Problem] = {}
    counting: list[TokenDesk] = []
    for desk in found:
        if namespace is not None and desk.metadata.namespace != namespace:
            detail = f"desks count in the namespace {namespace or '(none is set)'} only"
            remedy = "ask the platform's admins to make it there (desk.namespace of the chart)"
            reason = ProblemReason.WRONG_NAMESPACE
            problems[_name_of(desk)] = problem_of(desk, "metadata.namespace", reason, detail, remedy)
        elif rules.is_reserved(desk.spec.issuer):
            detail = f"{desk.spec.issuer} is the URL of an issuer, or an audience that is reserved"
            remedy = "give the desk an origin of its own"
            reason = ProblemReason.ISSUER_TAKEN
            problems[_name_of(desk)] = problem_of(desk, "spec.issuer", reason, detail, remedy)
        else:
            counting.append(desk)
    # The same name in two namespaces is a claim too: a service names a desk by its name alone.
    for loser in losers(counting, lambda each: [folded_audience(each.spec.issuer), ("", each.metadata.name)]):
        other = loser.other
        detail = f"the desk {other.metadata.namespace}/{other.metadata.name} has its issuer URL or its name"
        remedy = "give each desk an issuer URL and a name of its own"
        name = (loser.resource.metadata.namespace, loser.resource.metadata.name)
        problem = problem_of(loser.resource, "spec.issuer", ProblemReason.ISSUER_TAKEN, detail, remedy)
        problems[name] = problem
    ready = {
        desk.metadata.name: ReadyDesk(desk, keys.get(_name_of(desk), DeskKeys()))
        for desk in counting
        if _name_of(desk) not in problems
    }
    return Desks(ready, problems)


def with_desks(rules: AudienceRules, desks: Desks) -> AudienceRules:
    """The rules for the audiences of services: what a desk's URL names belongs to the desk.

    Desks themselves are judged by the rules without their own URLs.
    """
    if not desks.issuers:
        return rules
    return msgspec.structs.replace(rules, urls=rules.urls | desks.issuers)


def bundle_desk(
    desk: ReadyDesk, service: ProtectedService, workloads: Iterable[TrustedWorkload], audience: str
) -> BundleDesk:
    """A desk as the bundle of a service has it.

    Args:
        desk: the desk.
        service: the service.
        workloads: those that it trusts.
        audience: the service's derived audience.
    """
    metadata, ceiling = desk.resource.metadata, service.spec.agents
    return BundleDesk(
        namespace=metadata.namespace,
        name=metadata.name,
        issuer=desk.resource.spec.issuer,
        audience=audience,
        keys=desk.keys.keys,
        revoked_keys=desk.keys.revoked,
        purposes={
            each.metadata.name: tuple(sorted(each.spec.purposes)) for each in workloads if each.spec.purposes
        },
        resource_servers=tuple(sorted(service.spec.resource_servers)),
        agents=None
        if ceiling is None
        else BundleGrant(scopes=tuple(sorted(ceiling.scopes)), accounts=tuple(sorted(ceiling.accounts))),
    )


def _name_of(desk: TokenDesk) -> DeskName:
    return desk.metadata.namespace, desk.metadata.name
