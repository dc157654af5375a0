# SPDX-License-Identifier: Apache-2.0
"""Everything that can be set on a gate, once, with its unit and its default."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from watchword.apiwatch import Endpoint

AuditLevel = Literal["off", "refusals", "all"]


@dataclass(frozen=True, slots=True)
class FollowedConfigMap:
    """The ConfigMap whose bundle is followed through the API.

    Attributes:
        endpoint: the API server.
        namespace: the ConfigMap's namespace, which is the service's too.
        name: its name.
        window_seconds: how long one watch lasts; a silent one is found a few seconds after.
    """

    endpoint: "Endpoint"
    namespace: str
    name: str
    window_seconds: float = 60.0

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class GateSettings:
    """How a gate runs.

    Attributes:
        listen: HOST:PORT of the gate; port 0 picks a free one. An empty host is every interface.
        ops_listen: HOST:PORT of /healthz, /readyz and /metrics.
        tls_certificate: PEM file with the certificate chain; None: plain HTTP. Reloaded when it changes.
        tls_key: PEM file with the certificate's key.
        upstream: the app's `http://HOST:PORT`, to which allowed requests are passed on; None: nothing is.
        upstream_timeout_seconds: how long the app may send nothing before its answer counts as late.
        followed: the ConfigMap to follow beside the bundle's file; None: the file alone.
        usage_dsn: where usage is kept, such as `sqlite:///usage.db`.
        audit: which decisions go to the audit log on standard output.
        log_level: DEBUG, INFO, WARNING or ERROR.
        shutdown_grace_seconds: how long requests in flight may take once the gate was told to stop.
        poll_seconds: how often files are looked at for changes.
    """

    listen: str = "127.0.0.1:8443"
    ops_listen: str = "127.0.0.1:9090"
    tls_certificate: str | None = None
    tls_key: str | None = None
    upstream: str | None = None
    upstream_timeout_seconds: float = 60.0
    followed: FollowedConfigMap | None = None
    usage_dsn: str = "sqlite:///watchword-usage.db"
    audit: AuditLevel = "refusals"
    log_level: str = "INFO"
    shutdown_grace_seconds: int = 25
    poll_seconds: float = 0.5
