# SPDX-License-Identifier: Apache-2.0
"""A server of gRPC-Go that answers health checks about the service `demo`: quick, and not of our language."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO

from testing.controlplane.build import GoBuild
from testing.controlplane.cache import Recipe, find_or_build

SERVICE = "demo"
CHECK = "/grpc.health.v1.Health/Check"


def find_grpc_server(environment: Mapping[str, str] = os.environ, progress: TextIO | None = None) -> Path:
    """The program, which takes a port; built on first use. Raises what `find_or_build` raises."""
    recipe = Recipe(
        name="grpc-server",
        title="a server of gRPC-Go",
        version="1",
        source=Path(__file__).parent,
        files=("go.mod", "go.sum", "main.go"),
        builds=((GoBuild((".",)), "server"),),
    )
    return find_or_build(recipe, environment, progress) / "server"
