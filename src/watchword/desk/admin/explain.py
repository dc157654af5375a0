# SPDX-License-Identifier: Apache-2.0
"""A dry run of an exchange: which condition would fail, for a workload that shows a good token of its own.

The policy's side only: no token is asked for, so nothing is said of one. Each condition is judged as an
exchange judges it, by the same functions; what cannot be judged after one that failed says so.
"""

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from watchword.desk.forms import Form
from watchword.desk.grant_request import GrantRequest, read_grant_request, read_purpose
from watchword.desk.narrowing import narrow
from watchword.desk.refusals import DeskRefusal
from watchword.desk.state import DeskState, Target
from watchword.identity.policy import Workload

NAMES: Final = (
    "desk_can_sign",
    "request_is_well_formed",
    "service_relies_on_the_desk",
    "issuer_is_trusted",
    "workload_is_trusted",
    "workload_is_not_suspended",
    "trust_has_not_ended",
    "service_account_lives",
    "purpose_is_allowed",
    "grants_cover_the_request",
)


class Question(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which exchange is asked about.

    Attributes:
        issuer: the ClusterTrustedIssuer of the workload's cluster.
        namespace: of its ServiceAccount.
        service_account: the ServiceAccount's name.
        service: `namespace/name` of the target, or its audience.
        scope: what the token is to allow; or authorization_details.
        account: with scope.
        project: with account.
        authorization_details: RFC 9396, as an exchange takes it.
        purpose: what it is for.
    """

    issuer: str
    namespace: str
    service_account: str
    service: str
    scope: str | None = None
    account: str | None = None
    project: str | None = None
    authorization_details: list[Any] | None = None
    purpose: str | None = None


class Condition(msgspec.Struct, frozen=True, omit_defaults=True):
    """One condition of an exchange.

    Attributes:
        name: one of `NAMES`.
        holds: None: it cannot be judged, since an earlier one does not hold.
        detail: why not.
        remedy: what would help.
    """

    name: str
    holds: bool | None
    detail: str = ""
    remedy: str = ""


class Explanation(msgspec.Struct, frozen=True):
    """What would become of an exchange.

    Attributes:
        allowed: whether each condition holds.
        workload: `namespace/name` of the TrustedWorkload that was found; empty: none was.
        conditions: all of them, in the order in which an exchange judges them.
    """

    allowed: bool
    workload: str
    conditions: tuple[Condition, ...]


def explain(question: Question, state: DeskState, now: float) -> Explanation:
    """Judge an exchange without a token.

    Args:
        question: which one.
        state: what the desk runs.
        now: seconds since the epoch.
    """
    target = state.target_of(question.service)
    key = (question.issuer, f"system:serviceaccount:{question.namespace}:{question.service_account}")
    workload = None if target is None else target.subjects.workloads.get(key)
    found = {each.name: each for each in _judged(question, state, target, workload, now)}
    conditions = tuple(found.get(name, Condition(name, None)) for name in NAMES)
    is_allowed = all(each.holds for each in conditions)
    return Explanation(is_allowed, "" if workload is None else workload.name, conditions)


def _judged(
    question: Question, state: DeskState, target: Target | None, workload: Workload | None, now: float
) -> Iterator[Condition]:
    can_sign = state.signing is not None
    yield _condition("desk_can_sign", can_sign, "no key may sign", "see the conditions of the TokenDesk")
    request = _request_of(question)
    if isinstance(request, DeskRefusal):
        yield Condition("request_is_well_formed", False, request.detail, request.remedy)
    else:
        yield Condition("request_is_well_formed", True)
    if target is None:
        detail = f"no service {question.service} names this desk, or its bundle is not usable"
        remedy = "set spec.tokenDeskRef of the ProtectedService, and see its condition DeskAccepted"
        yield Condition("service_relies_on_the_desk", False, detail, remedy)
        return
    yield Condition("service_relies_on_the_desk", True)
    pinned = [each for held in target.subjects.keys.values() for each in held]
    of_issuer = [each for each in pinned if each.issuer.name == question.issuer]
    detail = f"{target.service} relies on no key of the issuer {question.issuer}"
    if of_issuer and all(each.is_revoked for each in of_issuer):
        detail = f"every key of the issuer {question.issuer} is revoked"
    is_trusted = any(not each.is_revoked for each in of_issuer)
    remedy = "see the ClusterTrustedIssuer, and that a TrustedWorkload of the service names it"
    yield _condition("issuer_is_trusted", is_trusted, detail, remedy)
    if workload is None:
        who = f"{question.namespace}/{question.service_account} of {question.issuer}"
        detail = f"no TrustedWorkload of {target.service} names the ServiceAccount {who}"
        yield Condition("workload_is_trusted", False, detail, "add a TrustedWorkload next to the service")
        return
    yield Condition("workload_is_trusted", True)
    yield from _of_workload(workload, now)
    purpose = "" if isinstance(request, DeskRefusal) else request[1]
    if not isinstance(request, DeskRefusal):
        is_allowed = not purpose or purpose in target.purposes.get(workload.name, frozenset())
        detail = f"{workload.name} does not allow the purpose {purpose}"
        yield _condition(
            "purpose_is_allowed", is_allowed, detail, f"add it to spec.purposes of {workload.name}"
        )
        grants = narrow(workload.grants, request[0])
        if isinstance(grants, DeskRefusal):
            yield Condition("grants_cover_the_request", False, grants.detail, grants.remedy)
        else:
            yield Condition("grants_cover_the_request", True)


def _of_workload(workload: Workload, now: float) -> Iterator[Condition]:
    name = workload.name
    yield _condition(
        "workload_is_not_suspended",
        not workload.suspended,
        f"{name} is suspended",
        "set spec.suspend to false",
    )
    has_not_ended = workload.expires_at is None or now < workload.expires_at
    yield _condition("trust_has_not_ended", has_not_ended, f"{name} has ended", "set a later spec.expires")
    detail = "the ServiceAccount is not there in this cluster"
    yield _condition("service_account_lives", workload.live_uid != "", detail, "make it, and the pod again")


def _request_of(question: Question) -> tuple[GrantRequest, str] | DeskRefusal:
    """What is asked for, read from the very parameters that an exchange would send."""
    details = question.authorization_details
    given = {
        "scope": question.scope,
        "account": question.account,
        "project": question.project,
        "purpose": question.purpose,
        "authorization_details": None if details is None else msgspec.json.encode(details).decode(),
    }
    form = Form({name: (value,) for name, value in given.items() if value})
    request = read_grant_request(form)
    if isinstance(request, DeskRefusal):
        return request
    purpose = read_purpose(form)
    return purpose if isinstance(purpose, DeskRefusal) else (request, purpose)


def _condition(name: str, holds: bool, detail: str, remedy: str) -> Condition:
    return Condition(name, True) if holds else Condition(name, False, detail, remedy)
