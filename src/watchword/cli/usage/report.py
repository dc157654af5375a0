# SPDX-License-Identifier: Apache-2.0
"""`watchword usage report`: what all accounts used in a month, as a file that people bill from."""

import re
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from functools import partial
from itertools import chain
from typing import Final

import click
import msgspec
from click.core import ParameterSource

from watchword.cli.failures import UnusableInput, say, warn
from watchword.cli.options import EXISTING_FILE, option
from watchword.cli.usage.dsn import dsn_option, opened, refuse_store_file
from watchword.cli.usage.new_file import new_file, refuse_existing
from watchword.cli.usage.report_files import FORMATS, format_of, writer
from watchword.cli.usage.report_sources import ReportFailed, Source, StoreSource
from watchword.usage import Meter, QueryProblem, UsageQuery, parse_query
from watchword.usage.meters import plain
from watchword.usage.problems import shown
from watchword.usage.report import ControlTotals, Row, State, columns, period_state, rows
from watchword.usage.times import day_at, midnight, next_month, parse_date

_MONTH: Final = re.compile(r"(?:19[7-9]\d|[2-9]\d{3})-(?:0[1-9]|1[0-2])\Z", re.ASCII)
# Stands in for the account while the query is read: all of them are asked for.
_ANY: Final = "any"


class _Where(msgspec.Struct, frozen=True):
    """Where to read, as the flags say, and the file that is written."""

    file: str
    usage_dsn: str | None
    units: tuple[str, ...]
    late_days: int | None
    gate: str | None
    token_file: str | None
    ca_file: str | None
    only_granted: bool
    wait_seconds: int


