# SPDX-License-Identifier: Apache-2.0
"""The logs of our processes: a JSON document a line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def log_lines(path: Path, message: str | None = None) -> list[dict[str, Any]]:
    """The documents of a log, with this message if one is given; none where there is no file yet.

    What is no document is passed over: a line that is half written, or what a library printed.
    """
    found = []
    for line in path.read_bytes().splitlines() if path.exists() else ():
        try:
            document = json.loads(line)
        except ValueError:
            continue
        if isinstance(document, dict) and message in (None, document.get("message")):
            found.append(document)
    return found
