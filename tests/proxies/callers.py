# SPDX-License-Identifier: Apache-2.0
"""Who calls in this folder: Authorization headers with fresh tokens, as a projected volume holds them."""

from __future__ import annotations

import time
from typing import Any

from testing.gate_process import AUDIENCE
from testing.tokens import Signer, kubernetes, signer, token

ISSUER = "atlas-production"


def bearer(account: str, by: Signer | None = None, audience: str = AUDIENCE) -> str:
    """An Authorization header with a fresh projected token of `atlas/ACCOUNT`."""
    now = int(time.time())
    changes: dict[str, Any] = {
        "iat": now - 5,
        "nbf": now - 5,
        "exp": now + 600,
        "aud": [audience],
        "sub": f"system:serviceaccount:atlas:{account}",
        "kubernetes.io": kubernetes(
            namespace="atlas", serviceaccount={"name": account, "uid": f"uid-{account}"}
        ),
    }
    return f"Authorization: Bearer {token(by or signer('proxies'), **changes).decode()}"