@click.command("report")
@click.argument("file", default="-", type=click.Path(allow_dash=True))
@option("--month", metavar="YYYY-MM", help="The UTC month.")
@option("--from", "start", metavar="DATE", help="First UTC day, instead of --month; needs --to.")
@option("--to", "end", metavar="DATE", help="The day after the last one; needs --from.")
@option(
    "--group-by",
    metavar="NAMES",
    help="Split meters by dimensions too, such as project; several with commas between.",
)
@partial(dsn_option, required=False)
@option(
    "--unit",
    "units",
    multiple=True,
    metavar="METER=UNIT",
    help="A meter's unit, which a store does not know; may be given several times. A gate knows them.",
)
@option(
    "--late-days",
    type=click.IntRange(0),
    metavar="DAYS",
    help="The service's spec.usage.lateDays, which a store does not know. A gate knows it.",
)
@option(
    "--gate",
    metavar="URL",
    help="Read through a gate instead, such as https://tuist-server.tuist.svc:8443/api/internal.",
)
@option(
    "--token-file",
    metavar="FILE",
    help="The token for --gate; it needs account:usage:read for all accounts.  [default: where injection "
    "mounts it]",
)
@option("--ca-file", type=EXISTING_FILE, metavar="FILE", help="PEM file of the CA of the gate's certificate.")
@option(
    "--only-granted", is_flag=True, help="Report the accounts that the token may read, if not all of them."
)
@option(
    "--wait-seconds",
    type=click.IntRange(0),
    default=60,
    show_default=True,
    help="How long to wait for a gate that is away or busy.",
)
@option(
    "-o",
    "--output",
    "kind",
    type=click.Choice(FORMATS),
    help="The format. Default: by the end of FILE's name; a table on standard output.",
)
@option(
    "--exact-names", is_flag=True, help="CSV: put no apostrophe before what spreadsheets run as formulas."
)
@option(
    "--require-closed", is_flag=True, help="Exit with 1, and write nothing, while amounts can still change."
)
@option("--force", is_flag=True, help="Replace FILE if it is there.")
def command(  # the flags of one question
    *,
    file: str,
    month: str | None,
    start: str | None,
    end: str | None,
    group_by: str | None,
    usage_dsn: str | None,
    units: tuple[str, ...],
    late_days: int | None,
    gate: str | None,
    token_file: str | None,
    ca_file: str | None,
    only_granted: bool,
    wait_seconds: int,
    kind: str | None,
    exact_names: bool,
    require_closed: bool,
    force: bool,
) -> None:
    """Write what all accounts used in a month to FILE (by default, to standard output), to bill from.

    One row for each account and meter, in the order of the names' bytes; amounts are exact decimals, and
    `start` (included) and `end` (not included) are the bounds in UTC. `state` is `open` until the month is
    over, `late` while events of it are still taken, then `closed`. FILE is there whole or not at all.

    \b
    Examples:
      watchword usage report --month 2026-10 -o csv --usage-dsn postgresql://watchword@db/usage
      watchword usage report --month 2026-10 2026-10.csv --require-closed \\
        --gate https://tuist-server.tuist.svc:8443/api/internal --token-file /var/run/secrets/token

    Exit codes: 0 written; 1 store or gate is away or says no, or the month is not closed
    (--require-closed); 2 unusable input.
    """
    where = _Where(file, usage_dsn, units, late_days, gate, token_file, ca_file, only_granted, wait_seconds)
    now = time.time()
    period = _period(month, start, end, now)
    kind = format_of(file, kind)
    refuse_existing(file, force=force)
    with _source(where) as source:
        meters = source.meters()
        if not meters:
            raise ReportFailed(
                "Nothing is counted: no meters are in force.",
                "Give the ProtectedService meters in spec.usage.meters, and let a gate start with them.",
            )
        query = _grouped(period, group_by, meters, now)
        state = period_state(query.end, now, source.late_days)
        _say_state(state, query, source.late_days, required=require_closed)
        head = {
            "start": midnight(query.start),
            "end": midnight(query.end),
            "state": state,
            "meters": [
                {"name": meter.name, "unit": meter.unit, "aggregation": meter.aggregation} for meter in meters
            ],
        }
        totals = ControlTotals(meters)
        pages = source.pages(query)
        # What is refused is refused at the first page: not a byte goes to standard output before it.
        first = next(pages, [])
        hidden = not sys.stderr.isatty() or (file == "-" and sys.stdout.isatty())
        with (
            new_file(file, force=force) as out,
            click.progressbar(
                length=0, label="Accounts", file=sys.stderr, hidden=hidden, show_pos=True
            ) as bar,
        ):
            writing = writer(kind, out, columns(query), head, exact_names=exact_names)
            for page in chain([first], pages):
                found: list[Row] = []
                for account, answer in page:
                    totals.add(answer)
                    found += rows(query, account, answer, meters, state)
                writing.write(found)
                bar.update(len(page))
            writing.close()
    sums = ", ".join(f"{name} {plain(amount)}" for name, amount in totals.sums.items())
    say(
        f"{midnight(query.start)} to {midnight(query.end)} (end not included), {state}: "
        f"{totals.accounts} accounts" + (f"; in all {sums}" if sums else "")
    )


@contextmanager
def _source(where: _Where) -> Iterator[Source]:
    context = click.get_current_context()
    dsn = where.usage_dsn
    if dsn is not None and where.gate is not None:
        # A pod's environment has the store's DSN for other commands.
        if context.get_parameter_source("usage_dsn") is not ParameterSource.ENVIRONMENT:
            raise UnusableInput("--usage-dsn and --gate are both given.", "Give one of them.")
        dsn = None
    if where.gate is None and dsn is None:
        raise UnusableInput(
            "--usage-dsn and --gate are both missing.",
            "Give --usage-dsn DSN to read a store, or --gate URL to read through a gate.",
        )
    if dsn is not None:
        if where.file != "-":
            refuse_store_file("FILE", where.file, dsn)
        with opened(dsn) as store:
            yield _of_store(StoreSource(store, _units(where.units), where.late_days), where)
        return
    for flag, given in (("--unit", where.units), ("--late-days", where.late_days is not None)):
        if given:
            raise UnusableInput(f"{flag} is given with --gate.", "Leave it out: a gate knows it.")
    import ssl

    from watchword.cli.usage.gate_source import GateSource
    from watchword.client import TokenFile

    try:
        token = TokenFile.default() if where.token_file is None else TokenFile(where.token_file)
        verify = True if where.ca_file is None else ssl.create_default_context(cafile=where.ca_file)
    except ValueError as error:
        raise UnusableInput(f"--token-file: {error}", "Name the file that holds the token.") from None
    except ssl.SSLError:
        raise UnusableInput("--ca-file: it holds no PEM certificate.", "Name the CA's PEM file.") from None
    source = GateSource(
        where.gate or "",
        token,
        verify,
        wait_seconds=where.wait_seconds,
        only_granted=where.only_granted,
    )
    with closing(source):
        yield source


