# SPDX-License-Identifier: Apache-2.0
"""`watchword usage rebuild`: count all amounts again from the events, by the meters that are in force."""

import click
import msgspec

from watchword.cli.options import output_option
from watchword.cli.plain_text import escaped
from watchword.cli.usage.dsn import dsn_option, opened


@click.command("rebuild")
@dsn_option
@output_option("text", "json")
def command(*, usage_dsn: str, output: str) -> None:
    """Count all amounts of a store again from its events.

    Gates answer events with 503 until it is done; their callers send them again. Amounts of days whose
    events are no longer kept stay as they are.

    \b
    Example:
      watchword usage rebuild --usage-dsn postgresql://watchword@db/usage

    Exit codes: 0 done; 1 the store is away; 2 unusable input.
    """
    with opened(usage_dsn) as store:
        rebuilt = store.rebuild([state.meter for state in store.meters()])
    if output == "json":
        click.echo(msgspec.json.encode(rebuilt).decode())
        return
    click.echo(f"{len(rebuilt.recomputed)} meters counted again from {rebuilt.events} events")
    for name, count in sorted(rebuilt.unusable.items()):
        click.echo(f"{escaped(name)}: {count} events hold nothing that it could count")
