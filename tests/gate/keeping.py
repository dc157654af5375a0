# SPDX-License-Identifier: Apache-2.0
"""What a test sees of a keeper and its engine."""

from __future__ import annotations

from watchword.gate.bundle_updater import BundleUpdater
from watchword.gate.engine import Engine
from watchword.trust import Ruleset


async def nothing(_: Ruleset) -> None:
    """Follow an adopted ruleset with nothing."""


class Kept:
    """A keeper that takes bundles, with the engine that decides by them."""

    engine: Engine
    updater: BundleUpdater

    @property
    def generation(self) -> int:
        """The generation in use; 0: none is."""
        return self.engine.active.ruleset.generation if self.engine.active else 0

    @property
    def problem(self) -> str:
        """Why the newest bundle was not taken; empty: it was."""
        return self.updater.problem.detail if self.updater.problem else ""

    @property
    def remedy(self) -> str:
        """What would help; empty: it was taken."""
        return self.updater.problem.remedy if self.updater.problem else ""
