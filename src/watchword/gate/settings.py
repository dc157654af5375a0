# SPDX-License-Identifier: Apache-2.0
"""Everything that can be set on a gate, once, with its unit and its default."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from watchword.gate.app_probes import AppProbe

if TYPE_CHECKING:
    from watchword.kube.watch import Endpoint

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
        listen: each HOST:PORT of the gate; port 0 picks a free one. `[::]` is every address, also of IPv4;
            `[::1]` is left out next to others where the system has no IPv6.
        ops_listen: HOST:PORT of /healthz, /readyz and /metrics.
        tls_certificate: PEM file with the certificate chain; None: plain HTTP. Reloaded when it changes.
        tls_key: PEM file with the certificate's key.
        upstream: the app's `http://HOST:PORT`, to which allowed requests are passed on; None: nothing is.
        upstream_timeout_seconds: how long the app may send nothing before its answer counts as late.
        upload_timeout_seconds: how long a caller may send nothing of a body that it began.
        long_connection_grace_seconds: how long a connection may outlive its token.
        app_probes: what the ops port asks the app for the kubelet.
        followed: the ConfigMap to follow next to the bundle's file; None: the file alone.
        absent_after_seconds: for how long the bundle may be known to be gone before its trust ends.
        usage_dsn: where usage is kept, such as `sqlite:///usage.db`.
        trace_sample_ratio: which part of the requests is traced, 0 to 1; 0: none, and no trace is begun.
        audit: which decisions go to the audit log on standard output.
        log_level: DEBUG, INFO, WARNING or ERROR.
        shutdown_grace_seconds: how long requests in flight may take once the gate was told to stop.
        poll_seconds: how often files are looked at for changes.
    """

    listen: tuple[str, ...] = ("127.0.0.1:8443", "[::1]:8443")
    ops_listen: str = "127.0.0.1:9090"
    tls_certificate: str | None = None
    tls_key: str | None = None
    upstream: str | None = None
    upstream_timeout_seconds: float = 60.0
    upload_timeout_seconds: float = 60.0
    long_connection_grace_seconds: float = 300.0
    app_probes: tuple[AppProbe, ...] = ()
    followed: FollowedConfigMap | None = None
    absent_after_seconds: float = 60.0
    usage_dsn: str = "sqlite:///watchword-usage.db"
    trace_sample_ratio: float = 0.0
    audit: AuditLevel = "refusals"
    log_level: str = "INFO"
    shutdown_grace_seconds: int = 25
    poll_seconds: float = 0.5
