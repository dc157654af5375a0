# SPDX-License-Identifier: Apache-2.0
"""docs/reference/usage-openapi.json: what the ops port serves, for the default path."""

import json

from watchword.gate.usage.openapi import openapi


def page() -> str:
    """The document's text."""
    return json.dumps(openapi("/api/internal"), indent=2) + "\n"
