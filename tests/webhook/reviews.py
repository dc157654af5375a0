# SPDX-License-Identifier: Apache-2.0
"""What an API server sends a webhook about a pod."""

from __future__ import annotations

import json
from typing import Any


def review(pod: object, **changes: Any) -> bytes:
    """An AdmissionReview of a pod that is to be created, with changes of its request."""
    request = {
        "uid": "u-1",
        "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "namespace": "tuist",
        "operation": "CREATE",
        "object": pod,
        "userInfo": {"username": "somebody"},
    }
    document = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request | changes}
    return json.dumps(document).encode()
