# SPDX-License-Identifier: Apache-2.0
"""`watchword report`: who would be refused, and why, while a service only reports.

The audit log names callers as far as signed bytes prove who they are, and a gate's metrics count them all.
What is in the log is data of strangers: each text is bounded and escaped, and rows beyond the bound are
counted.
"""

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import IO, Final
from urllib.parse import urlsplit

import click
import msgspec

from watchword.cli.failures import ANSWER_IS_NO, UnusableInput, os_reason, say
from watchword.cli.ops_metrics import NoMetricsError, read_metrics
from watchword.cli.options import option, output_option
from watchword.cli.timestamps import shown_timestamp
from watchword.gate.audit import WOULD_REFUSE

# Of rows that are told apart: beyond them, only how often is counted.
MAX_ROWS: Final = 10_000
_MAX_LINE: Final = 64 * 1024
_MAX_TEXT: Final = 200
# Beyond it no float counts by ones, and no gate has come there.
_MAX_COUNT: Final = 2.0**53
_COUNTER: Final = "watchword_would_refuse"
_LEFT: Final = "watchword_report_only_seconds_left"


class _Unproven(msgspec.Struct):
    peer: str = ""
    method: str = ""
    path: str = ""


class _Entry(msgspec.Struct):
    """What is read of a line of the audit log."""

    outcome: str
    reason: str
    time: float = 0.0
    issuer: str = ""
    subject: str = ""
    workload: str = ""
    scope: str = ""
    unproven: _Unproven | None = None


class _Row(msgspec.Struct):
    """One kind of requests that would be refused."""

    reason: str
    who: str
    is_proven: bool
    scope: str = ""
    requests: int = 0
    last: float = 0.0
    example: str = ""


_NAME_A_GATE: Final = "Name the ops port of a gate of this release."
_NAME_A_LOG: Final = "Name a log file."
_decoder: Final = msgspec.json.Decoder(_Entry)


@click.command("report", short_help="List who would be refused while a service only reports.")
@click.argument("files", metavar="[FILE]...", nargs=-1, type=click.File("rb"))
@option(
    "--url",
    "urls",
    multiple=True,
    metavar="OPS_URL",
    help="Ask a gate's ops port for its counts instead of reading its audit log; may be given again.",
)
@output_option("text", "json")
def command(*, files: tuple[IO[bytes], ...], urls: tuple[str, ...], output: str) -> None:
    """List who would be refused, and why, by the audit log of a service that only reports.

    A service reports until spec.reportOnlyUntil: what it would refuse passes, and each such request is a
    line with the outcome `would_refuse`. FILE is such a log, or `-` for standard input; other lines are
    passed over. A caller is named by its workload, else by the subject of its signed token, else by the
    address that the connection came from, which may be a proxy's. Of callers without a signed token, a gate
    writes 20 lines a second at most; --url asks for the counts of all, by reason.

    \b
    Examples:
      kubectl -n tuist logs -l app=tuist-server -c watchword-gate --tail=-1 | watchword report -
      watchword report audit.log -o json
      watchword report --url http://127.0.0.1:9090

    Exit codes: 0 no one would be refused; 1 someone would; 2 wrong usage or unusable input.
    """
    if bool(files) == bool(urls):
        raise UnusableInput(
            "There is nothing to read, or both a log and a gate.",
            "Give FILE (`-` for standard input), or --url with the address of a gate's ops port.",
        )
    if urls:
        is_any = _show_counts([_counts_of(url) for url in urls], output)
    else:
        is_any = _show_rows(_Rows.read(files), output)
    if is_any:
        raise SystemExit(ANSWER_IS_NO)


class _Rows:
    """What a log comes to."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str, bool, str], _Row] = {}
        self.others = self.passed_over = 0

    @classmethod
    def read(cls, files: Iterable[IO[bytes]]) -> "_Rows":
        found = cls()
        for file in files:
            try:
                for line in _lines(file):
                    found.take(line)
            except OSError as error:
                raise UnusableInput(
                    f"{file.name!a} cannot be read: {os_reason(error)}.", _NAME_A_LOG
                ) from None
        return found

    def take(self, line: bytes) -> None:
        try:
            entry = _decoder.decode(line)
        except msgspec.MsgspecError:
            self.passed_over += bool(line.strip())
            return
        if entry.outcome != WOULD_REFUSE:
            return
        said = entry.unproven or _Unproven()
        who = entry.workload or (f"{entry.subject} of {entry.issuer or 'an issuer'}" if entry.subject else "")
        is_proven = bool(who)
        who = _plain(who or said.peer.rpartition(":")[0] or "unknown")
        key = (_plain(entry.reason), who, is_proven, _plain(entry.scope))
        row = self.rows.get(key)
        if row is None:
            if len(self.rows) >= MAX_ROWS:
                self.others += 1
                return
            row = self.rows[key] = _Row(key[0], who, is_proven, key[3])
        row.requests += 1
        if entry.time >= row.last:
            row.last, row.example = entry.time, _plain(f"{said.method} {said.path}".strip())

    def sorted(self) -> list[_Row]:
        return sorted(self.rows.values(), key=lambda row: (-row.requests, row.reason, row.who, row.scope))


def _lines(file: IO[bytes]) -> Iterator[bytes]:
    """The lines of a file, of which one that is longer than any of the log's is passed over."""
    is_rest = False
    while part := file.readline(_MAX_LINE):
        is_end = part.endswith(b"\n")
        if not is_rest and (is_end or len(part) < _MAX_LINE):
            yield part
        is_rest = not is_end


