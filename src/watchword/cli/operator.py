# SPDX-License-Identifier: Apache-2.0
"""`watchword operator`: the control plane of one cluster.

kopf and the Kubernetes client come with the extra `operator`: a gate's image has no use for
them, and starting the operator without them says so in a sentence.
"""

import ipaddress

import click

from watchword.cli.audience_options import CLUSTER_ID, RESERVED_AUDIENCE
from watchword.cli.failures import UnusableInput
from watchword.cli.options import EXISTING_FILE, Address, log_level_option, ops_listen_option, option
from watchword.trust.audience import DEFAULT_RESERVED

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
@ops_listen_option("127.0.0.1:9090")
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
    "--namespace-max-workloads",
    type=click.IntRange(min=1),
    default=20_000,
    show_default=True,
    metavar="COUNT",
    help="How many TrustedWorkloads of one namespace are read, oldest first.",
)
@option(
    "--namespace-max-bytes",
    type=click.IntRange(min=1024),
    default=8_388_608,
    show_default=True,
    metavar="BYTES",
    help="How many bytes the specs of one namespace's TrustedWorkloads may have in all.",
)
@option(
    "--former-cluster-id",
    "former_cluster_ids",
    type=CLUSTER_ID,
    multiple=True,
    metavar="UID",
    help="A UID that this cluster's kube-system Namespace had before it was restored: tokens for services "
    "under it are still accepted, and none is made; may be given again.",
)
@option(
    "--reserved-audience",
    "reserved_audiences",
    type=RESERVED_AUDIENCE,
    multiple=True,
    default=DEFAULT_RESERVED,
    show_default=True,
    metavar="AUDIENCE",
    help="An audience of others, which no service may accept; a * at its start or end stands for any text; "
    "may be given again.",
)
@option(
    "--desk-namespace",
    metavar="NS",
    default="",
    help="The namespace in which TokenDesks count; their signing keys and copies of bundles are there. "
    "[default: there are no desks]",
)
@log_level_option("What is logged, as JSON on stderr.")
def command(
    *,
    namespace: str,
    lease_name: str,
    kubeconfig: str | None,
    context: str | None,
    ops_listen: Address,
    watch_window_seconds: int,
    allowed: tuple[Network, ...],
    namespace_max_workloads: int,
    namespace_max_bytes: int,
    former_cluster_ids: tuple[str, ...],
    reserved_audiences: tuple[str, ...],
    desk_namespace: str,
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
        from watchword.operator.cache import BudgetLimits
        from watchword.operator.manager import Manager
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
        namespace_budget=BudgetLimits(namespace_max_workloads, namespace_max_bytes),
        former_cluster_ids=former_cluster_ids,
        reserved_audiences=tuple(each for each in reserved_audiences if each),
        desk_namespace=desk_namespace,
    )
    raise SystemExit(run(settings, Manager))
