# SPDX-License-Identifier: Apache-2.0
"""`watchword lint`: check a folder of manifests offline, for people and for CI."""

import hashlib
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final

import click
import msgspec

from watchword.cli.audience_options import cluster_id_option, offline_rules
from watchword.cli.failures import ANSWER_IS_NO
from watchword.cli.folder import Folder, open_folder
from watchword.cli.issuer_keys import jwks_option, keys_of, take_desk_keys
from watchword.cli.lint_rules import Level, LintFinding, findings_of
from watchword.cli.options import EXISTING_FOLDER, option, output_option
from watchword.cli.placeholder_keys import stand_in
from watchword.trust import Problem, ProblemReason, compile_resources

# It works as written, and something of it is not as good as it looks.
_WARNINGS: Final = frozenset(
    {
        ProblemReason.AUDIENCE_SHARED,
        ProblemReason.SELECTORS_OVERLAP,
        # The Namespace with its label is most often in no one's manifests.
        ProblemReason.REPORT_ONLY_NOT_ALLOWED,
    }
)
_COLORS: Final = {"error": "red", "warning": "yellow", "note": "cyan"}
_ORDER: Final[tuple[Level, ...]] = ("error", "warning", "note")


@click.command("lint", short_help="Check manifests offline.")
@click.argument("folder", metavar="DIR", type=EXISTING_FOLDER)
@option("--strict", is_flag=True, help="Let warnings make the answer a no as well.")
@cluster_id_option
@jwks_option
@output_option("text", "json", "github", "gitlab")
def command(
    *, folder: str, strict: bool, cluster_id: str | None, jwks_files: tuple[str, ...], output: str
) -> None:
    """Check the manifests in DIR: what does not compile, and what compiles and is likely a slip.

    Nothing is fetched: keys that only a cluster can read, and issuers that are not in DIR, are notes. Warned
    of are scopes that no route requires, grants that hold for no path, routes that are never reached, callers
    that the NetworkPolicy keeps out, and the like. -o github prints annotations for GitHub Actions, -o
    gitlab a Code Quality report.

    \b
    Examples:
      watchword lint manifests/quickstart
      watchword lint manifests/two-clusters --strict -o json

    Exit codes: 0 no errors (--strict: no warnings either); 1 there are; 2 wrong usage or unreadable input.
    """
    found = open_folder(folder)
    findings = sorted(
        _findings(found, cluster_id, keys_of(jwks_files)),
        key=lambda each: (
            _ORDER.index(each.level),
            each.source,
            each.kind,
            each.namespace,
            each.name,
            each.field,
        ),
    )
    click.echo(_FORMATS[output](findings, folder))
    bad = {"error", "warning"} if strict else {"error"}
    if any(each.level in bad for each in findings):
        raise SystemExit(ANSWER_IS_NO)


def _findings(folder: Folder, cluster_id: str | None, keys: dict[str, bytes]) -> Iterator[LintFinding]:
    resources = folder.resources
    left_out = {each.name for each in folder.problems if each.kind == "ClusterTrustedIssuer"}
    desk_keys = take_desk_keys(keys, resources, left_out)
    complete = stand_in(resources, keys, issuers=left_out)
    compiled = compile_resources(
        complete.resources,
        keys=complete.keys,
        desk_keys=desk_keys,
        audiences=offline_rules(cluster_id or "offline"),
        now=time.time(),
    )
    for problem in (*folder.problems, *folder.named(compiled.problems)):
        yield _of_problem(problem)
    slips = tuple(findings_of(resources, time.time()))
    located = folder.named(tuple(_as_problem(each) for each in slips))
    for slip, problem in zip(slips, located, strict=True):
        yield msgspec.structs.replace(slip, source=problem.source)
    for name in complete.missing:
        detail = "it is named here and not in these manifests"
        remedy = "see that the cluster has it; a cluster admin adds it"
        yield LintFinding("note", "issuer-elsewhere", "ClusterTrustedIssuer", "", name, "", detail, remedy)
    sources = {each.metadata.name: each.source for each in resources.issuers}
    for name in complete.unread:
        detail = "its keys are read in the cluster and not here"
        remedy = f"nothing, or give them with --jwks {name}=FILE"
        field, source = "spec.keys", sources.get(name, "")
        note = LintFinding(
            "note", "keys-not-read", "ClusterTrustedIssuer", "", name, field, detail, remedy, source
        )
        yield msgspec.structs.replace(note, source=folder.named((_as_problem(note),))[0].source)


