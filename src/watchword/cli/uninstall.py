# SPDX-License-Identifier: Apache-2.0
"""`watchword uninstall`: what an installation left in a cluster, removed in an order that refuses no pod.

For installations without Helm, and for what `helm uninstall` does not know of. What refuses pods goes first:
a webhook's configuration that outlives its webhook refuses every pod that asks.
"""

import itertools
import json
from collections.abc import Iterator
from typing import Final, NamedTuple

import click

from watchword.cli.failures import ANSWER_IS_NO, say
from watchword.cli.kubectl import run_kubectl
from watchword.cli.options import cluster_options, option

_LABEL: Final = "app.kubernetes.io/part-of=watchword"
_NAMES: Final = 'jsonpath={range .items[*]}{.kind}{" "}{.metadata.name}{"\\n"}{end}'
_HELM: Final = "meta.helm.sh/release-name"
# In the order of removal. What operator and gates own in services' namespaces has no such label.
_KINDS: Final = {
    "MutatingWebhookConfiguration": "mutatingwebhookconfigurations",
    "ValidatingAdmissionPolicyBinding": "validatingadmissionpolicybindings",
    "ValidatingAdmissionPolicy": "validatingadmissionpolicies",
    "ClusterRoleBinding": "clusterrolebindings",
    "ClusterRole": "clusterroles",
    "Deployment": "deployments",
    "PodDisruptionBudget": "poddisruptionbudgets",
    "NetworkPolicy": "networkpolicies",
    "Service": "services",
    "ConfigMap": "configmaps",
    "RoleBinding": "rolebindings",
    "Role": "roles",
    "ServiceAccount": "serviceaccounts",
}
# Bundles stay guarded, and namespaces that hold one can end, for as long as there are any.
_GUARDS: Final = ("bundles.watchword.dev", "-bundle-cleaner")


class Found(NamedTuple):
    """An object of the installation; `namespace` is empty for what is cluster-scoped."""

    kind: str
    namespace: str
    name: str
    release: str = ""

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}" + (f" in {self.namespace}" if self.namespace else "")


@click.command("uninstall", short_help="Remove an installation that Helm does not manage.")
@click.option("--dry-run", is_flag=True, help="Say what would be removed and what kept, and remove nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@option(
    "--namespace",
    "-n",
    metavar="NAME",
    default="watchword-system",
    show_default=True,
    help="Where operator and webhook ran, for what is left of a release that is gone.",
)
@cluster_options
def command(*, dry_run: bool, yes: bool, namespace: str, context: str | None, kubeconfig: str | None) -> None:
    """Remove operator, webhook, their rights and policies, with the Secret and the Lease that they made.

    The definitions, and with them your issuers, services and workloads, are kept, and so are the bundles, the
    policy that guards them, and the namespace: gates serve on. What is kept is named, with how to remove it.

    \b
    Examples:
      watchword uninstall --dry-run
      watchword uninstall --yes --context staging

    Exit codes: 0 removed, or there is nothing; 1 not removed; 2 wrong usage or no cluster.
    """
    found = list(_installed(context, kubeconfig))
    kept = [each for each in found if any(each.name.endswith(guard) for guard in _GUARDS)]
    gone = [each for each in found if each not in kept]
    gone += list(_made_by(gone, namespace, context, kubeconfig))
    if not gone:
        say("Nothing of an installation is in this cluster.")
    for each in gone:
        click.echo(f"{'would remove' if dry_run else 'to remove'}  {each}")
    for each in kept:
        click.echo(f"kept          {each}")
    releases = sorted({each.release for each in gone if each.release})
    if gone and releases:
        say(
            f"Helm manages it (release {', '.join(releases)}). Remedy: `helm uninstall {releases[0]}` first, "
            "then this again for what Helm does not know of."
        )
    elif gone and not dry_run:
        if not yes and not click.confirm("Remove all of it?", err=True):
            raise SystemExit(ANSWER_IS_NO)
        for where, part in itertools.groupby(gone, key=lambda each: each.namespace):
            place = (f"--namespace={where}",) if where else ()
            names = [f"{each.kind}/{each.name}" for each in part]
            arguments = ("delete", *names, "--ignore-not-found", "--wait=false", *place)
            run_kubectl(*arguments, context=context, kubeconfig=kubeconfig)
        say(f"Removed {len(gone)} objects.")
    _say_the_rest(kept)
    if gone and releases and not dry_run:
        raise SystemExit(ANSWER_IS_NO)


def _installed(context: str | None, kubeconfig: str | None) -> Iterator[Found]:
    kinds = ",".join(_KINDS.values())
    arguments = ("get", kinds, "--all-namespaces", f"--selector={_LABEL}", "--output=json")
    items = json.loads(run_kubectl(*arguments, context=context, kubeconfig=kubeconfig))["items"]
    order = list(_KINDS)
    for each in sorted(items, key=lambda each: order.index(each["kind"])):
        metadata = each["metadata"]
        release = (metadata.get("annotations") or {}).get(_HELM, "")
        yield Found(_KINDS[each["kind"]], metadata.get("namespace", ""), metadata["name"], release)


def _made_by(
    installed: list[Found], namespace: str, context: str | None, kubeconfig: str | None
) -> Iterator[Found]:
    """What operator and webhook made in their own namespace: no release and no manifest knows of it."""
    accounts = [(each.namespace, each.name) for each in installed if each.kind == "serviceaccounts"]
    # As shipped: of a release that Helm removed, there is no ServiceAccount left to tell.
    accounts += [(namespace, f"watchword-{part}") for part in ("operator", "webhook")]
    for where in dict.fromkeys(place for place, _ in accounts):
        wanted = {("Secret", f"{name}-tls"): "secrets" for place, name in accounts if place == where}
        wanted |= {("Lease", name): "leases" for place, name in accounts if place == where}
        # Names and kinds alone: what the Secrets hold is not read.
        arguments = ("get", "secrets,leases", f"--namespace={where}", f"--output={_NAMES}")
        for line in run_kubectl(*arguments, context=context, kubeconfig=kubeconfig).decode().splitlines():
            kind, _, name = line.partition(" ")
            if (kind, name) in wanted:
                yield Found(wanted[kind, name], where, name)


def _say_the_rest(kept: list[Found]) -> None:
    say("Kept: the definitions with all issuers, services and workloads. To remove them, and all trust:")
    from watchword.trust.crd.definitions import definitions

    say(f"  kubectl delete crd {' '.join(each['metadata']['name'] for each in definitions())}")
    if kept:
        say("Once no bundle is left, what guards them:")
        for each in kept:
            say(f"  kubectl delete {each.kind} {each.name}")
