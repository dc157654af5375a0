# SPDX-License-Identifier: Apache-2.0
"""Everything that can be set on an operator, once, with its unit and its default."""

from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from typing import Final

from watchword.operator.cache import BudgetLimits
from watchword.trust.audience import DEFAULT_RESERVED

DEFAULT_NAMESPACE: Final = "watchword-system"
DEFAULT_LEASE: Final = "watchword-operator"


@dataclass(frozen=True, slots=True)
class OperatorSettings:
    """How an operator runs.

    Attributes:
        namespace: where the operator itself belongs: its Lease, and the Secrets that it may read.
        lease_name: the Lease that its replicas compete for. Two operators under two names would both write.
        ops_listen: HOST:PORT of /healthz, /readyz and /metrics; port 0 picks a free one.
        kubeconfig: file that says how to reach the API server; None: the pod's own way, or kubectl's.
        context: context of that kubeconfig; None: its current one.
        log_level: DEBUG, INFO, WARNING or ERROR.
        watch_window_seconds: how long one watch request lasts before it is made again.
        allowed_key_networks: networks that issuers' keys may be fetched from although they are loopback,
            link-local or otherwise refused.
        namespace_budget: what the TrustedWorkloads of one namespace may come to.
        former_cluster_ids: UIDs that the `kube-system` Namespace had: tokens for those are still accepted.
        reserved_audiences: audiences of others, which no service may take tokens for.
        desk_namespace: the one namespace in which TokenDesks count; empty: there are no desks.
        stop_seconds: how long a clean stop may take before the rest is left undone.
    """

    namespace: str = DEFAULT_NAMESPACE
    lease_name: str = DEFAULT_LEASE
    ops_listen: str = "127.0.0.1:9090"
    kubeconfig: str | None = None
    context: str | None = None
    log_level: str = "INFO"
    watch_window_seconds: int = 60
    allowed_key_networks: tuple[IPv4Network | IPv6Network, ...] = ()
    namespace_budget: BudgetLimits = field(default_factory=BudgetLimits)
    former_cluster_ids: tuple[str, ...] = ()
    reserved_audiences: tuple[str, ...] = DEFAULT_RESERVED
    desk_namespace: str = ""
    stop_seconds: float = 10.0
