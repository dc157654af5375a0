# SPDX-License-Identifier: Apache-2.0
"""manifests/snippets: a pod with its gate and a pod with its token, made by the webhook's own code."""

from typing import Any

import yaml

from watchword.cli.yaml_output import to_yaml
from watchword.injection import Injected, InjectionSettings, ServiceFacts, World, inject

_HEAD = """# SPDX-License-Identifier: Apache-2.0
# {what}
# What `watchword inject` prints; generated (`make generate`).
"""
_SERVICE = ServiceFacts(
    "tuist", "tuist-server", {"app": "tuist-server"}, 8443, 8080, None, 3600, "tuist-server"
)
_WORLD = World(
    {("tuist", "tuist-server"): _SERVICE},
    frozenset({"tuist"}),
    frozenset({("tuist", "tuist-server", "reports", "reports")}),
    # Of no cluster: put in what `kubectl get protectedservice tuist-server -n tuist -o wide` shows.
    "00000000-0000-0000-0000-000000000000",
)
_APP = """
apiVersion: v1
kind: Pod
metadata: {namespace: tuist, name: tuist-server, labels: {app: tuist-server, watchword.dev/gate: enabled}}
spec:
  serviceAccountName: tuist-server
  containers:
    - {name: app, image: "REGISTRY/app", ports: [{containerPort: 8080}]}
"""
_CALLER = """
apiVersion: v1
kind: Pod
metadata: {namespace: reports, name: reports, labels: {watchword.dev/call: tuist.tuist-server}}
spec:
  serviceAccountName: reports
  containers:
    - {name: app, image: "REGISTRY/reports"}
"""


def protected() -> str:
    """A pod with its gate."""
    return _page(_APP, "tuist", "A pod with its gate as a native sidecar.")


def calling() -> str:
    """A pod with its token."""
    return _page(
        _CALLER, "reports", "A pod with a token for tuist/tuist-server; the audience is its status.audience."
    )


def _page(text: str, namespace: str, what: str) -> str:
    pod: dict[str, Any] = yaml.safe_load(text)
    found = inject(pod, namespace, _WORLD, InjectionSettings(image="REGISTRY/gate"))
    if not isinstance(found, Injected):
        raise TypeError(f"the snippet's pod is not injected: {found}")
    return _HEAD.format(what=what) + to_yaml(found.pod)
