# SPDX-License-Identifier: Apache-2.0
"""`watchword desk clients`: who may use a desk other than as a workload, as the desk itself knows them."""

import json
from typing import Any
from urllib.parse import quote

import click

from watchword.cli.desk.admin_api import AdminApi, admin_options, table, text_of
from watchword.cli.desk.answers import Client
from watchword.cli.options import output_option


@click.command("clients")
@click.argument("name", required=False)
@admin_options
@output_option("text", "json")
def command(*, name: str | None, output: str, **admin: str | None) -> None:
    """List the clients of a desk, or show the one that is called NAME and whether it is an admin now.

    They are changed through Kubernetes (`kubectl edit deskclient`), never here.

    \b
    Example:
      kubectl create token automation -n automation --audience https://desk.example.com \\
          --bound-object-kind Pod --bound-object-name automation-0 \\
        | watchword desk clients --desk https://desk.example.com --admin-url http://127.0.0.1:8445 \\
          --assertion-file -

    Exit codes: 0 printed; 1 the desk says no; 2 wrong usage or unusable input.
    """
    api = AdminApi(**admin)  # type: ignore[arg-type]  # the names are those of the flags
    if name is not None:
        found = api.get(f"/clients/{quote(name, safe='')}", Client)
        click.echo(json.dumps(found.document, indent=2) if output == "json" else _shown(found.view))
        return
    clients = list(api.entries("/clients", "clients", Client, 100_000))
    if output == "json":
        click.echo(json.dumps([each.document for each in clients], indent=2))
        return
    rows = [("NAME", "TYPE", "USABLE", "ADMIN", "PROVES ITSELF BY")]
    for _, each in clients:
        rows.append(
            (
                text_of(each.name),
                text_of(each.type),
                "yes" if each.usable else "no",
                "-" if each.admin is None else "asked for" if each.admin.requested else "no",
                _way(each.authentication),
            )
        )
    click.echo(table(rows))


def _shown(client: Client) -> str:
    rows = [
        ("Name", text_of(client.name)),
        ("Type", text_of(client.type)),
        ("Proves itself by", _way(client.authentication)),
        ("Usable", "yes" if client.usable else "no"),
    ]
    if client.services:
        rows.append(("Asks about", ", ".join(map(text_of, client.services))))
    if client.admin is not None:
        rows.append(("Granted by", text_of(client.admin.granted_by)))
        problem = text_of(client.admin.problem)
        rows.append(("Is an admin", "yes" if client.admin.counts else f"no: {problem}"))
    return table([(f"{name}:", value) for name, value in rows])


def _way(authentication: dict[str, Any]) -> str:
    account = authentication.get("service_account")
    if isinstance(account, dict):
        names = (text_of(account.get(name)) for name in ("issuer", "namespace", "name"))
        return "ServiceAccount " + "/".join(names)
    keys = authentication.get("key_ids")
    if isinstance(keys, list):
        return f"keys {', '.join(map(text_of, keys))}"
    person = authentication.get("person")
    if isinstance(person, dict):
        return f"sign-in at {text_of(person.get('issuer'))}"
    return "secret" if "secret" in authentication else "-"
