# SPDX-License-Identifier: Apache-2.0
"""`watchword desk explain`: a dry run of an exchange, condition by condition."""

import json
import sys

import click

from watchword.cli.desk.admin_api import AdminApi, admin_options, text_of
from watchword.cli.desk.answers import Explanation
from watchword.cli.failures import ANSWER_IS_NO
from watchword.cli.options import NAMESPACED_NAME, option, output_option
from watchword.kube.names import NamespacedName


@click.command("explain")
@option("--issuer", required=True, metavar="NAME", help="The ClusterTrustedIssuer of the workload's cluster.")
@option("--service-account", required=True, type=NAMESPACED_NAME, metavar="NS/NAME", help="The workload's.")
@option("--service", required=True, metavar="NS/NAME", help="The service that it would call.")
@option("--scope", metavar="SCOPES", help="What the token is to allow; several with a space between.")
@option("--account", metavar="NAME", help="The account that it is for.")
@option("--project", metavar="NAME", help="The project that it is for; one of the account's.")
@option("--purpose", metavar="WORD", help="What it is for.")
@admin_options
@output_option("text", "json")
def command(
    *,
    issuer: str,
    service_account: NamespacedName,
    service: str,
    scope: str | None,
    account: str | None,
    project: str | None,
    purpose: str | None,
    output: str,
    **admin: str | None,
) -> None:
    """Say whether a workload would get a token from a desk, and which condition it fails.

    The policy's side only: the workload's own token is assumed to be good. Nothing is issued.

    \b
    Example:
      watchword desk explain --issuer atlas-production --service-account atlas-production/atlas \\
        --service tuist/tuist-server --scope cache:read --account acme --project ios \\
        --admin-url http://127.0.0.1:8445 --admin-token-file admin.token

    Exit codes: 0 it would; 1 it would not, or the desk says no; 2 wrong usage or unusable input.
    """
    api = AdminApi(**admin)  # type: ignore[arg-type]  # the names are those of the flags
    question = {
        "issuer": issuer,
        "namespace": service_account.namespace,
        "service_account": service_account.name,
        "service": service,
        "scope": scope,
        "account": account,
        "project": project,
        "purpose": purpose,
    }
    given = {name: value for name, value in question.items() if value is not None}
    document, found = api.post("/explain", Explanation, given)
    if output == "json":
        click.echo(json.dumps(document, indent=2))
    else:
        marks = {True: "yes", False: "NO", None: "-"}
        for each in found.conditions:
            click.echo(f"{marks[each.holds]:>4}  {text_of(each.name).replace('_', ' ')}")
            if each.holds is False:
                click.echo(f"      {text_of(each.detail)}\n      Remedy: {text_of(each.remedy)}")
        by = f", by {text_of(found.workload)}" if found.workload else ""
        click.echo(f"It would{'' if found.allowed else ' not'} get the token{by}.")
    if not found.allowed:
        sys.exit(ANSWER_IS_NO)
