# SPDX-License-Identifier: Apache-2.0
"""The metrics of a process at an ops URL that a person named, as bytes of a bounded number."""

import http.client
import urllib.error
import urllib.request
from typing import Any, Final

# More than a gate with all its labels ever has.
MAX_METRICS_BYTES: Final = 16 * 1024 * 1024
# For each wait for its bytes, in seconds.
SECONDS: Final = 10.0


class NoMetricsError(Exception):
    """What is at the URL gave no metrics; the message is the kind of error, and nothing that was sent."""


def open_directly(url: str, seconds: float) -> Any:
    """Ask a URL of an ops port, whose scheme the caller has checked; no proxy of the environment is asked."""
    # An ops port is on this machine or behind a port-forward of it, and no proxy gets there.
    return urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=seconds)


def read_metrics(url: str, *, max_bytes: int = MAX_METRICS_BYTES, seconds: float = SECONDS) -> bytes:
    """Read URL/metrics.

    Args:
        url: an http or https URL, which the caller has checked.
        max_bytes: more than so many bytes are no metrics.
        seconds: how long to wait for each answer of the other end.

    Raises:
        NoMetricsError: nothing answers in that time, or not with a page of that size.
    """
    try:
        with open_directly(f"{url.rstrip('/')}/metrics", seconds) as answer:
            data: bytes = answer.read(max_bytes + 1)
    except (OSError, ValueError, http.client.HTTPException) as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()
        raise NoMetricsError(type(error).__name__) from None
    if len(data) > max_bytes:
        raise NoMetricsError("too large")
    return data
