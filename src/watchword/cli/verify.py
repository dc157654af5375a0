# SPDX-License-Identifier: Apache-2.0
"""`watchword verify`: would this token be accepted, and if not, which check refuses it and what helps?

The token comes from a file or a pipe, never from an argument: arguments stand in `ps` and in the shell's
history. It is never printed back.
"""

import sys
import time
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from watchword.cli.examination import Report, RequestAsked, report_on
from watchword.cli.failures import ANSWER_IS_NO, UnusableInput, os_reason
from watchword.cli.folder import read_folder
from watchword.cli.moments import MOMENT, shown_moment
from watchword.cli.options import (
    EXISTING_FILE,
    EXISTING_FOLDER,
    OBJECT_NAME,
    ObjectName,
    option,
    output_option,
)
from watchword.cli.service_choice import choose_service, say_problems
from watchword.identity import Identity, Refusal
from watchword.trust import BundleProblem, Ruleset, compile_resources, decode_bundle, load, parse_manifests

# A token has about 1 KiB; a file of this size is something else, and is still judged (token_too_large).
MAX_TOKEN_FILE_BYTES: Final = 64 * 1024
_MARKS: Final = {
    "pass": ("✓", "green"),
    "fail": ("✗", "red"),
    "not reached": ("·", None),
    "not asked": ("·", None),
}


@click.command("verify", short_help="Say whether a token is accepted, check by check.")
@click.argument("source_file", metavar="[TOKEN_FILE|-]", default="-", type=click.Path(allow_dash=True))
@option("--bundle", type=EXISTING_FILE, metavar="FILE", help="The bundle of the service.")
@option(
    "--manifests", type=EXISTING_FOLDER, metavar="DIR", help="A folder of manifests, in place of --bundle."
)
@option("--service", type=OBJECT_NAME, metavar="NS/NAME", help="Which service of --manifests.")
@option(
    "--at", type=MOMENT, metavar="MOMENT", help="Judge at this moment: RFC 3339 or epoch.  [default: now]"
)
@option("--method", metavar="METHOD", help="Also check a request with this method (with --path).")
@option("--path", metavar="PATH", help="Also check a request for this path, as in the request line.")
@output_option("text", "json")
def command(
    *,
    source_file: str,
    bundle: str | None,
    manifests: str | None,
    service: ObjectName | None,
    at: float | None,
    method: str | None,
    path: str | None,
    output: str,
) -> None:
    """Judge the token in TOKEN_FILE, or on standard input, as a gate would.

    Every check is shown with its outcome. What the header says is marked as unverified; claims are shown
    once the signature held. The token itself is never printed, and never read from an argument.

    \b
    Examples:
      kubectl create token atlas -n atlas --audience tuist-server |
        watchword verify --bundle bundle.json
      watchword verify token.txt --manifests manifests/quickstart \\
        --method GET --path /api/projects/acme/ios/builds

    Exit codes: 0 accepted; 1 refused; 2 wrong usage or unusable input.
    """
    if (bundle is None) == (manifests is None):
        raise click.UsageError("Give exactly one of --bundle FILE and --manifests DIR.")
    if service is not None and manifests is None:
        raise click.UsageError("--service belongs to --manifests; a bundle is for one service.")
    if (method is None) != (path is None):
        raise click.UsageError("--method and --path belong together; give both, or neither.")
    ruleset = _from_bundle(bundle) if bundle is not None else _from_manifests(str(manifests), service)
    asked = RequestAsked(method, path) if method is not None and path is not None else None
    now = time.time() if at is None else at
    report = report_on(_read_token(source_file), ruleset, now, asked)
    click.echo(_json(report, ruleset, now) if output == "json" else _text(report, ruleset, now))
    if isinstance(report.decision, Refusal):
        raise SystemExit(ANSWER_IS_NO)


def _read_token(source_file: str) -> bytes:
    source = "Standard input" if source_file == "-" else f"The file {source_file}"
    if source_file == "-" and sys.stdin.isatty():
        click.echo("Reading the token from the terminal; end with Ctrl-D.", err=True)
    try:
        if source_file == "-":
            data = sys.stdin.buffer.read(MAX_TOKEN_FILE_BYTES + 1)
        else:
            with Path(source_file).open("rb") as file:
                data = file.read(MAX_TOKEN_FILE_BYTES + 1)
    except OSError as error:
        # The argument may be a token that was pasted in place of a file: it is not repeated.
        named = source if len(source_file) < 200 and source_file.count(".") != 2 else "TOKEN_FILE"
        remedy = "Name the file that holds the token, or pipe the token in."
        raise UnusableInput(f"{named} cannot be read: {os_reason(error)}.", remedy) from None
    if len(data) > MAX_TOKEN_FILE_BYTES:
        raise UnusableInput(
            f"{source} holds more than {MAX_TOKEN_FILE_BYTES} bytes.",
            "Give the token alone; it is about 1 KiB.",
        )
    # One line break is what `echo` and kubectl add; anything more is the gate's to refuse.
    token = data.removesuffix(b"\n").removesuffix(b"\r")
    if not token:
        raise UnusableInput(f"{source} holds no token.", "Pipe it in, or name the file that holds it.")
    return token


