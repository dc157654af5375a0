# SPDX-License-Identifier: Apache-2.0
"""`watchword token request`: print a ServiceAccount's token for one audience, made through kubectl.

For trying things out; a pod mounts a projected token instead. The token goes to stdout because it is the
result; nothing else ever prints one.
"""

import json
import sys

import click

from watchword.cli.failures import UnusableInput, warn
from watchword.cli.kubectl import run_kubectl
from watchword.cli.options import NAMESPACED_NAME, option, output_option
from watchword.kube.names import NamespacedName


@click.command("request")
@click.argument("account", metavar="NAMESPACE/SERVICEACCOUNT", type=NAMESPACED_NAME)
@option("--audience", required=True, metavar="AUDIENCE", help="The audience of the service to call.")
@option(
    "--expiration-seconds",
    type=click.IntRange(600, 86_400),
    default=3600,
    show_default=True,
    help="How long it lives; Kubernetes grants at least 600.",
)
@option("--bind-pod", metavar="NAME", help="Bind it to this pod, as projected tokens are.")
@option("--context", metavar="NAME", help="kubeconfig context.  [default: the current one]")
@option("--kubeconfig", metavar="FILE", type=click.Path(dir_okay=False), help="kubeconfig file.")
@output_option("token", "json")
def command(
    *,
    account: NamespacedName,
    audience: str,
    expiration_seconds: int,
    bind_pod: str | None,
    context: str | None,
    kubeconfig: str | None,
    output: str,
) -> None:
    """Print a token for a ServiceAccount, by TokenRequest.

    Needs kubectl, and the permission to create serviceaccounts/token.

    Services ask for pod-bound tokens unless they say token.binding: Any; bind one with --bind-pod.

    \b
    Examples:
      watchword token atlas/atlas --audience tuist-server --bind-pod atlas-0 |
        watchword verify --bundle bundle.json
      curl -H "Authorization: Bearer $(watchword token atlas/atlas --audience tuist-server)" ...

    Exit codes: 0 printed; 2 wrong usage, or kubectl is missing or fails.
    """
    if not audience.strip():
        raise click.UsageError(
            "--audience is empty; say one of the service's audiences, such as tuist-server."
        )
    arguments = [
        "create",
        "token",
        account.name,
        f"--namespace={account.namespace}",
        f"--audience={audience}",
        f"--duration={expiration_seconds}s",
        "--output=json",
    ]
    if bind_pod is not None:
        arguments += ["--bound-object-kind=Pod", f"--bound-object-name={bind_pod}"]
    answer = run_kubectl(*arguments, context=context, kubeconfig=kubeconfig)
    try:
        status = json.loads(answer)["status"]
        token, expires = str(status["token"]), str(status["expirationTimestamp"])
    except (ValueError, KeyError, TypeError):
        raise UnusableInput(
            "kubectl printed no TokenRequest.", "Use kubectl 1.24 or newer against Kubernetes 1.24 or newer."
        ) from None
    if sys.stdout.isatty():
        warn("this is a credential; pipe it to where it is needed rather than showing it.")
    if output == "json":
        facts = {"namespace": account.namespace, "serviceAccount": account.name, "audience": audience}
        click.echo(json.dumps({**facts, "expirationTimestamp": expires, "token": token}, indent=2))
    else:
        click.echo(token)
