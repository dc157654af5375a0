# SPDX-License-Identifier: Apache-2.0
"""`watchword desk sign-out`: end a sign-in at a desk, there and here."""

from typing import Final

import click
import msgspec

from watchword.cli.desk import session
from watchword.cli.desk.admin_api import admin_url_option, desk_timeout_option
from watchword.cli.desk.answers import read_refusal
from watchword.cli.desk.desk_http import API, DeskHttp, tell
from watchword.cli.desk.urls import checked_url
from watchword.cli.failures import ANSWER_IS_NO, say
from watchword.cli.options import desk_ca_option

# The desk's reasons: for a token that opens nothing, and for one whose client is no admin at the moment.
_NOT_TAKEN: Final = "invalid_admin_token"
_IS_NO_ADMIN: Final = "not_an_admin"


@click.command("sign-out")
@admin_url_option
@desk_ca_option
@desk_timeout_option
def command(*, admin_url: str, ca_file: str | None, timeout_seconds: int) -> None:
    """Revoke the token of a sign-in at a desk, and delete the file that it is kept in.

    The file is deleted even where the desk cannot be asked: the token ends by itself within 15 minutes then.

    \b
    Example:
      watchword desk sign-out --admin-url http://127.0.0.1:8445

    Exit codes: 0 signed out; 1 no one is signed in, or the desk says no; 2 wrong usage, or no answer.
    """
    url = checked_url("--admin-url", admin_url)
    found = session.load(url)
    if found is None:
        say(f"No one is signed in at {url}. Remedy: nothing is to be done.")
        raise SystemExit(ANSWER_IS_NO)
    session.delete(url)
    if found.has_ended:
        say("The sign-in had ended by itself. It is deleted here.")
        return
    say("The token is deleted here.")
    revoke(url, ca_file, timeout_seconds, found)


def revoke(url: str, ca_file: str | None, timeout_seconds: int, found: session.Session) -> None:
    """Revoke the token of a sign-in, by itself, and say so.

    Raises:
        UnusableInput: the desk does not answer.
        SystemExit: the desk says no.
    """
    path = f"{API}/tokens/{found.token_id}/revoke"
    desk = DeskHttp("--admin-url", url, ca_file, timeout_seconds, found.access_token)
    status, document = desk.answered("POST", path)
    if status == 200:
        say("It is revoked at the desk.")
        return
    refused = read_refusal(status, document, f"{url}{path}")
    if refused.reason == _NOT_TAKEN:
        # It was revoked by someone else, or whose it is counts no more: what was wanted is so.
        say("The desk does not take it any more: nothing is left to revoke.")
        return
    if refused.reason == _IS_NO_ADMIN:
        ends = f"It opens nothing while that is so, and ends by itself at {found.ends}"
        revoked = f"watchword desk tokens revoke {found.token_id} --admin-url {url}"
        refused = msgspec.structs.replace(refused, remedy=f"{ends}. Another admin can end it now: {revoked}")
    tell(refused, status)
    raise SystemExit(ANSWER_IS_NO)