def _from_bundle(path: str) -> Ruleset:
    try:
        return load(decode_bundle(Path(path).read_bytes()))
    except OSError as error:
        raise UnusableInput(
            f"--bundle {path} cannot be read: {os_reason(error)}.", "Make it readable."
        ) from None
    except BundleProblem as problem:
        where = f" at {problem.field}" if problem.field else ""
        raise UnusableInput(
            f"--bundle {path} is not usable{where}: {problem.detail}.", f"{problem.remedy}."
        ) from None


def _from_manifests(folder: str, service: ObjectName | None) -> Ruleset:
    manifests = parse_manifests(read_folder(Path(folder)))
    compilation = compile_resources(manifests.resources)
    say_problems((*manifests.problems, *compilation.problems))
    return load(choose_service(compilation.bundles, service))


def _facts(report: Report, now: float) -> list[tuple[str, str]]:
    claims = report.claims
    if claims is None:
        return []
    pod = claims.pod.name if claims.pod else ""
    return [
        ("subject", ascii(claims.subject)[1:-1] if claims.subject else "absent"),
        ("issuer", ascii(claims.issuer)[1:-1] if claims.issuer else "absent"),
        ("audience", ", ".join(ascii(each)[1:-1] for each in claims.audience) or "absent"),
        ("issued", shown_moment(claims.issued_at, now)),
        ("valid from", shown_moment(claims.not_before, now)),
        ("expires", shown_moment(claims.expires_at, now)),
        ("pod", ascii(pod)[1:-1] or "none"),
        ("token id", ascii(claims.token_id)[1:-1] if claims.token_id else "absent"),
    ]


def _text(report: Report, ruleset: Ruleset, now: float) -> str:
    lines = [f"Service {ruleset.service}", f"Judged at {shown_moment(now, now).partition(' ')[0]}", ""]
    signed = any(check.number == 6 and check.outcome == "pass" for check in report.checks)
    if report.unverified_header:
        lines.append("Header" if signed else "Header (unverified: nobody has signed for it)")
        lines += [f"  {name:<11}{value}" for name, value in report.unverified_header.items()]
    if report.claims is not None:
        lines.append("Claims (signed)")
    else:
        lines.append(f"Claims: not read; {'they are malformed' if signed else 'no signature holds for them'}")
    lines += [f"  {name:<11}{value}" for name, value in _facts(report, now)]
    lines += ["", "Checks"]
    for check in report.checks:
        mark, color = _MARKS[check.outcome]
        note = "" if check.outcome == "pass" else f"  ({check.outcome})"
        lines.append(click.style(f"  {mark} {check.number:>2}  {check.name}{note}", fg=color))
    lines += ["", *_verdict(report)]
    return "\n".join(lines)


def _verdict(report: Report) -> list[str]:
    decision = report.decision
    if isinstance(decision, Identity):
        lines = [click.style("Accepted", fg="green", bold=True) + f" as {decision.workload}"]
        for grant in decision.grants:
            holders = [("accounts", grant.accounts), ("projects", grant.projects)]
            held = "; ".join(f"{kind} {', '.join(names)}" for kind, names in holders if names)
            lines.append(f"  may {', '.join(grant.scopes)}" + (f" for {held}" if held else ""))
        if report.permitted_by:
            lines.append(f"  the request needs {report.permitted_by}, which is granted")
        return lines
    reason = decision.reason
    return [
        click.style("Refused", fg="red", bold=True) + f": {reason.code} (HTTP {reason.status})",
        f"  {decision.detail or reason.summary}",
        f"  Remedy: {decision.hint or reason.remedy}",
    ]


def _json(report: Report, ruleset: Ruleset, now: float) -> str:
    decision = report.decision
    document: dict[str, Any] = {
        "service": ruleset.service,
        "at": now,
        "allowed": isinstance(decision, Identity),
        "checks": report.checks,
        "unverifiedHeader": report.unverified_header,
        "claims": report.claims,
    }
    if isinstance(decision, Identity):
        document["identity"] = decision
        document["requiredScope"] = report.permitted_by
    else:
        document["reason"] = decision.reason.code
        document["status"] = decision.reason.status
        document["detail"] = decision.detail or decision.reason.summary
        document["remedy"] = decision.hint or decision.reason.remedy
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode()
