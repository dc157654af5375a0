# SPDX-License-Identifier: Apache-2.0
"""Marks what needs a program that may not be installed."""

from __future__ import annotations

from pathlib import Path

import pytest

_HERE = Path(__file__).parent


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark every test of this folder, so that `-m 'not proxies'` leaves all of them out."""
    if item.path.is_relative_to(_HERE):
        item.add_marker(pytest.mark.proxies)
