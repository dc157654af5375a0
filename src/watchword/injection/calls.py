# SPDX-License-Identifier: Apache-2.0
"""The tokens of a caller: which services a pod wants to call, and with which audiences.

One token is for one service: its audience is computed from where that service is, never read from an object,
so that no callee can have its callers' tokens made for someone else.
"""

from collections.abc import Mapping

import msgspec

from watchword.identity import is_namespace_name, is_service_account_name
from watchword.injection import names
from watchword.injection.facts import Place, ServiceFacts, World
from watchword.injection.refusals import InjectionRefusal, RefusalCode

MAX_CALLS = 16


class Call(msgspec.Struct, frozen=True):
    """A token for one service.

    Attributes:
        place: the service's namespace and name.
        audience: the token's audience.
        seconds: how long it lives.
        path: its file below the token folder.
    """

    place: Place
    audience: str
    seconds: int
    path: str


def calls_of(
    labels: Mapping[str, str], annotations: Mapping[str, str], world: World
) -> list[Call] | InjectionRefusal:
    """The tokens that a pod asks for, its label's first."""
    found: list[Call] = []
    for field, place in _asked(labels, annotations):
        if place is None:
            detail = "it does not name a service"
            remedy = (
                f"label {names.CALL_LABEL}: NAMESPACE.SERVICE, or, where that is longer than 63 characters, "
                f"{names.CALL_LABEL}: {names.CALL_BY_ANNOTATION}; all others go into the annotation "
                f"{names.CALLS_ANNOTATION}: NAMESPACE/SERVICE,NAMESPACE/SERVICE"
            )
            return InjectionRefusal(RefusalCode.BAD_LABEL, field, detail, remedy)
        if any(call.place == place for call in found):
            continue
        service = world.services.get(place)
        if service is None:
            detail = f"there is no ProtectedService {place[1]} in the namespace {place[0]}"
            remedy = "name an existing one, or create it first"
            return InjectionRefusal(RefusalCode.SERVICE_NOT_FOUND, field, detail, remedy)
        longest = service.max_lifetime_seconds
        if longest < names.MIN_TOKEN_SECONDS:
            detail = (
                f"{place[0]}/{place[1]} takes tokens of at most {longest} s, "
                f"and a kubelet makes none under {names.MIN_TOKEN_SECONDS} s"
            )
            remedy = (
                f"raise spec.token.maxLifetimeSeconds of the service to {names.MIN_TOKEN_SECONDS} or more"
            )
            return InjectionRefusal(RefusalCode.LIFETIME_TOO_SHORT, field, detail, remedy)
        unpublished = _unpublished(field, place, service, world)
        if unpublished is not None:
            return unpublished
        path = names.TOKEN_FILE if not found else f"{place[0]}.{place[1]}/{names.TOKEN_FILE}"
        seconds = min(names.TOKEN_SECONDS, longest)
        found.append(Call(place, world.audience_of(place), seconds, path))
    if len(found) > MAX_CALLS:
        field = f"metadata.annotations[{names.CALLS_ANNOTATION}]"
        detail, remedy = f"more than {MAX_CALLS} services are named", "split the pod"
        return InjectionRefusal(RefusalCode.BAD_LABEL, field, detail, remedy)
    return found


def place_in(text: str, border: str) -> Place | None:
    """The namespace and the name that a label or an annotation names; None where it names none.

    Args:
        text: what is written there.
        border: what stands between the two.
    """
    namespace, found, name = text.partition(border)
    is_well_formed = bool(found) and is_namespace_name(namespace) and is_service_account_name(name)
    return (namespace, name) if is_well_formed else None


def cluster_unknown(field: str, place: Place) -> InjectionRefusal:
    """Why no token can be minted where it is not known which cluster this is."""
    detail = f"the audience of {place[0]}/{place[1]} has the cluster's id in it, which is not known"
    remedy = "give --cluster-id (`kubectl get namespace kube-system -o jsonpath={.metadata.uid}`)"
    return InjectionRefusal(RefusalCode.CLUSTER_UNKNOWN, field, detail, remedy)


def audience_unpublished(field: str, place: Place, said: str, remedy: str) -> InjectionRefusal:
    """Why no token can be minted for what is not known to accept its derived audience.

    Args:
        field: the field that names it.
        place: its namespace and name.
        said: its `status.audience`.
        remedy: what would be right.
    """
    detail = f"status.audience of {place[0]}/{place[1]} is " + (f"{said[:256]!a}" if said else "empty")
    return InjectionRefusal(RefusalCode.AUDIENCE_NOT_PUBLISHED, field, detail, remedy)


def _unpublished(field: str, place: Place, service: ServiceFacts, world: World) -> InjectionRefusal | None:
    """Why no token can be minted for a service: its gates are not known to accept the derived audience."""
    if not world.cluster_id:
        return cluster_unknown(field, place)
    if service.published_audience in (None, world.audience_of(place)):
        return None
    remedy = (
        f"wait for the operator, or see why it does not publish the service: its gates must accept "
        f"{world.audience_of(place)} before a token is minted for it"
    )
    return audience_unpublished(field, place, service.published_audience or "", remedy)


def _asked(labels: Mapping[str, str], annotations: Mapping[str, str]) -> list[tuple[str, Place | None]]:
    asked: list[tuple[str, Place | None]] = []
    if labels[names.CALL_LABEL] != names.CALL_BY_ANNOTATION or names.CALLS_ANNOTATION not in annotations:
        asked.append((f"metadata.labels[{names.CALL_LABEL}]", place_in(labels[names.CALL_LABEL], ".")))
    if names.CALLS_ANNOTATION in annotations:
        field = f"metadata.annotations[{names.CALLS_ANNOTATION}]"
        asked += [
            (field, place_in(each.strip(), "/")) for each in annotations[names.CALLS_ANNOTATION].split(",")
        ]
    return asked