def _show_rows(found: _Rows, output: str) -> bool:
    rows = found.sorted()
    total = sum(row.requests for row in rows) + found.others
    if output == "json":
        document = {
            "requests": total,
            "wouldBeRefused": [
                {
                    "reason": row.reason,
                    "who": row.who,
                    "proven": row.is_proven,
                    "scope": row.scope,
                    "requests": row.requests,
                    "last": row.last,
                    "example": row.example,
                }
                for row in rows
            ],
            "others": found.others,
            "linesPassedOver": found.passed_over,
        }
        click.echo(json.dumps(document, indent=2))
        return bool(total)
    if found.passed_over:
        say(f"{found.passed_over} lines are none of an audit log, and were passed over.")
    if not total:
        click.echo("No one would be refused, by this log.")
        return False
    lines = [("REQUESTS", "REASON", "WHO", "SCOPE", "LAST", "EXAMPLE")]
    for row in rows:
        # The time is shown as it is, without how long ago that was: the log may be an old one.
        last = shown_timestamp(row.last, row.last).partition(" ")[0]
        who = row.who if row.is_proven else f"{row.who} (not proven)"
        lines.append((str(row.requests), row.reason, who, row.scope or "-", last, row.example))
    _table(lines)
    if found.others:
        click.echo(f"{found.others} more requests are of further callers.")
    click.echo(f"{total} requests would be refused. What to do about each reason: docs/reference/reasons.md")
    return True


def _counts_of(url: str) -> tuple[str, float, dict[tuple[str, str], int]]:
    """Of one gate: its address, for how long it goes on to report, and its counts by service and reason."""
    from prometheus_client.parser import text_string_to_metric_families

    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise UnusableInput(f"--url {url!a} is not a URL.", "Say for example http://127.0.0.1:9090.")
    try:
        text = read_metrics(url).decode()
        families = {each.name: each for each in text_string_to_metric_families(text)}
    except (NoMetricsError, ValueError) as error:
        why = str(error) if isinstance(error, NoMetricsError) else type(error).__name__
        raise UnusableInput(
            f"{url} gives no metrics ({why}).",
            "Name the ops port of a gate that runs, such as http://127.0.0.1:9090.",
        ) from None
    if _LEFT not in families:
        raise UnusableInput(f"{url} is no gate that can report.", _NAME_A_GATE)
    left = sum(sample.value for sample in families[_LEFT].samples)
    samples = families[_COUNTER].samples if _COUNTER in families else []
    if not all(0 <= value < _MAX_COUNT for value in (left, *(each.value for each in samples))):
        raise UnusableInput(f"{url} counts what no gate counts.", _NAME_A_GATE)
    counts = {
        (_plain(each.labels.get("service", "")), _plain(each.labels.get("reason", ""))): int(each.value)
        for each in samples
        if each.value
    }
    return url, left, counts


def _show_counts(gates: list[tuple[str, float, dict[tuple[str, str], int]]], output: str) -> bool:
    total = sum(sum(counts.values()) for _, _, counts in gates)
    if output == "json":
        document = {
            "requests": total,
            "gates": [
                {
                    "url": url,
                    "secondsLeft": left,
                    "wouldBeRefused": [
                        {"service": service, "reason": reason, "requests": number}
                        for (service, reason), number in sorted(counts.items())
                    ],
                }
                for url, left, counts in gates
            ],
        }
        click.echo(json.dumps(document, indent=2))
        return bool(total)
    for url, left, _ in gates:
        click.echo(f"{url}: {f'reports for {left:.0f} s more' if left else 'enforces'}")
    added: dict[tuple[str, str], int] = {}
    for _, _, counts in gates:
        for key, number in counts.items():
            added[key] = added.get(key, 0) + number
    if not added:
        click.echo("No one would have been refused since these gates began.")
        return False
    rows = sorted(added.items(), key=lambda each: (-each[1], each[0]))
    _table([("REQUESTS", "REASON", "SERVICE"), *((str(number), key[1], key[0]) for key, number in rows)])
    click.echo("Who they are is in the audit log: `kubectl logs ... | watchword report -`")
    return True


def _table(lines: Sequence[tuple[str, ...]]) -> None:
    widths = [max(len(line[place]) for line in lines) for place in range(len(lines[0]))]
    for line in lines:
        cells = [cell.ljust(width) for cell, width in zip(line, widths, strict=True)]
        click.echo("  ".join(cells).rstrip())
    sys.stdout.flush()


def _plain(text: str) -> str:
    shown = text if text.isprintable() else ascii(text)[1:-1]
    return shown if len(shown) <= _MAX_TEXT else shown[:_MAX_TEXT] + "..."
