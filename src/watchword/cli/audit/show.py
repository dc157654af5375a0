# SPDX-License-Identifier: Apache-2.0
"""`watchword audit show`: the newest entries, for people or as JSON lines."""

from typing import Any

import click
import msgspec

from watchword.cli.audit.log import opened, rows_of, store_option
from watchword.cli.options import option, output_option
from watchword.cli.plain_text import plain

_FIRST = (
    *("time", "event", "subject", "service", "operation", "about", "reason", "token_id", "by"),
    *("peer", "request_id"),
)


@click.command("show")
@store_option
@option("--last", type=click.IntRange(1, 100_000), default=20, show_default=True, help="How many entries.")
@option("--event", metavar="NAME", help="Only these, such as token_issued.")
@option("--subject", metavar="SUBJECT", help="Only those about this subject, whole.")
@output_option("text", "json")
def command(*, store: str | None, last: int, event: str | None, subject: str | None, output: str) -> None:
    """Print the newest entries of a desk's audit log, the newest last.

    \b
    Example:
      watchword audit show --store sqlite:////var/lib/watchword/desk.db --event token_revoked

    Exit codes: 0 printed; 2 wrong usage or unusable input.
    """
    wanted = {"event": event, "subject": subject}
    with opened(store) as desk_store:
        after = 0 if any(wanted.values()) else max(0, desk_store.head().sequence - last)
        found: list[tuple[str, dict[str, Any]]] = []
        for row in rows_of(desk_store, after):
            entry = msgspec.json.decode(row.entry, type=dict[str, Any])
            if all(value is None or entry.get(name) == value for name, value in wanted.items()):
                found.append((row.entry, entry))
                del found[:-last]
    for text, entry in found:
        click.echo(text if output == "json" else line_of(entry))


def line_of(entry: dict[str, Any]) -> str:
    """One line for people: what everyone wants to know first, then what else is special."""
    parts = [plain(entry.get("sequence"))]
    parts += [plain(entry[name]) for name in _FIRST[:2] if name in entry]
    parts += [f"{name}={plain(entry[name])}" for name in _FIRST[2:] if name in entry]
    refusals = entry.get("refusals")
    if isinstance(refusals, list):
        parts += [
            plain(f"{each.get('endpoint')}/{each.get('reason')}={each.get('count')}")
            for each in refusals
            if isinstance(each, dict)
        ]
    return " ".join(parts)
