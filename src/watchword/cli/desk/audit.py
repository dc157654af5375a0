# SPDX-License-Identifier: Apache-2.0
"""`watchword desk audit`: audit entries through the admin API; `watchword audit` reads the store itself."""

import json

import click

from watchword.cli.audit.show import line_of
from watchword.cli.desk.admin_api import AdminApi, admin_options
from watchword.cli.desk.answers import Entry, Head
from watchword.cli.options import option, output_option


@click.command("audit")
@option("--last", type=click.IntRange(1, 100_000), default=20, show_default=True, help="How many entries.")
@option("--event", metavar="NAME", help="Only these, such as admin_called.")
@option("--subject", metavar="SUBJECT", help="Only those about this subject, whole.")
@option("--head", is_flag=True, help="Print the newest entry's number and hash, and nothing else.")
@admin_options
@output_option("text", "json")
def command(
    *, last: int, event: str | None, subject: str | None, head: bool, output: str, **admin: str | None
) -> None:
    """Print a desk's newest audit entries through its admin API, the newest last.

    The API vouches for what it shows as far as the desk does. To check that nothing was changed, compare
    --head with an export: `watchword audit verify --head`.

    \b
    Example:
      watchword desk audit --event admin_called --admin-url http://127.0.0.1:8445 \\
        --admin-token-file admin.token

    Exit codes: 0 printed; 1 the desk says no; 2 wrong usage or unusable input.
    """
    api = AdminApi(**admin)  # type: ignore[arg-type]  # the names are those of the flags
    if head:
        found = api.get("/audit/head", Head)
        click.echo(json.dumps(found.document) if output == "json" else found.view.head)
        return
    entries = list(api.entries("/audit", "entries", Entry, last, event=event, subject=subject))
    for each in reversed(entries):
        click.echo(json.dumps(each.document) if output == "json" else line_of(each.view.entry))
