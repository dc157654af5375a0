# SPDX-License-Identifier: Apache-2.0
"""Times as Kubernetes writes them: RFC 3339 in UTC, in whole seconds."""

from datetime import UTC, datetime


def rfc3339(seconds: float) -> str:
    """An RFC 3339 time.

    Args:
        seconds: since the epoch.
    """
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
