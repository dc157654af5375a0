# SPDX-License-Identifier: Apache-2.0
"""Screens kept as text, for review as a diff. WATCHWORD_GOLDEN=write writes them anew."""

import os
from pathlib import Path

FOLDER = Path(__file__).parent / "screens"


def hold(name: str, text: str, folder: Path = FOLDER) -> None:
    """Compare a screen with the one that is kept."""
    file = folder / f"{name}.txt"
    if os.environ.get("WATCHWORD_GOLDEN") == "write":
        folder.mkdir(exist_ok=True)
        file.write_text(text)
    assert text == file.read_text()
