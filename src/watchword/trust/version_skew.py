# SPDX-License-Identifier: Apache-2.0
"""An object of a newer release: what is left of it without the fields that this release does not know.

An API server drops fields that its CRD does not have, so a field that arrives and is unknown here means that
the CRD is newer. Taking such an object as if the field were not there could grant more than was written;
refusing it would drop every caller on the day that a release adds a field with a default. So what was
understood before stands, and of the new text only what takes trust away is obeyed.
"""

import copy
import re
from collections.abc import Mapping
from typing import Any, Final, TypeVar

import msgspec

from watchword.trust.api.v1alpha1 import (
    AgentProvider,
    ClusterTrustedIssuer,
    ProtectedService,
    Resource,
    ServiceSpec,
    TokenDesk,
    TrustedWorkload,
)
from watchword.trust.api.v1alpha1.rules import parse_time
from watchword.trust.objects import read_object
from watchword.trust.problems import Problem

UNKNOWN_FIELD: Final = "the field is unknown"
# As short as a ProtectedService can be. No service has this audience, and no pod this label.
_STAND_IN: Final = {
    "audiences": ["nothing.watchword.invalid"],
    "selector": {"matchLabels": {"nothing.watchword.invalid": "nothing"}},
    "port": 1,
    "upstreamPort": 2,
}
_MEMBERS: Final = frozenset(each.encode_name for each in msgspec.structs.fields(ServiceSpec))
_STEP: Final = re.compile(r"\.?([^.\[\]]+)|\[(\d+)\]")
# More than any release adds; a hostile object costs this many conversions at most.
_MAX_FIELDS: Final = 64

_R = TypeVar("_R", bound=Resource)


class Reading(msgspec.Struct, frozen=True):
    """What one object is to this release.

    Attributes:
        resource: the resource, when all of it is understood.
        problems: what is wrong with it otherwise.
        remainder: the resource without its unknown fields, when nothing else is wrong with it; of a
            ProtectedService that is wrong, what is left of it without that (`readable_part`).
        is_newer: it has unknown fields, and nothing else is wrong with it.
    """

    resource: Resource | None
    problems: tuple[Problem, ...]
    remainder: Resource | None = None
    is_newer: bool = False


def read_any_release(document: Mapping[str, Any]) -> Reading:
    """Read an object that may be of a newer release. Never raises for a bad one."""
    read = read_object(document)
    if read.resource is not None:
        return Reading(read.resource, read.problems)
    if not _are_unknown(read.problems):
        return Reading(None, read.problems, readable_part(document))
    reduced = copy.deepcopy(dict(document))
    problems = first = read.problems
    for _ in range(_MAX_FIELDS):
        if not all(_remove(reduced, problem.field) for problem in problems):
            break
        read = read_object(reduced)
        problems = read.problems
        if read.resource is not None:
            return Reading(None, first, read.resource, is_newer=True)
        if not _are_unknown(problems):
            # What is wrong with the rest is said first: that is what its writer can fix.
            return Reading(None, problems, readable_part(document))
    return Reading(None, first, readable_part(document))


def readable_part(document: Mapping[str, Any]) -> ProtectedService | None:
    """What can be read of a ProtectedService that is wrong: each member of its spec that is right by itself.

    Where a member has to be there and is not right, another one stands in for it. So it serves to take trust
    away from what such a service had published, and never to publish it. None: it is no ProtectedService, or
    not even its name can be read.
    """
    spec = document.get("spec")
    kept: dict[str, Any] = dict(_STAND_IN)
    found = read_object({**document, "spec": kept}).resource
    if not isinstance(found, ProtectedService):
        return None
    for name, member in spec.items() if isinstance(spec, dict) else ():
        more = kept | {name: member}
        read = read_object({**document, "spec": more}).resource if name in _MEMBERS else None
        if isinstance(read, ProtectedService):
            kept, found = more, read
    return found


def narrowed(standing: _R, remainder: Resource) -> _R:
    """The version that was understood last, with what a newer text takes away from it."""
    if isinstance(standing, TrustedWorkload) and isinstance(remainder, TrustedWorkload):
        spec, new = standing.spec, remainder.spec
        ends = [end for end in (spec.expires, new.expires) if end is not None]
        return msgspec.structs.replace(
            standing,
            spec=msgspec.structs.replace(
                spec,
                suspend=spec.suspend or new.suspend,
                expires=min(ends, key=lambda text: parse_time(text) or 0.0, default=None),
            ),
        )
    if isinstance(standing, ClusterTrustedIssuer) and isinstance(remainder, ClusterTrustedIssuer):
        spec_of_issuer = standing.spec
        revoked = dict.fromkeys((*spec_of_issuer.revoked, *remainder.spec.revoked))
        return msgspec.structs.replace(
            standing, spec=msgspec.structs.replace(spec_of_issuer, revoked=tuple(revoked))
        )
    if isinstance(standing, ProtectedService) and isinstance(remainder, ProtectedService):
        times = (standing.spec.report_only_until, remainder.spec.report_only_until)
        until = None if None in times else min(filter(None, times), key=lambda text: parse_time(text) or 0.0)
        spec_of_service = msgspec.structs.replace(standing.spec, report_only_until=until)
        return msgspec.structs.replace(standing, spec=spec_of_service)
    if isinstance(standing, TokenDesk) and isinstance(remainder, TokenDesk):
        signing = standing.spec.signing
        taken_back = tuple(dict.fromkeys((*signing.revoked, *remainder.spec.signing.revoked)))
        spec_of_desk = msgspec.structs.replace(
            standing.spec, signing=msgspec.structs.replace(signing, revoked=taken_back)
        )
        return msgspec.structs.replace(standing, spec=spec_of_desk)
    if isinstance(standing, AgentProvider) and isinstance(remainder, AgentProvider):
        is_suspended = standing.spec.suspended or remainder.spec.suspended
        return msgspec.structs.replace(
            standing, spec=msgspec.structs.replace(standing.spec, suspended=is_suspended)
        )
    return standing


def _are_unknown(problems: tuple[Problem, ...]) -> bool:
    return bool(problems) and all(problem.detail == UNKNOWN_FIELD for problem in problems)


def _remove(document: dict[str, Any], field: str) -> bool:
    """Remove the member at a path such as `spec.grants[0].methods`; whether it was there."""
    steps = [name or int(place) for name, place in _STEP.findall(field)]
    holder: Any = document
    for step in steps[:-1]:
        try:
            holder = holder[step]
        except (KeyError, IndexError, TypeError):
            return False
    if not steps or not isinstance(holder, dict) or steps[-1] not in holder:
        return False
    del holder[steps[-1]]
    return True
