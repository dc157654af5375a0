# SPDX-License-Identifier: Apache-2.0
"""promtool, built with Go once into the user's cache folder: it judges what an alert's expression means."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO

from testing.controlplane.build import GoBuild
from testing.controlplane.cache import Recipe, find_or_build

_SOURCE = Path(__file__).parent / "promtool"
_VERSION = "v0.315.1"


def find_promtool(environment: Mapping[str, str] = os.environ, progress: TextIO | None = None) -> Path:
    """The program; built on first use, without service discovery. Raises what `find_or_build` raises."""
    package = "github.com/prometheus/prometheus/cmd/promtool"
    recipe = Recipe(
        name="promtool",
        title=f"promtool of Prometheus {_VERSION}",
        version=_VERSION,
        source=_SOURCE,
        files=("go.mod", "go.sum"),
        builds=((GoBuild((package,), tags="remove_all_sd"), "promtool"),),
    )
    return find_or_build(recipe, environment, progress) / "promtool"
