# SPDX-License-Identifier: Apache-2.0
"""The flags that say in which cluster offline commands think, and which audiences belong to others.

A service's audience has the cluster's id in it. Offline there is no cluster to ask, so that a command that
needs it says which flag is missing, and never makes one up.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from watchword.cli.options import option
from watchword.trust.audience import DEFAULT_RESERVED, AudienceRules, flaw_of_reserved
from watchword.trust.derived_audience import is_cluster_id

_Command = TypeVar("_Command", bound=Callable[..., Any])
FIND_CLUSTER_ID = "kubectl get namespace kube-system -o jsonpath={.metadata.uid}"


class ClusterIdType(click.ParamType[str]):
    """The UID of a `kube-system` Namespace, or the name of a cluster that is none."""

    name = "uid"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Check the text; fails with what would be right."""
        if not is_cluster_id(str(value)):
            self.fail(f"{value!a} is not a cluster's id; ask for it with `{FIND_CLUSTER_ID}`.", param, ctx)
        return str(value)


class ReservedAudienceType(click.ParamType[str]):
    """An audience, or the start or the end of some; empty: none."""

    name = "audience"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Check the text; fails with what would be right."""
        flaw = flaw_of_reserved(str(value)) if value else None
        if flaw is not None:
            self.fail(
                f"{value!a}: {flaw}; say for example vault or https://iam.googleapis.com/*.", param, ctx
            )
        return str(value)


CLUSTER_ID = ClusterIdType()
RESERVED_AUDIENCE = ReservedAudienceType()


def cluster_id_option(command: _Command) -> _Command:
    """`--cluster-id UID`."""
    return option(
        "--cluster-id",
        type=CLUSTER_ID,
        metavar="UID",
        help=f"The cluster that the manifests are for, for services' own audiences: `{FIND_CLUSTER_ID}`.",
    )(command)


def offline_rules(cluster_id: str | None) -> AudienceRules:
    """The rules for audiences where no cluster is asked."""
    return AudienceRules(cluster_id=cluster_id or "", reserved=DEFAULT_RESERVED)
