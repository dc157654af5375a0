# SPDX-License-Identifier: Apache-2.0
"""`watchword token`: a ServiceAccount's token by its name, or a desk's token for it.

`watchword token NAMESPACE/NAME` was there first and stays as it is: what is no command's name is an
account's.
"""

from typing import Final

import click

from watchword.cli.commands import Commands, LazyGroup

COMMANDS: Final[Commands] = {
    "request": ("watchword.cli.token.request", "Ask a cluster for a token; `request` may be left away."),
    "exchange": ("watchword.cli.token.exchange", "Exchange a token at a desk for a narrower one."),
    "logout": ("watchword.cli.token.logout", "Revoke the desk tokens that were kept, and forget them."),
}


class TokenGroup(LazyGroup):
    """A group whose first command may be left away."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the arguments; what is neither a command nor a call for help is what `request` takes."""
        if args and args[0] not in (*self.list_commands(ctx), *ctx.help_option_names):
            args = ["request", *args]
        return super().parse_args(ctx, args)


@click.group(
    "token",
    cls=TokenGroup,
    lazy=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"]},
    short_help="Ask a cluster for a token, or a desk for a narrower one.",
)
def command() -> None:
    """Print a token: of a ServiceAccount, by TokenRequest, or of a desk, by token exchange (RFC 8693).

    \b
    Examples:
      watchword token atlas/atlas --audience tuist-server --bind-pod atlas-0
      watchword token exchange --desk https://desk.example.com --audience tuist/tuist-server \\
        --scope cache:read --account acme --project ios --subject-token-file token

    Exit codes: 0 done; 1 the answer is no; 2 wrong usage or unusable input.
    """
