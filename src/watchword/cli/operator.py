# SPDX-License-Identifier: Apache-2.0
"""`watchword operator`: the control plane of one cluster.

kopf and the Kubernetes client come with the extra `operator`: a gate's image has no use for them, and whoever
starts the operator without them is told so in a sentence.
"""

import ipaddress

import click

from watchword.cli.failures import UnusableInput
from watchword.cli.options import ADDRESS, EXISTING_FILE, Address, option

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class NetworkType(click.ParamType[Network]):
    """A network in CIDR form, without host bits."""

    name = "cidr"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Network:
        """Parse the text; fails with what would be right."""
        try:
            return ipaddress.ip_network(str(value))
        except ValueError:
            self.fail(f"'{value}' is not a network; say for example 10.0.0.0/8 or fd00::/8.", param, ctx)


@click.command("operator", short_help="Run the operator of a cluster.")
@option(
    "--namespace",
    metavar="NS",
    default="watchword-system",
    show_default=True,
    help="Where the operator belongs: its Lease, and the Secrets that it may read.",
)
@option(
    "--lease-name",
    metavar="NAME",
    default="watchword-operator",
    show_default=True,
    help="The Lease that its replicas compete for; the same for all of a cluster.",
)
@option(
    "--kubeconfig",
    type=EXISTING_FILE,
    metavar="FILE",
    help="How to reach the API server.  [default: the pod's own way, or kubectl's]",
)
@option("--context", metavar="NAME", help="A context of that kubeconfig.  [default: its current one]")
@option(
    "--ops-listen",
    type=ADDRESS,
    default="127.0.0.1:9090",
    show_default=True,
    metavar="HOST:PORT",
    help="Where /healthz, /readyz and /metrics answer. Never make this public.",
)
@option(
    "--watch-window-seconds",
    type=click.IntRange(min=5, max=3600),
    default=60,
    show_default=True,
    metavar="SECONDS",
    help="How long one watch lasts; one that died silently is found soon after.",
)
@option(
    "--allow-key-address",
    "allowed",
    type=NetworkType(),
    multiple=True,
    metavar="CIDR",
    help="A network that issuers' keys may be fetched from although it is loopback, link-local or alike; "
    "may be given again.",
)
@option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
    help="What is logged, as JSON on stderr.",
)
def command(
    *,
    namespace: str,
    lease_name: str,
    kubeconfig: str | None,
    context: str | None,
    ops_listen: Address,
    watch_window_seconds: int,
    allowed: tuple[Network, ...],
    log_level: str,
) -> None:
    """Run the operator: from ClusterTrustedIssuers, ProtectedServices and TrustedWorkloads to bundles and
    NetworkPolicies, with the keys of issuers kept in sync.

    Several may run; one leads and the others stand by. It needs the CRDs (manifests/crds) and its
    ClusterRole (manifests/install), and waits for them and says so.

    \b
    Example:
      kubectl apply --server-side -f manifests/crds/
      watchword operator --context my-cluster

    Exit codes: 0 stopped by a signal; 2 wrong usage, or no way to reach an API server; 3 what it
    was doing could not be stopped in time.
    """
    try:
        from watchword.operator.core import Operator
        from watchword.operator.run import run
        from watchword.operator.settings import OperatorSettings
    except ModuleNotFoundError as missing:
        raise UnusableInput(
            f"The operator needs {missing.name}, which is not installed.",
            "Install it with its extra: pip install 'watchword[operator]'.",
        ) from None
    settings = OperatorSettings(
        namespace=namespace,
        lease_name=lease_name,
        ops_listen=str(ops_listen),
        kubeconfig=kubeconfig,
        context=context,
        log_level=log_level.upper(),
        watch_window_seconds=watch_window_seconds,
        allowed_key_networks=allowed,
    )
    raise SystemExit(run(settings, Operator))
