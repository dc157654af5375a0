# SPDX-License-Identifier: Apache-2.0
"""`watchword desk tokens`: what a desk issued, by the ids of tokens; never a token itself."""

import json

import click

from watchword.cli.desk.admin_api import AdminApi, Found, admin_options, table, text_of
from watchword.cli.desk.answers import Token
from watchword.cli.failures import say
from watchword.cli.options import option, output_option

_COLUMNS = ("token_id", "kind", "state", "expires_at", "service", "subject")


@click.group("tokens")
def command() -> None:
    """List the tokens that a desk issued, show one, or revoke one.

    \b
    Example:
      watchword desk tokens list --state active --service tuist/tuist-server \\
        --admin-url http://127.0.0.1:8445 --admin-token-file admin.token

    Exit codes: 0 done; 1 the desk says no; 2 wrong usage or unusable input.
    """


@command.command("list")
@option("--subject", metavar="SUBJECT", help="Only those of this subject, whole, such as client:automation.")
@option("--service", metavar="NS/NAME", help="Only those for this service.")
@option(
    "--kind", type=click.Choice(["workload", "client", "agent", "admin"]), help="Only those of this kind."
)
@option("--state", type=click.Choice(["active", "revoked", "ended"]), help="Only those that are so now.")
@option("--last", type=click.IntRange(1, 100_000), default=50, show_default=True, help="How many at most.")
@admin_options
@output_option("text", "json")
def list_command(
    *,
    subject: str | None,
    service: str | None,
    kind: str | None,
    state: str | None,
    last: int,
    output: str,
    **admin: str | None,
) -> None:
    """List tokens, the newest first.

    `active` is what the desk knows: a gate may refuse such a token all the same, where its workload was
    suspended since.

    \b
    Example:
      watchword desk tokens list --kind admin --admin-url http://127.0.0.1:8445 \\
        --admin-token-file admin.token

    Exit codes: 0 printed; 1 the desk says no; 2 wrong usage or unusable input.
    """
    api = AdminApi(**admin)  # type: ignore[arg-type]  # the names are those of the flags
    query = {"subject": subject, "service": service, "kind": kind, "state": state}
    tokens = list(api.entries("/tokens", "tokens", Token, last, **query))
    if output == "json":
        click.echo(json.dumps([each.document for each in tokens], indent=2))
        return
    rows = [tuple(name.upper().replace("_", " ") for name in _COLUMNS)]
    rows += [tuple(text_of(getattr(each.view, name)) for name in _COLUMNS) for each in tokens]
    click.echo(table(rows))


@command.command("show")
@click.argument("token_id")
@admin_options
@output_option("text", "json")
def show_command(*, token_id: str, output: str, **admin: str | None) -> None:
    """Show the token whose `jti` is TOKEN_ID.

    \b
    Example:
      watchword desk tokens show 01a227cf31f84918a59f4c18aeb226d1 \\
        --admin-url http://127.0.0.1:8445 --admin-token-file admin.token

    Exit codes: 0 printed; 1 there is none, or the desk says no; 2 wrong usage or unusable input.
    """
    api = AdminApi(**admin)  # type: ignore[arg-type]  # the names are those of the flags
    _print(api.get(f"/tokens/{_checked(token_id)}", Token), output)


@command.command("revoke")
@click.argument("token_id")
@admin_options
@output_option("text", "json")
def revoke_command(*, token_id: str, output: str, **admin: str | None) -> None:
    """Revoke the token whose `jti` is TOKEN_ID; it is durable when this returns.

    Gates that follow their bundle refuse it within two seconds. To end all that a workload may do, suspend
    its TrustedWorkload instead.

    \b
    Example:
      watchword desk tokens revoke 01a227cf31f84918a59f4c18aeb226d1 \\
        --admin-url http://127.0.0.1:8445 --admin-token-file admin.token

    Exit codes: 0 revoked; 1 there is none, or the desk says no; 2 wrong usage or unusable input.
    """
    api = AdminApi(**admin)  # type: ignore[arg-type]  # the names are those of the flags
    found = api.post(f"/tokens/{_checked(token_id)}/revoke", Token)
    _print(found, output)
    say("Revoked.")


def _checked(token_id: str) -> str:
    if len(token_id) != 32 or not set(token_id) <= set("0123456789abcdef"):
        raise click.UsageError("TOKEN_ID is the `jti` of a token: 32 digits in hexadecimal.")
    return token_id


def _print(token: Found[Token], output: str) -> None:
    if output == "json":
        click.echo(json.dumps(token.document, indent=2))
        return
    rows = [(f"{text_of(name).replace('_', ' ')}:", text_of(value)) for name, value in token.document.items()]
    click.echo(table(rows))
