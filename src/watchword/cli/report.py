# SPDX-License-Identifier: Apache-2.0
"""Report on one token: the whole table of checks, 1 to 17, what the gate would answer, and why.

Checks 3 to 15 are the gate's own code; nothing here decides them again. What cannot be known without a
running gate (the rate) is said to be unknown, not passed.
"""

from typing import Any, Literal

import msgspec

from watchword.cli.missing_workload import missing_workload
from watchword.cli.narrowing import narrowing_of
from watchword.cli.own_endpoints import allow_own, as_forwarded, route_asked
from watchword.gate.original_request import OriginalRequest
from watchword.identity import (
    DeskClaims,
    Examination,
    Identity,
    Reason,
    Refusal,
    VerifiedClaims,
    examine,
    read_credential,
)
from watchword.identity.claims import read_claims
from watchword.identity.compact import parse_compact
from watchword.identity.remedies import listed
from watchword.trust import RouteMatch, Ruleset, authorize

Outcome = Literal["pass", "fail", "not reached", "not asked"]
# A hostile header must not paint on a terminal, or fill it.
SHOWN_CHARACTERS = 100
_PUBLIC = "The route of the request is public: the gate lets it in without a token, and with this one."


class CheckLine(msgspec.Struct, frozen=True):
    """One line of the table."""

    number: int
    name: str
    outcome: Outcome


class RequestLine(msgspec.Struct, frozen=True):
    """The request that the token would be sent with: method, and target as in a request line."""

    method: str
    target: str


class Report(msgspec.Struct, frozen=True):
    """Everything that `verify` and `explain` show.

    Attributes:
        decision: who it is, or why not.
        checks: the table.
        unverified_header: alg, kid and typ as the token says them, escaped; nothing proves them unless check
            6 passed.
        claims: None until the signature held.
        permitted_by: for a request: the scope that its route requires, when it is granted; empty where none
            is asked for: the route is public, or the gate answers the path itself.
        note: what the owner of the trust can see and a caller is not told; empty: nothing more.
        trusted_workload: the TrustedWorkload that is missing, for `unknown_workload`.
        desk: what the token says besides, where it is a desk's.
        narrowing: where it is a desk's: what its workload may and it may not, a sentence each.
        is_public: for a request: its route is public, so that it passes with any token and with none.
    """

    decision: Identity | Refusal
    checks: tuple[CheckLine, ...]
    unverified_header: dict[str, str]
    claims: VerifiedClaims | None
    permitted_by: str | None
    note: str = ""
    trusted_workload: dict[str, Any] | None = None
    desk: DeskClaims | None = None
    narrowing: tuple[str, ...] = ()
    is_public: bool = False


def report_on(token: bytes, ruleset: Ruleset, now: float, request: RequestLine | None) -> Report:
    """Examine a token as a gate with this ruleset would.

    Args:
        token: the token's bytes.
        ruleset: what the gate would run.
        now: seconds since the epoch.
        request: the request; None: identity and trust only.
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
    may: Outcome = "not asked" if request is None else "not reached"
    asked = None if request is None else as_forwarded(request.method, request.target)
    match = None if asked is None else _match(ruleset, asked)
    is_public = isinstance(match, RouteMatch) and match.is_public
    if isinstance(decision, Identity) and asked is not None:
        permission = (
            asked
            if isinstance(asked, Refusal)
            else match
            if isinstance(match, Refusal)
            else _permission(decision, ruleset, asked, match)
        )
        may = "fail" if isinstance(permission, Refusal) else "pass"
        if isinstance(permission, Refusal):
            decision = permission
        else:
            permitted_by = permission
    lines.append(CheckLine(16, "the route and its scope are granted", may))
    lines.append(CheckLine(17, "the workload is within its rate", "not asked"))
    return Report(
        decision,
        tuple(lines),
        _header(credential),
        examination.claims,
        permitted_by,
        _note(decision, credential, ruleset, is_public=is_public),
        missing_workload(decision, ruleset, match if isinstance(match, RouteMatch) else None),
        examination.desk,
        narrowing_of(examination.decision) if isinstance(examination.decision, Identity) else (),
        is_public,
    )


def _match(ruleset: Ruleset, request: OriginalRequest | Refusal) -> RouteMatch | Refusal | None:
    return request if isinstance(request, Refusal) else route_asked(ruleset, request.method, request.target)


def _permission(
    identity: Identity, ruleset: Ruleset, request: OriginalRequest, match: RouteMatch | None
) -> str | Refusal:
    """The scope that permits a request of a route, or of one of the gate's own paths; else the refusal."""
    if match is None:
        return allow_own(identity, ruleset, request.method, request.target)
    if match.is_public:
        return ""
    grant = authorize(identity, match.scope, match.account, match.project, match.purpose)
    return grant if isinstance(grant, Refusal) else match.scope


def _header(credential: bytes | Refusal) -> dict[str, str]:
    if isinstance(credential, Refusal):
        return {}
    parsed = parse_compact(credential)
    if isinstance(parsed, Refusal):
        return {}
    return {name: _shown(parsed.header[name]) for name in ("alg", "kid", "typ") if name in parsed.header}


def _note(
    decision: Identity | Refusal, credential: bytes | Refusal, ruleset: Ruleset, *, is_public: bool
) -> str:
    """What there is to say of a refused token next to its reason."""
    if isinstance(decision, Identity):
        return ""
    return " ".join(filter(None, (_PUBLIC if is_public else "", _key_note(decision, credential, ruleset))))


def _key_note(decision: Refusal, credential: bytes | Refusal, ruleset: Ruleset) -> str:
    """For a key that is not known: whose it claims to be, and which keys that issuer has."""
    if isinstance(credential, Refusal):
        return ""
    parsed = parse_compact(credential)
    if decision.reason is not Reason.UNKNOWN_KEY or isinstance(parsed, Refusal):
        return ""
    issuers = {each.issuer.name: each.issuer for keys in ruleset.policy.keys.values() for each in keys}
    if not issuers:
        return "The bundle has no key at all: no ClusterTrustedIssuer is usable for the service's namespace."
    claims = read_claims(parsed.payload)
    said = None if isinstance(claims, Refusal) else claims.issuer
    its = [name for name, issuer in issuers.items() if said in issuer.urls]
    if said is None or not its:
        known = listed(url for issuer in issuers.values() for url in issuer.urls)
        return f"By its iss (not proven) it is of {_shown(said)}; the bundle has issuers of {known}."
    kids = listed(
        kid
        for kid, keys in ruleset.policy.keys.items()
        if any(each.issuer.name in its and not each.is_revoked for each in keys)
    )
    names = ", ".join(sorted(its))
    return (
        f"By its iss (not proven) it is of {'one of the issuers' if len(its) > 1 else 'the issuer'} "
        f"{names}, of which the bundle has the keys {kids}. If that cluster has rotated its keys, "
        f"`watchword approve ISSUER` "
        "shows what waits, and `kubectl describe clustertrustedissuer ISSUER` says what became of the new "
        "one."
    )


def _shown(value: object) -> str:
    if value is None:
        return "none"
    text = ascii(value)[1:-1] if isinstance(value, str) else type(value).__name__
    return text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "..."
