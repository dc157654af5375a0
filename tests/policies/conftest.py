# SPDX-License-Identifier: Apache-2.0
"""The evaluator of NetworkPolicies; skipped aloud where it cannot be had, and never in CI."""

from __future__ import annotations

from pathlib import Path

import pytest

from testing.controlplane.build import BuildFailedError
from testing.controlplane.cache import ControlPlaneUnavailableError
from testing.unavailable import skip_or_fail
from tests.policies.evaluator import Evaluator, find_evaluator

_HERE = Path(__file__).parent
_FOUND = pytest.StashKey[Evaluator | ControlPlaneUnavailableError | BuildFailedError]()


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark every test of this folder: it needs what the cluster tests need, Go or a finished build."""
    if item.path.is_relative_to(_HERE):
        item.add_marker(pytest.mark.cluster)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Build the program, where a selected test needs it, before any test is timed."""
    is_needed = any("evaluator" in getattr(item, "fixturenames", ()) for item in session.items)
    if is_needed and not session.config.option.collectonly:
        capture = session.config.pluginmanager.getplugin("capturemanager")
        assert capture is not None
        with capture.global_and_fixture_disabled():
            session.config.stash[_FOUND] = _find()


def _find() -> Evaluator | ControlPlaneUnavailableError | BuildFailedError:
    try:
        return find_evaluator()
    except (ControlPlaneUnavailableError, BuildFailedError) as problem:
        return problem


@pytest.fixture(scope="session")
def evaluator(pytestconfig: pytest.Config) -> Evaluator:
    """Cyclonus; skips, or fails, where it is not to be had."""
    found = pytestconfig.stash.get(_FOUND, None) or _find()
    if not isinstance(found, Evaluator):
        skip_or_fail("policy tests", found, required_by="WATCHWORD_REQUIRE_CLUSTER")
    return found