def _of_store(source: StoreSource, where: _Where) -> StoreSource:
    names = {meter.name for meter in source.meters()}
    if unknown := _units(where.units).keys() - names:
        raise UnusableInput(
            f"--unit: there is no meter {min(unknown)}.",
            f"Choose among: {', '.join(sorted(names)) or 'none'}.",
        )
    return source


def _units(given: tuple[str, ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    for each in given:
        name, equals, unit = each.rpartition("=")
        if not equals or not name or not unit or name in found:
            raise UnusableInput(
                f"--unit: {shown(each)} is not METER=UNIT, or names a meter again.",
                "Say for example --unit bytes=bytes, once for each meter.",
            )
        found[name] = unit
    return found


def _period(month: str | None, start: str | None, end: str | None, now: float) -> UsageQuery:
    if (month is None) == (start is None and end is None) or (start is None) != (end is None):
        given = ", ".join(
            f"{flag} {shown(text)}"
            for flag, text in (("--month", month), ("--from", start), ("--to", end))
            if text is not None
        )
        raise UnusableInput(
            f"The period is not one month, nor a first and a last day: {given or 'nothing'} is given.",
            "Give --month YYYY-MM, or --from DATE and --to DATE.",
        )
    if month is not None:
        if not _MONTH.match(month):
            raise UnusableInput(
                f"--month: {shown(month)} is not a month.",
                "Give YYYY-MM, such as 2026-10, from 1970-01 on.",
            )
        first = parse_date(f"{month}-01")
        # The last month of all that there are has no day after it.
        query = UsageQuery(_ANY, first, next_month(first) if first <= day_at(now) else first)
    else:
        found = parse_query(_ANY, [("from", start or ""), ("to", end or "")], now)
        if isinstance(found, QueryProblem):
            raise UnusableInput(f"--{found.parameter}: {found.detail}.", f"{found.remedy}.")
        query = found
    if query.start > day_at(now):
        flag = "--month" if month is not None else "--from"
        raise UnusableInput(
            f"{flag}: the period begins at {midnight(query.start)}, which has not come yet.",
            "Give a period that has begun.",
        )
    return query


def _grouped(period: UsageQuery, group_by: str | None, meters: list[Meter], now: float) -> UsageQuery:
    if group_by is None:
        return period
    asked = [("from", str(period.start)), ("to", str(period.end)), ("group_by", group_by)]
    found = parse_query(_ANY, asked, now, meters)
    if isinstance(found, QueryProblem) or not found.group_by:
        offered = sorted({",".join(d.name for d in meter.group_by) for meter in meters if meter.group_by})
        raise UnusableInput(
            f"--group-by: no meter has {shown(group_by)} to be split by.",
            f"Use dimensions that one meter has: {'; '.join(offered) or 'there are none'}.",
        )
    return found


def _say_state(state: State, query: UsageQuery, late_days: int | None, *, required: bool) -> None:
    if state == "closed":
        return
    if state == "open":
        what = f"the period is not over: it ends at {midnight(query.end)}"
    elif late_days is None:
        what = (
            "the period is over, and how long events of it are taken is not bounded (spec.usage.lateDays), "
            "or not known here (--late-days)"
        )
    else:
        last = midnight(query.end + timedelta(days=late_days))
        what = f"the period is over, and events of it are taken until {last}"
    if not required:
        warn(f"{what}. Amounts can still change ({state}).")
        return
    remedy = (
        "Set spec.usage.lateDays of the service, and give it here as --late-days where a store is read."
        if late_days is None and state == "late"
        else "Run the same command later, or leave out --require-closed."
    )
    raise ReportFailed(f"--require-closed: {what}.", remedy)
