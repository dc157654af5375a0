# SPDX-License-Identifier: Apache-2.0
"""The labels, annotations, paths and names of injection: what people type, and what appears in their pods.

A label's value holds no slash (Kubernetes, "Syntax and character set"), so a called service is written
`NAMESPACE.SERVICE`, and a desk `NAMESPACE.DESK`: a namespace's name has no dot, which makes the first one the
border.
"""

from typing import Final

from watchword.trust import gate_coverage

# On a Namespace: pods in it may be given a gate.
NAMESPACE_LABEL: Final = "watchword.dev/injection"
NAMESPACE_VALUE: Final = "enabled"
# On a pod: give it the gate of the ProtectedService that selects it.
GATE_LABEL: Final = "watchword.dev/gate"
GATE_VALUE: Final = "enabled"
# On a pod: give it a token for this service; with CALL_BY_ANNOTATION for those of the annotation alone, since
# a label holds 63 characters.
CALL_LABEL: Final = "watchword.dev/call"
CALL_BY_ANNOTATION: Final = "enabled"
# On a pod with CALL_LABEL: further services, as NAMESPACE/SERVICE, separated by commas.
CALLS_ANNOTATION: Final = "watchword.dev/calls"
# On a pod: give it a token for this TokenDesk, which it exchanges for narrower ones.
EXCHANGE_LABEL: Final = "watchword.dev/exchange"
# On a pod with GATE_LABEL.
MODE_ANNOTATION: Final = "watchword.dev/gate-mode"
# On a pod with a gate: what the app speaks, `http` (HTTP/1.1, the default) or `h2c` (HTTP/2 alone: gRPC).
APP_PROTOCOL_ANNOTATION: Final = "watchword.dev/gate-app-protocol"
TLS_ANNOTATION: Final = "watchword.dev/gate-tls-secret"
# On a pod with GATE_LABEL: a Secret whose entry `dsn` says where usage is kept; else it goes with the pod.
USAGE_ANNOTATION: Final = "watchword.dev/gate-usage-secret"
# On a pod with GATE_LABEL, with this value: several replicas may each count usage in a store of their own.
PER_REPLICA_ANNOTATION: Final = "watchword.dev/usage-per-replica"
PER_REPLICA_VALUE: Final = "accepted"
# On a pod with GATE_LABEL: what the gate sets aside and may use, as Kubernetes quantities.
CPU_ANNOTATION: Final = "watchword.dev/gate-cpu"
CPU_LIMIT_ANNOTATION: Final = "watchword.dev/gate-cpu-limit"
MEMORY_ANNOTATION: Final = "watchword.dev/gate-memory"
MEMORY_LIMIT_ANNOTATION: Final = "watchword.dev/gate-memory-limit"
# On a pod with GATE_LABEL: which part of its requests is traced, where the cluster has a collector.
TRACE_ANNOTATION: Final = "watchword.dev/gate-trace-sample-ratio"
# On a pod with GATE_LABEL: Secrets of its namespace to pull the gate's image with, separated by commas.
PULL_SECRETS_ANNOTATION: Final = "watchword.dev/gate-image-pull-secrets"
# On a pod with GATE_LABEL, with this value: the gate makes the probes that only it can make.
PROBES_ANNOTATION: Final = "watchword.dev/gate-rewrite-probes"
PROBES_VALUE: Final = "enabled"
# What was done, for people and for a second pass.
INJECTED_ANNOTATION: Final = "watchword.dev/injected"

# Where on the gate's ops port the app's probes are answered.
APP_PROBES_PATH: Final = "/app-probes"

GATE_CONTAINER: Final = gate_coverage.GATE_CONTAINER
BUNDLE_VOLUME: Final = "watchword-bundle"
API_VOLUME: Final = "watchword-api-access"
USAGE_VOLUME: Final = "watchword-usage"
TLS_VOLUME: Final = "watchword-tls"
TOKEN_VOLUME: Final = "watchword-token"  # noqa: S105 - a volume's name
DESK_TOKEN_VOLUME: Final = "watchword-desk-token"  # noqa: S105 - a volume's name

BUNDLE_FOLDER: Final = "/var/run/watchword/bundle"
USAGE_FOLDER: Final = "/var/run/watchword/usage"
TLS_FOLDER: Final = "/var/run/watchword/tls"
API_FOLDER: Final = "/var/run/secrets/kubernetes.io/serviceaccount"
# Where the caller SDK looks by itself.
TOKEN_FOLDER: Final = "/var/run/secrets/watchword.dev"  # noqa: S105 - a path
TOKEN_FILE: Final = "token"  # noqa: S105 - a file's name
TOKEN_VARIABLE: Final = "WATCHWORD_TOKEN_FILE"  # noqa: S105 - a variable's name
# A folder next to that one: a volume cannot be mounted inside of another one that is read-only.
DESK_TOKEN_FOLDER: Final = "/var/run/secrets/desk.watchword.dev"  # noqa: S105 - a path
DESK_TOKEN_VARIABLE: Final = "WATCHWORD_DESK_TOKEN_FILE"  # noqa: S105 - a variable's name
# Where the desk answers.
DESK_VARIABLE: Final = "WATCHWORD_DESK"
# kubelet's floor for a projected token (Kubernetes, ServiceAccountTokenProjection.expirationSeconds).
MIN_TOKEN_SECONDS: Final = 600
TOKEN_SECONDS: Final = 3600


def bundle_name(service: str) -> str:
    """The ConfigMap that the operator keeps for a service."""
    return f"watchword-bundle-{service}"
