# SPDX-License-Identifier: Apache-2.0
"""`watchword desk sign-out`: end a sign-in at a desk, there and here."""

import click

from watchword.cli.desk import session
from watchword.cli.desk.admin_api import DeskHttp, admin_url_option
from watchword.cli.failures import ANSWER_IS_NO, say
from watchword.cli.options import desk_ca_option


@click.command("sign-out")
@admin_url_option
@desk_ca_option
def command(*, admin_url: str, ca_file: str | None) -> None:
    """Revoke the token of a sign-in at a desk, and delete the file that it is kept in.

    The file is deleted even where the desk cannot be asked: the token ends by itself within 15 minutes then.

    \b
    Example:
      watchword desk sign-out --admin-url http://127.0.0.1:8445

    Exit codes: 0 signed out; 1 no one is signed in, or the desk says no; 2 wrong usage, or no answer.
    """
    url = admin_url.rstrip("/")
    found = session.load(url)
    if found is None:
        say(f"No one is signed in at {url}. Remedy: nothing is to be done.")
        raise SystemExit(ANSWER_IS_NO)
    session.delete(url)
    if found.has_ended:
        say("The sign-in had ended by itself. It is deleted here.")
        return
    say("The token is deleted here.")
    DeskHttp(url, ca_file, found.access_token).asked("POST", f"/tokens/{found.token_id}/revoke")
    say("It is revoked at the desk.")
