# SPDX-License-Identifier: Apache-2.0
"""Show a report: for people as a screen, for programs as JSON."""

from typing import Any, Final

import click
import msgspec

from watchword.cli.missing_workload import workload_yaml
from watchword.cli.narrowing import shown_grant
from watchword.cli.report import Report
from watchword.cli.terminal import wrapped
from watchword.cli.timestamps import shown_timestamp
from watchword.identity import Identity
from watchword.trust import Ruleset, held_grants

_MARKS: Final = {
    "pass": ("✓", "green"),
    "fail": ("✗", "red"),
    "not reached": ("·", None),
    "not asked": ("·", None),
}


def as_text(report: Report, ruleset: Ruleset, now: float) -> str:
    """The screen: header, claims, checks, and the verdict with its remedy."""
    lines = [f"Service {ruleset.service}", f"Judged at {shown_timestamp(now, now).partition(' ')[0]}", ""]
    signed = any(check.number == 6 and check.outcome == "pass" for check in report.checks)
    if report.unverified_header:
        lines.append("Header" if signed else "Header (unverified: no signature holds for it)")
        lines += [f"  {name:<11}{value}" for name, value in report.unverified_header.items()]
    if report.claims is not None:
        lines.append("Claims (signed)")
    else:
        lines.append(f"Claims: not read; {'they are malformed' if signed else 'no signature holds for them'}")
    lines += [f"  {name:<11}{value}" for name, value in facts_of(report, now)]
    if report.desk is not None:
        lines.append("Desk token")
        lines += [f"  {name:<11}{value}" for name, value in desk_facts_of(report, now)]
    lines += ["", "Checks"]
    for check in report.checks:
        mark, color = _MARKS[check.outcome]
        note = "" if check.outcome == "pass" else f"  ({check.outcome})"
        lines.append(click.style(f"  {mark} {check.number:>2}  {check.name}{note}", fg=color))
    lines += ["", *_verdict(report, ruleset)]
    return "\n".join(lines)


def as_json(report: Report, ruleset: Ruleset, now: float) -> str:
    """The same as a JSON document."""
    decision = report.decision
    document: dict[str, Any] = {
        "service": ruleset.service,
        "at": now,
        "allowed": isinstance(decision, Identity),
        "checks": report.checks,
        "unverifiedHeader": report.unverified_header,
        "claims": report.claims,
    }
    if report.desk is not None:
        document["deskToken"] = report.desk
        document["narrowing"] = report.narrowing
    if isinstance(decision, Identity):
        document["identity"] = decision
        document["requiredScope"] = report.permitted_by
        document["public"] = report.is_public
    else:
        document["reason"] = decision.reason.code
        document["status"] = decision.reason.status
        document["detail"] = decision.sentence()
        document["remedy"] = decision.remedy
        document["note"] = report.note
        document["trustedWorkload"] = report.trusted_workload
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode()


def facts_of(report: Report, now: float) -> list[tuple[str, str]]:
    """What the token's signed claims say, as names and values; nothing where no signature held."""
    claims = report.claims
    if claims is None:
        return []
    pod = claims.pod.name if claims.pod else ""
    return [
        ("subject", ascii(claims.subject)[1:-1] if claims.subject else "absent"),
        ("issuer", ascii(claims.issuer)[1:-1] if claims.issuer else "absent"),
        ("audience", ", ".join(ascii(each)[1:-1] for each in claims.audience) or "absent"),
        ("issued", shown_timestamp(claims.issued_at, now)),
        ("valid from", shown_timestamp(claims.not_before, now)),
        ("expires", shown_timestamp(claims.expires_at, now)),
        ("pod", ascii(pod)[1:-1] or "none"),
        ("token id", ascii(claims.token_id)[1:-1] if claims.token_id else "absent"),
    ]


def desk_facts_of(report: Report, now: float) -> list[tuple[str, str]]:
    """What a desk token says besides, and the token that it was issued for."""
    desk = report.desk
    if desk is None:
        return []
    facts = [("kind", desk.kind), ("purpose", desk.purpose or "none")]
    if (origin := desk.origin) is not None:
        facts += [
            ("origin", f"{origin.subject} of {origin.issuer}"),
            ("its token", origin.token_id or "without an id"),
            ("issued", shown_timestamp(origin.iat, now)),
            ("its pod", origin.pod or "none"),
            ("its key", origin.key),
        ]
    facts += [("allows", shown_grant(each)) for each in desk.grants]
    return [(name, ascii(value)[1:-1]) for name, value in facts]


def _verdict(report: Report, ruleset: Ruleset) -> list[str]:
    decision = report.decision
    if isinstance(decision, Identity):
        lines = [click.style("Accepted", fg="green", bold=True) + f" as {decision.workload}"]
        lines += [f"  may {shown_grant(grant)}" for grant in held_grants(decision)]
        lines += [wrapped(f"Narrower: {each}", "  ") for each in report.narrowing]
        if report.permitted_by:
            lines.append(f"  the request needs {report.permitted_by}, which is granted")
        elif report.is_public:
            lines.append("  the route of the request is public: it needs no token")
        elif report.permitted_by is not None:
            lines.append("  the gate answers this path itself, for every trusted workload")
        return lines
    reason = decision.reason
    lines = [
        click.style("Refused", fg="red", bold=True) + f": {reason.code} (HTTP {reason.status})",
        wrapped(decision.sentence(), "  "),
        wrapped(f"Remedy: {decision.remedy}", "  "),
    ]
    if report.note:
        lines.append(wrapped(f"Note: {report.note}", "  "))
    if report.trusted_workload is not None:
        lines += ["", "# The TrustedWorkload that is missing, for `kubectl apply -f -`:"]
        lines.append(workload_yaml(report.trusted_workload, ruleset))
    return lines
