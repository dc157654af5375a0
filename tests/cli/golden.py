# SPDX-License-Identifier: Apache-2.0
"""Screens kept as text, for review as a diff. WATCHWORD_GOLDEN=write writes them anew."""

import os
from pathlib import Path

FOLDER = Path(__file__).parent / "screens"


def hold(name: str, text: str) -> None:
    """Compare a screen with the one that is kept."""
    file = FOLDER / f"{name}.txt"
    if os.environ.get("WATCHWORD_GOLDEN") == "write":
        FOLDER.mkdir(exist_ok=True)
        file.write_text(text)
    assert text == file.read_text()
