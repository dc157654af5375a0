# SPDX-License-Identifier: Apache-2.0
"""Reads the bundle that a ConfigMap really holds, whatever its annotations say."""

import base64
from collections.abc import Mapping
from typing import Any

from watchword.trust.bundle import Bundle, BundleError, decode_bundle
from watchword.trust.bundle_forms import ENTRIES, newest


def _forms(document: Mapping[str, Any]) -> dict[str, bytes]:
    """What a ConfigMap holds under the names of our entries."""
    found: dict[str, bytes] = {}
    for name in ENTRIES:
        try:
            text = (document.get("data") or {}).get(name)
            packed = (document.get("binaryData") or {}).get(name)
            if text is not None:
                found[name] = text.encode()
            elif packed is not None:
                found[name] = base64.b64decode(packed, validate=True)
        except (ValueError, AttributeError):
            continue
    return found


def highest_generation(document: Mapping[str, Any]) -> int:
    """The highest generation that a gate of any release can have read there; 0: none."""
    return max((each.generation for each in map(_decoded, _forms(document).values()) if each), default=0)


def stored_bundle(document: Mapping[str, Any]) -> Bundle | None:
    """The bundle that a ConfigMap really holds, in the newest form; None where it holds none."""
    data = newest(_forms(document))
    return None if data is None else _decoded(data)


def _decoded(data: bytes) -> Bundle | None:
    try:
        return decode_bundle(data)
    except BundleError:
        return None
