# SPDX-License-Identifier: Apache-2.0
"""`watchword usage check`: count everything from the events aside, and compare it with what is kept."""

import sys

import click
import msgspec

from watchword.cli.failures import ANSWER_IS_NO, say
from watchword.cli.options import output_option
from watchword.cli.plain_text import escaped
from watchword.cli.usage.dsn import dsn_option, opened


@click.command("check")
@dsn_option
@output_option("text", "json")
def command(*, usage_dsn: str, output: str) -> None:
    """Prove that the amounts of a store are what its events say. Changes nothing; gates go on meanwhile.

    Names up to 1000 differences; `watchword usage rebuild` fixes them. Days whose events or amounts are no
    longer kept are not compared.

    \b
    Example:
      watchword usage check --usage-dsn postgresql://watchword@db/usage

    Exit codes: 0 they are; 1 they are not, or the store is away; 2 unusable input.
    """
    with opened(usage_dsn) as store:
        meters = [state.meter for state in store.meters()]
        found = store.check(meters)
    if output == "json":
        click.echo(msgspec.json.encode({"meters": len(meters), "differences": found}).decode())
    else:
        for each in found:
            where = " ".join(str(part) for part in (each.account, each.day, each.meter, each.group) if part)
            stored, expected = each.stored or "nothing", each.expected or "nothing"
            click.echo(escaped(f"{where}: stored {stored}, the events say {expected}"))
        names = escaped(", ".join(meter.name for meter in meters)) or "no meters"
        if not found:
            click.echo(f"The amounts equal the events ({names}).")
    if found:
        count = "1 difference" if len(found) == 1 else f"{len(found)} differences"
        say(f"{count}. `watchword usage rebuild` counts all amounts again from the events.")
        sys.exit(ANSWER_IS_NO)
