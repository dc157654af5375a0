# SPDX-License-Identifier: Apache-2.0
"""The whole table of checks, 1 to 17, for one token: what the gate would say, and why.

Checks 3 to 15 are the gate's own code; nothing here decides them again. What cannot be known without a
running gate (the rate) is said to be unknown, not passed.
"""

from typing import Literal

import msgspec

from watchword.identity import (
    Examination,
    Identity,
    Reason,
    Refusal,
    VerifiedClaims,
    examine,
    read_credential,
)
from watchword.identity.compact import parse_compact
from watchword.trust import RouteTable, Ruleset, authorize
from watchword.trust.specs import Route

Answer = Literal["pass", "fail", "not reached", "not asked"]
# A hostile header must not paint on a terminal, or fill it.
SHOWN_CHARACTERS = 100


class CheckLine(msgspec.Struct, frozen=True):
    """One line of the table."""

    number: int
    name: str
    outcome: Answer


class RequestAsked(msgspec.Struct, frozen=True):
    """The request that the token would be sent with: method, and target as it stands in a request line."""

    method: str
    target: str


class Report(msgspec.Struct, frozen=True):
    """Everything that `verify` shows.

    Attributes:
        decision: who it is, or why not.
        checks: the table.
        unverified_header: alg, kid and typ as the token says them, escaped; nobody has signed for them
            unless check 6 passed.
        claims: None until the signature held.
        permitted_by: for a request: the scope that its route requires, when it is granted.
    """

    decision: Identity | Refusal
    checks: tuple[CheckLine, ...]
    unverified_header: dict[str, str]
    claims: VerifiedClaims | None
    permitted_by: str | None


def report_on(token: bytes, ruleset: Ruleset, now: float, asked: RequestAsked | None) -> Report:
    """Examine a token as a gate with this ruleset would.

    Args:
        token: the token's bytes.
        ruleset: what the gate would run.
        now: seconds since the epoch.
        asked: the request; None: identity and trust only.
    """
    lines = [CheckLine(1, "a bundle is loaded", "pass")]
    credential = read_credential([(b"authorization", b"Bearer " + token)])
    name = "the credential is one Bearer token"
    if isinstance(credential, Refusal):
        lines.append(CheckLine(2, name, "fail"))
        examination = Examination(credential, (), None)
        # The names of the checks that were not reached come from the same place as ever.
        lines += [
            CheckLine(each.number, each.name, "not reached")
            for each in examine(b"", ruleset.policy, now).checks
        ]
    else:
        lines.append(CheckLine(2, name, "pass"))
        examination = examine(credential, ruleset.policy, now)
        lines += [CheckLine(each.number, each.name, each.outcome.value) for each in examination.checks]
    decision, permitted_by = examination.decision, None
    may: Answer = "not asked" if asked is None else "not reached"
    if isinstance(decision, Identity) and asked is not None:
        permission = _permission(decision, ruleset, asked)
        may = "fail" if isinstance(permission, Refusal) else "pass"
        if isinstance(permission, Refusal):
            decision = permission
        else:
            permitted_by = permission
    lines.append(CheckLine(16, "the route and its scope are granted", may))
    lines.append(CheckLine(17, "the workload is within its rate", "not asked"))
    return Report(decision, tuple(lines), _header(credential), examination.claims, permitted_by)


def _permission(identity: Identity, ruleset: Ruleset, asked: RequestAsked) -> str | Refusal:
    try:
        target = asked.target.encode("ascii")
    except UnicodeEncodeError:
        return Refusal(Reason.NO_ROUTE, "The path is not ASCII; a request line has it percent-encoded.")
    # The gate answers the read model itself, before any route of the app's.
    own = Route(
        path=f"{ruleset.usage_base_path}/accounts/{{account}}/usage",
        methods=("GET",),
        scope="account:usage:read",
    )
    match = RouteTable([own]).match(asked.method, target)
    if isinstance(match, Refusal):
        match = ruleset.routes.match(asked.method, target)
    if isinstance(match, Refusal):
        return match
    grant = authorize(identity, match.scope, match.account, match.project)
    return grant if isinstance(grant, Refusal) else match.scope


def _header(credential: bytes | Refusal) -> dict[str, str]:
    if isinstance(credential, Refusal):
        return {}
    parsed = parse_compact(credential)
    if isinstance(parsed, Refusal):
        return {}
    return {name: _shown(parsed.header[name]) for name in ("alg", "kid", "typ") if name in parsed.header}


def _shown(value: object) -> str:
    text = ascii(value)[1:-1] if isinstance(value, str) else type(value).__name__
    return text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "..."