def _of_problem(problem: Problem) -> LintFinding:
    level: Level = "warning" if problem.reason in _WARNINGS else "error"
    return LintFinding(
        level,
        problem.reason.value,
        problem.kind,
        problem.namespace,
        problem.name,
        problem.field,
        problem.detail,
        problem.remedy,
        problem.source,
    )


def _as_problem(each: LintFinding) -> Problem:
    reason = ProblemReason.INVALID_FIELD
    return Problem(
        each.kind, each.namespace, each.name, each.field, reason, each.detail, each.remedy, each.source
    )


def _sentence(each: LintFinding) -> str:
    place = f"{each.namespace}/{each.name}" if each.namespace else each.name
    field = f": {each.field}" if each.field else ""
    line = f"{each.kind} {place}{field}: {each.detail} ({each.code}). Remedy: {each.remedy}"
    # Names come from the file's writer: one finding stays one line, and no terminal's command.
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in line
    )


def _text(findings: list[LintFinding], folder: str) -> str:
    del folder
    lines = []
    for each in findings:
        source = f"{each.source}: " if each.source else ""
        level = click.style(f"{each.level}:", fg=_COLORS[each.level], bold=True)
        lines.append(f"{source}{level} {_sentence(each)}")
    counts = Counter(each.level for each in findings)
    said = [f"{counts[level]} {level}{'s' if counts[level] > 1 else ''}" for level in _ORDER if counts[level]]
    return "\n".join([*lines, ", ".join(said) or "Nothing to remark."])


def _json(findings: list[LintFinding], folder: str) -> str:
    del folder
    return msgspec.json.format(msgspec.json.encode({"findings": findings}), indent=2).decode()


def _place(each: LintFinding, folder: str) -> tuple[str, str]:
    file, _, line = (
        each.source.rpartition(":") if each.source.rpartition(":")[2].isdigit() else (each.source, "", "")
    )
    return f"{folder.rstrip('/')}/{file}" if file else "", line or "1"


def _github(findings: list[LintFinding], folder: str) -> str:
    """Workflow commands of GitHub Actions ("Workflow commands for GitHub Actions")."""
    lines = []
    for each in findings:
        level = "notice" if each.level == "note" else each.level
        file, line = _place(each, folder)
        where = f" file={_escaped(file, ':,')},line={line}" if file else ""
        lines.append(f"::{level}{where}::{_escaped(_sentence(each))}")
    return "\n".join(lines)


def _escaped(text: str, more: str = "") -> str:
    for character in "%\r\n" + more:
        text = text.replace(character, f"%{ord(character):02X}")
    return text


def _gitlab(findings: list[LintFinding], folder: str) -> str:
    """A report of GitLab's "Code Quality"."""
    severities = {"error": "critical", "warning": "minor", "note": "info"}
    report = []
    for each in findings:
        file, line = _place(each, folder)
        said = _sentence(each)
        report.append(
            {
                "description": said,
                "check_name": each.code,
                "fingerprint": hashlib.sha256(f"{file} {said}".encode()).hexdigest(),
                "severity": severities[each.level],
                "location": {"path": file or folder, "lines": {"begin": int(line)}},
            }
        )
    return json.dumps(report, indent=2)


_FORMATS: Final[dict[str, Callable[[list[LintFinding], str], str]]] = {
    "text": _text,
    "json": _json,
    "github": _github,
    "gitlab": _gitlab,
}
