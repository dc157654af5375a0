# SPDX-License-Identifier: Apache-2.0
"""`stage`: a namespace on the running node with a protected service that trusts `atlas`; see `stage.py`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.charts.conftest import helm
from tests.e2e.stage import Stage
from tests.image.fixtures import Images
from tests.node.node import Node

__all__ = ["helm"]


@pytest.fixture(scope="session")
def stocked_node(node: Node, images: Images) -> Node:
    """The node with the images of this checkout on it."""
    for archive in images.archives.values():
        node.load_image(archive)
    return node


@pytest.fixture
def stage(stocked_node: Node, images: Images, pod_namespace: str, tmp_path: Path) -> Stage:
    """A namespace whose service `tuist-server` trusts the ServiceAccount `atlas`."""
    stage = Stage(stocked_node, images, pod_namespace, tmp_path)
    stage.trust("atlas")
    return stage
