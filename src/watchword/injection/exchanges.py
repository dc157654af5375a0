# SPDX-License-Identifier: Apache-2.0
"""The token of a pod that exchanges: for the desk that its label names, and for nothing else.

Its audience is computed from where the TokenDesk is. What the object's status says is compared with it and
never minted, as with services: no desk can have tokens made that are good for someone else.
"""

from collections.abc import Mapping

import msgspec

from watchword.injection import names
from watchword.injection.calls import audience_unpublished, cluster_unknown, place_in
from watchword.injection.facts import Place, World
from watchword.injection.refusals import InjectionRefusal, RefusalCode

_FIELD = f"metadata.labels[{names.EXCHANGE_LABEL}]"


class Exchange(msgspec.Struct, frozen=True):
    """A token for one desk.

    Attributes:
        place: the desk's namespace and name.
        audience: the token's audience.
        url: where the desk answers.
    """

    place: Place
    audience: str
    url: str


def exchange_of(labels: Mapping[str, str], world: World) -> Exchange | InjectionRefusal:
    """The desk token that a pod with the label asks for.

    Args:
        labels: the pod's.
        world: the desks to look in.
    """
    value = labels[names.EXCHANGE_LABEL]
    place = place_in(value, ".")
    if place is None:
        detail = f"its value {value[:63]!a} does not name a TokenDesk"
        remedy = f"label the pod {names.EXCHANGE_LABEL}: NAMESPACE.DESK, or remove the label"
        return InjectionRefusal(RefusalCode.BAD_LABEL, _FIELD, detail, remedy)
    desk = world.desks.get(place)
    if desk is None:
        detail = f"there is no TokenDesk {place[1]} that counts in the namespace {place[0]}"
        remedy = (
            "name an existing one; TokenDesks count in one namespace, which the chart names "
            "(desk.enabled, desk.namespace)"
        )
        return InjectionRefusal(RefusalCode.DESK_NOT_FOUND, _FIELD, detail, remedy)
    if not world.cluster_id:
        return cluster_unknown(_FIELD, place)
    audience = world.desk_audience_of(place)
    if desk.published_audience not in (None, audience):
        remedy = (
            "wait for the operator, or see the conditions of the TokenDesk: it must take "
            f"{audience} before a token is minted for it"
        )
        return audience_unpublished(_FIELD, place, desk.published_audience or "", remedy)
    return Exchange(place, audience, desk.issuer)
