# SPDX-License-Identifier: Apache-2.0
"""The chart tests of this folder use Helm, and real API servers; one of them cert-manager."""

from __future__ import annotations

from pathlib import Path

import pytest

from testing.certmanager import find_certmanager
from testing.controlplane import BuildFailedError, ControlPlaneUnavailableError
from testing.programs import find_uncaptured
from testing.unavailable import skip_or_fail
from tests.charts.conftest import helm

__all__ = ["helm"]
_FOUND = pytest.StashKey[Path | ControlPlaneUnavailableError | BuildFailedError]()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Build cert-manager where a selected test needs it: no test's time limit runs yet."""
    is_needed = any("certmanager_program" in getattr(item, "fixturenames", ()) for item in session.items)
    if is_needed and not session.config.option.collectonly:
        session.config.stash[_FOUND] = find_uncaptured(session.config, find_certmanager)


@pytest.fixture(scope="session")
def certmanager_program(pytestconfig: pytest.Config) -> Path:
    """cert-manager's controllers as a program; skips, or fails, where they are not to be had."""
    found = pytestconfig.stash.get(_FOUND, None) or find_uncaptured(pytestconfig, find_certmanager)
    if not isinstance(found, Path):
        skip_or_fail("tests of cert-manager", found, required_by="WATCHWORD_REQUIRE_CLUSTER")
    return found
