# SPDX-License-Identifier: Apache-2.0
"""Which form of an answer a caller asks for (RFC 9110, section 12.5.1). Pure.

JSON unless CSV is asked for by its name and liked better than JSON: callers that never said anything go on
getting what they got.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

CSV: Final = b"text/csv; charset=utf-8; header=present"
_QUALITY: Final = re.compile(r"(?:0(?:\.\d{0,3})?|1(?:\.0{0,3})?)\Z")
_JSON: Final = ("application/json", "application/*", "*/*")


def wants_csv(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Tell whether the Accept headers name `text/csv` and give it more weight than JSON."""
    liked: dict[str, float] = {}
    for name, value in headers:
        if name.lower() != b"accept":
            continue
        for each in value.decode("latin-1").split(","):
            kind, *parameters = (part.strip().lower() for part in each.split(";"))
            liked[kind] = max(liked.get(kind, 0.0), _quality(parameters))
    if not (csv := liked.get("text/csv", 0.0)):
        return False
    # `*/*` next to it is what clients add of their own accord; the more specific range of JSON counts.
    named = next((liked[kind] for kind in _JSON[:2] if kind in liked), None)
    return csv > named if named is not None else csv >= liked.get("*/*", 0.0)


def _quality(parameters: Iterable[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            return float(value) if _QUALITY.match(value.strip()) else 0.0
    return 1.0
