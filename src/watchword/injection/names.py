# SPDX-License-Identifier: Apache-2.0
"""The labels, annotations, paths and names of injection: what people type, and what appears in their pods.

A label's value holds no slash (Kubernetes, "Syntax and character set"), so a called service is written
`NAMESPACE.SERVICE`: a namespace's name has no dot, which makes the first one the border.
"""

from typing import Final

# On a Namespace: pods in it may be given a gate.
NAMESPACE_LABEL: Final = "watchword.dev/injection"
NAMESPACE_VALUE: Final = "enabled"
# On a pod: give it the gate of the ProtectedService that selects it.
GATE_LABEL: Final = "watchword.dev/gate"
GATE_VALUE: Final = "enabled"
# On a pod: give it a token for this service.
CALL_LABEL: Final = "watchword.dev/call"
# On a pod with CALL_LABEL: further services, as NAMESPACE/SERVICE, separated by commas.
CALLS_ANNOTATION: Final = "watchword.dev/calls"
# On a pod with GATE_LABEL.
MODE_ANNOTATION: Final = "watchword.dev/gate-mode"
TLS_ANNOTATION: Final = "watchword.dev/gate-tls-secret"
# On a pod with GATE_LABEL: a Secret whose entry `dsn` says where usage is kept; else it goes with the pod.
USAGE_ANNOTATION: Final = "watchword.dev/gate-usage-secret"
# What was done, for people and for a second pass.
INJECTED_ANNOTATION: Final = "watchword.dev/injected"

GATE_CONTAINER: Final = "watchword-gate"
BUNDLE_VOLUME: Final = "watchword-bundle"
API_VOLUME: Final = "watchword-api-access"
USAGE_VOLUME: Final = "watchword-usage"
TLS_VOLUME: Final = "watchword-tls"
TOKEN_VOLUME: Final = "watchword-token"  # noqa: S105 - a volume's name

BUNDLE_FOLDER: Final = "/var/run/watchword/bundle"
USAGE_FOLDER: Final = "/var/run/watchword/usage"
TLS_FOLDER: Final = "/var/run/watchword/tls"
API_FOLDER: Final = "/var/run/secrets/kubernetes.io/serviceaccount"
# Where the caller SDK looks by itself.
TOKEN_FOLDER: Final = "/var/run/secrets/watchword.dev"  # noqa: S105 - a path
TOKEN_FILE: Final = "token"  # noqa: S105 - a file's name
TOKEN_VARIABLE: Final = "WATCHWORD_TOKEN_FILE"  # noqa: S105 - a variable's name
# kubelet's floor for a projected token (Kubernetes, ServiceAccountTokenProjection.expirationSeconds).
MIN_TOKEN_SECONDS: Final = 600
TOKEN_SECONDS: Final = 3600


def bundle_name(service: str) -> str:
    """The ConfigMap that the operator keeps for a service."""
    return f"watchword-bundle-{service}"
