# SPDX-License-Identifier: Apache-2.0
"""`watchword token exchange`: a narrower token of a desk, for trying things out and for scripts."""

import json
import ssl
import sys
import time
from typing import TYPE_CHECKING, Any

import click

from watchword.cli.failures import ANSWER_IS_NO, UnusableInput, os_reason, say, warn
from watchword.cli.options import desk_ca_option, option, output_option

if TYPE_CHECKING:
    from watchword.client import TokenSource


class _Given:
    """A token that was read from standard input. Without a repr of its own, so that none shows it."""

    def __init__(self, token: str) -> None:
        self._token = token

    def token(self) -> str:
        """The token."""
        return self._token


@click.command("exchange")
@option(
    "--desk",
    required=True,
    metavar="URL",
    help="The desk, such as https://desk.example.com. In a pod with the label watchword.dev/exchange the "
    "variable is set.",
)
@option("--audience", required=True, metavar="NS/NAME", help="The service, or its own audience.")
@option("--scope", required=True, metavar="SCOPES", help="What it may do; several with a space between.")
@option("--account", metavar="NAME", help="The account that it is for.")
@option("--project", metavar="NAME", help="The project that it is for; one of the account's.")
@option("--purpose", metavar="WORD", help="What it is for; only routes of that purpose take it.")
@option(
    "--subject-token-file",
    metavar="FILE",
    help="The pod's own token, for the desk's audience; `-`: standard input.  [default: where injection "
    "mounts it]",
)
@desk_ca_option
@option("--no-keyring", is_flag=True, help="Keep the token nowhere, and look for none.")
@output_option("token", "json")
def command(
    *,
    desk: str,
    audience: str,
    scope: str,
    account: str | None,
    project: str | None,
    purpose: str | None,
    subject_token_file: str | None,
    ca_file: str | None,
    no_keyring: bool,
    output: str,
) -> None:
    """Exchange a workload's own token at a desk for a narrower and shorter one, and print it.

    A token that is still good for the same target comes from the system's keyring, where there is one.
    `watchword token logout` takes it back.

    \b
    Example:
      watchword token exchange --desk https://desk.example.com --audience tuist/tuist-server \\
        --scope cache:read --account acme --project ios --subject-token-file /var/run/secrets/token

    Exit codes: 0 printed; 1 the desk says no, or does not answer; 2 wrong usage or unusable input.
    """
    from watchword.cli.token.keyring_cache import keyring_cache
    from watchword.client import ExchangedToken, ExchangeFailed, TokenUnavailable

    try:
        source = ExchangedToken(
            desk,
            audience,
            purpose,
            project,
            account=account,
            scope=scope,
            subject=_subject(subject_token_file),
            cache=None if no_keyring else keyring_cache(),
            verify=True if ca_file is None else ssl.create_default_context(cafile=ca_file),
        )
        token = source.token()
    except ValueError as error:
        raise UnusableInput(f"{error}", "See `watchword token exchange --help`.") from None
    except TokenUnavailable as error:
        raise UnusableInput(error.problem, error.remedy) from None
    except ExchangeFailed as failed:
        say(str(failed))
        sys.exit(ANSWER_IS_NO)
    if sys.stdout.isatty():
        warn("this is a credential; pipe it to where it is needed rather than showing it.")
    click.echo(json.dumps(_facts(token), indent=2) if output == "json" else token)


def _subject(path: str | None) -> "TokenSource | None":
    from watchword.client import TokenFile

    if path is None:
        return None
    if path != "-":
        return TokenFile(path)
    try:
        token = sys.stdin.read(16 * 1024).strip()
    except OSError as error:
        raise UnusableInput(f"Standard input cannot be read: {os_reason(error)}.", "Name a file.") from None
    if not token or not token.isascii() or len(token.split()) != 1:
        raise UnusableInput("Standard input holds no token.", "Pipe one token in, and nothing else.")
    return _Given(token)


def _facts(token: str) -> dict[str, Any]:
    from watchword.client.exchanged_token import claims_of

    claims = claims_of(token)
    expires = int(claims["exp"])
    return {
        "audience": claims.get("aud"),
        "scope": claims.get("scope"),
        "purpose": claims.get("purpose"),
        "expirationTimestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(expires)),
        "token": token,
    }
