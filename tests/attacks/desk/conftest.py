# SPDX-License-Identifier: Apache-2.0
"""One running desk for all attacks of a module; whatever is thrown at it, it is unharmed afterwards."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from testing.running_desk import RunningDesk, running_desk


@pytest.fixture(scope="module")
def desk() -> Iterator[RunningDesk]:
    """A desk with one service, one workload and one resource server."""
    with running_desk() as running:
        yield running
        # Whatever was thrown at it: it still does its work.
        token = running.minted()
        assert running.introspect(token).json()["active"] is True
