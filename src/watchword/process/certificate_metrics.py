# SPDX-License-Identifier: Apache-2.0
"""Metrics of the certificate that a server shows: who watches them knows before callers do that it ends."""

import math
from collections.abc import Callable
from functools import partial
from typing import Final

from prometheus_client import CollectorRegistry, Gauge

Validity = Callable[[], tuple[float, float] | None]
_PARTS: Final = (("begins", "is valid"), ("expires", "is valid no more"))


def certificate_gauges(registry: CollectorRegistry, prefix: str, whose: str, validity: Validity) -> None:
    """Say in a registry from when until when the certificate in use is valid; NaN while that is unknown."""
    for place, (name, what) in enumerate(_PARTS):
        Gauge(
            f"{prefix}_certificate_{name}_timestamp_seconds",
            f"From when on the {whose} certificate {what}, in seconds since the epoch.",
            registry=registry,
        ).set_function(partial(_moment, validity, place))


def _moment(validity: Validity, place: int) -> float:
    found = validity()
    return math.nan if found is None else found[place]
