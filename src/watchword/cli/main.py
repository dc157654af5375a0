# SPDX-License-Identifier: Apache-2.0
"""The `watchword` command, also installed as `kubectl-watchword`.

A command's module is imported when it is called, never before: the sidecar's start and memory must not pay
for what other commands need. Whatever goes wrong ends as a sentence and an exit code, not as a traceback.
"""

import os
import sys
import traceback
from pathlib import PurePath
from typing import Final

import click

from watchword import __version__
from watchword.cli.commands import Commands, LazyGroup
from watchword.cli.failures import UNUSABLE
from watchword.cli.terminal import prepare_terminal

COMMANDS: Final[Commands] = {
    "sidecar": ("watchword.cli.sidecar", "Run the gate next to a service."),
    "operator": ("watchword.cli.operator", "Run the operator of a cluster."),
    "drain": ("watchword.cli.drain", "Tell the gate in this container to let its callers go."),
    "dev": ("watchword.cli.dev.command", "Run the gate on a folder of manifests; no cluster needed."),
    "compile": ("watchword.cli.compile", "Turn manifests into bundles and NetworkPolicies."),
    "inject": ("watchword.cli.inject", "Add the gate, or a token, to the pods of manifests."),
    "lint": ("watchword.cli.lint", "Check manifests offline: what is wrong, and what is likely a slip."),
    "routes": ("watchword.cli.routes.command", "Draft routes from an OpenAPI document."),
    "diff": ("watchword.cli.diff", "Show what applying manifests would change in trust."),
    "who-can": ("watchword.cli.who_can", "List who may call a service with a scope."),
    "report": ("watchword.cli.report_only", "List who would be refused while a service only reports."),
    "verify": ("watchword.cli.verify", "Judge a token offline, check by check."),
    "explain": ("watchword.cli.explain", "Judge a token against a service of a cluster, check by check."),
    "console": ("watchword.cli.console", "Show who may call what, in a browser on this machine."),
    "pin": ("watchword.cli.pin.command", "Print the ClusterTrustedIssuer of a cluster."),
    "approve": ("watchword.cli.approve", "Approve keys that an issuer serves and no one trusts yet."),
    "revoke": ("watchword.cli.revoke", "Take trust back: of a key, a token, a pod, a ServiceAccount."),
    "token": ("watchword.cli.token.command", "Ask a cluster for a token, or a desk for a narrower one."),
    "usage": ("watchword.cli.usage.command", "Manage a usage store: show, import, export, check, rebuild."),
    "desk": ("watchword.cli.desk.command", "Run the token desk, and administer one."),
    "audit": ("watchword.cli.audit.command", "Read a desk's audit log: show, export, verify."),
    "webhook": ("watchword.cli.webhook", "Run the admission webhook that injects gates and tokens."),
    "doctor": ("watchword.cli.doctor", "Say what is not well, and what would help."),
    "uninstall": ("watchword.cli.uninstall", "Remove an installation that Helm does not manage."),
    "completion": ("watchword.cli.completion", "Print a shell's completion script."),
}
COMPLETION_VARIABLE: Final = "_WATCHWORD_COMPLETE"


@click.group(
    cls=LazyGroup,
    lazy=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 done, or yes; 1 the answer is no; 2 wrong usage or unusable input.",
)
@click.version_option(__version__, "-V", "--version", prog_name="watchword", message="%(prog)s %(version)s")
@click.pass_context
def watchword(ctx: click.Context) -> None:
    """Workload identity between services on Kubernetes: who is calling, and may they?

    Start without a cluster:

    \b
      watchword dev manifests/quickstart
    """
    if os.environ.get("NO_COLOR"):
        ctx.color = False


def program_name(argument: str) -> str:
    """How the program was called: `kubectl-watchword` is typed as `kubectl watchword`."""
    return "kubectl watchword" if PurePath(argument).name.startswith("kubectl-") else "watchword"


def main() -> None:
    """Run the command line and exit."""
    prepare_terminal()
    try:
        watchword(prog_name=program_name(sys.argv[0]), complete_var=COMPLETION_VARIABLE)
    except Exception as error:  # noqa: BLE001 - the last line of defense: no traceback reaches a user
        # The message of an unforeseen error may quote a token, so only its type and place are told.
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{PurePath(place.filename).name}:{place.lineno}"
        click.echo(f"Error: an unforeseen {type(error).__name__} at {where}.", err=True)
        click.echo("Remedy: this is a defect of watchword; please report this line.", err=True)
        sys.exit(UNUSABLE)


if __name__ == "__main__":
    main()
