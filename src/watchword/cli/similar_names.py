# SPDX-License-Identifier: Apache-2.0
"""Name what could have been meant: candidates for a name that is not there."""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Final

import msgspec

from watchword.trust import Problem, ProblemReason, Resources

_LISTED: Final = 6


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`did you mean X?`; empty where nothing is alike."""
    near = get_close_matches(name, sorted(set(known)), n=1, cutoff=0.7)
    return f"did you mean {near[0]}?" if near else ""


def candidates(name: str, known: Iterable[str], what: str) -> str:
    """What there is in place of a name that is not there: the likely one, else a list, else that there is
    none."""
    ordered = sorted(set(known))
    near = did_you_mean(name, ordered)
    if near:
        return near
    if not ordered:
        return f"there is no {what}"
    more = f" and {len(ordered) - _LISTED} more" if len(ordered) > _LISTED else ""
    return f"there is {', '.join(ordered[:_LISTED])}{more}"


def with_candidates(problems: Iterable[Problem], resources: Resources) -> tuple[Problem, ...]:
    """The problems of references that lead nowhere, with what they could have named."""
    issuers = [each.metadata.name for each in resources.issuers]
    named = {
        (each.metadata.namespace, each.metadata.name): (each.spec.issuer_ref.name, each.spec.service_ref.name)
        for each in resources.workloads
    }
    found = []
    for each in problems:
        issuer, service = named.get((each.namespace, each.name), ("", ""))
        more = ""
        if each.kind == "TrustedWorkload" and each.reason is ProblemReason.ISSUER_NOT_FOUND:
            more = candidates(issuer, issuers, "ClusterTrustedIssuer in these manifests")
        elif each.kind == "TrustedWorkload" and each.reason is ProblemReason.SERVICE_NOT_FOUND:
            there = [
                one.metadata.name for one in resources.services if one.metadata.namespace == each.namespace
            ]
            more = candidates(service, there, f"ProtectedService in {each.namespace}")
        found.append(msgspec.structs.replace(each, remedy=f"{each.remedy}; {more}") if more else each)
    return tuple(found)
