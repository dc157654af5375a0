# SPDX-License-Identifier: Apache-2.0
"""Builds of programs that take minutes, made before the first test with their progress on the terminal."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import pytest

from testing.controlplane import BuildFailedError, ControlPlaneUnavailableError

_Found = TypeVar("_Found")


def find_uncaptured(
    config: pytest.Config, find: Callable[[], _Found]
) -> _Found | ControlPlaneUnavailableError | BuildFailedError:
    """What `find` returns or why it cannot; what it prints is seen at once."""
    capture = config.pluginmanager.getplugin("capturemanager")
    assert capture is not None
    with capture.global_and_fixture_disabled():
        try:
            return find()
        except (ControlPlaneUnavailableError, BuildFailedError) as problem:
            return problem
