# SPDX-License-Identifier: Apache-2.0
"""`watchword token logout`: desk tokens taken back at their desks, and forgotten here."""

import json
import ssl
import sys

import click

from watchword.cli.failures import ANSWER_IS_NO, UnusableInput, say
from watchword.cli.options import desk_ca_option, option


@click.command("logout")
@option("--desk", metavar="URL", help="Only the tokens of this desk.")
@desk_ca_option
def command(*, desk: str | None, ca_file: str | None) -> None:
    """Revoke the desk tokens that `watchword token exchange` kept in the keyring, and forget them.

    \b
    Example:
      watchword token logout --desk https://desk.example.com

    Exit codes: 0 done; 1 a desk did not take its token back; 2 there is no keyring.
    """
    from watchword.cli.token.keyring_cache import keyring_cache
    from watchword.client.errors import ExchangeFailed
    from watchword.client.exchanged_token import revoke_token

    cache = keyring_cache()
    if cache is None:
        raise UnusableInput("The package keyring is not installed.", "Install it: pip install keyring.")
    verify = True if ca_file is None else ssl.create_default_context(cafile=ca_file)
    revoked, failed = 0, False
    try:
        for key in cache.targets():
            where = json.loads(key)[0]
            if desk is not None and where != desk.rstrip("/"):
                continue
            token = cache.load(key)
            cache.store(key, None)
            if token is None:
                continue
            try:
                revoke_token(where, token, verify=verify)
                revoked += 1
            except ExchangeFailed as error:
                say(str(error))
                failed = True
    except Exception as error:  # noqa: BLE001 - a keyring has its own ways to fail
        raise UnusableInput(
            f"The keyring cannot be used ({type(error).__name__}).", "Unlock it, or set one up."
        ) from None
    say(f"{revoked} token{'' if revoked == 1 else 's'} revoked.")
    if failed:
        sys.exit(ANSWER_IS_NO)
