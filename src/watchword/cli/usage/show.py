# SPDX-License-Identifier: Apache-2.0
"""`watchword usage show`: what an account used, in numbers and as a chart."""

import shutil
import sys
import time
from decimal import Decimal

import click

from watchword.cli.failures import ANSWER_IS_NO, UnusableInput, say
from watchword.cli.options import option, output_option
from watchword.cli.plain_text import escaped
from watchword.cli.usage.chart import chart
from watchword.cli.usage.dsn import dsn_option, opened
from watchword.usage import Meter, QueryProblem, UsageAnswer, UsageQuery, encode, parse_query, render
from watchword.usage.meters import plain
from watchword.usage.times import day_of_number


@click.command("show")
@click.argument("account")
@dsn_option
@option("--from", "start", metavar="DATE", help="First UTC day. Default: the first one of this month.")
@option(
    "--to", "end", metavar="DATE", help="The day after the last one. Default: the first one of next month."
)
@option(
    "--window",
    type=click.Choice(["day", "month"]),
    help="Columns of the chart. Default: days up to five weeks, else months.",
)
@option("--meter", "names", multiple=True, help="Only this meter; may be given several times.")
@output_option("text", "json")
def command(
    *,
    account: str,
    usage_dsn: str,
    start: str | None,
    end: str | None,
    window: str | None,
    names: tuple[str, ...],
    output: str,
) -> None:
    """Draw what ACCOUNT used.

    \b
    Example:
      watchword usage show acme --usage-dsn sqlite:////var/lib/watchword/usage.db

    Exit codes: 0 shown; 1 the store never heard of the account, or is away; 2 unusable input.
    """
    with opened(usage_dsn) as store:
        meters = [state.meter for state in store.meters()]
        query = _query(account, start, end, window, meters)
        if unknown := set(names) - {meter.name for meter in meters}:
            there = escaped(", ".join(meter.name for meter in meters)) or "none"
            raise UnusableInput(f"There is no meter {escaped(min(unknown))}.", f"Choose among: {there}.")
        answer = store.read(query)
    if answer is None:
        say(f"No usage event was ever stored for {escaped(account)}.")
        sys.exit(ANSWER_IS_NO)
    shown = [meter for meter in meters if not names or meter.name in names]
    if output == "json":
        click.echo(encode(render(query, answer, shown)))
        return
    for line in screen(query, answer, shown, shutil.get_terminal_size().columns):
        click.echo(line)


def screen(query: UsageQuery, answer: UsageAnswer, meters: list[Meter], room: int) -> list[str]:
    """The lines that are shown, with charts of at most `room` characters a line."""
    lines = [
        click.style(
            f"{escaped(query.account)}, {query.start} to {query.end} (UTC, end not included)", bold=True
        ),
        "",
    ]
    if not meters:
        return [*lines, "The store counts nothing yet: no gate has put meters in force."]
    names = {meter.name: escaped(meter.name) for meter in meters}
    width = max(map(len, names.values()))
    numbers = {meter.name: _grouped(answer.totals.get(meter.name, Decimal(0))) for meter in meters}
    digits = max(len(number) for number in numbers.values())
    for meter in meters:
        day = answer.first_days.get(meter.name)
        since = f"  (whole from {day_of_number(day)} on)" if day and day_of_number(day) > query.start else ""
        lines.append(
            f"  {names[meter.name]:{width}}  {numbers[meter.name]:>{digits}} {meter.unit}".rstrip() + since
        )
    days = [first for first, _ in query.windows()]
    for meter in meters:
        values = [amounts.get(meter.name, Decimal(0)) for amounts in answer.windows]
        if any(value > 0 for value in values):
            unit = f" ({meter.unit})" if meter.unit else ""
            lines += ["", click.style(f"{names[meter.name]}{unit} by {query.window}", bold=True)]
            lines += chart(values, days, by_month=query.window == "month", room=room)
    return lines


def _query(
    account: str, start: str | None, end: str | None, window: str | None, meters: list[Meter]
) -> UsageQuery:
    given = [(name, text) for name, text in (("from", start), ("to", end)) if text is not None]
    query = parse_query(account, [*given, ("window", window or "day")], time.time(), meters)
    if isinstance(query, QueryProblem):
        flag = "ACCOUNT" if query.parameter == "account" else f"--{query.parameter}"
        raise UnusableInput(f"{flag}: {query.detail}.", f"{query.remedy}.")
    if window is None and (query.end - query.start).days > 35:
        return _query(account, start, end, "month", meters)
    return query


def _grouped(number: Decimal) -> str:
    whole, _, rest = plain(number).partition(".")
    return f"{int(whole):,}" + (f".{rest}" if rest else "") if whole not in ("", "-", "-0") else plain(number)
