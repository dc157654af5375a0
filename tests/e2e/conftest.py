# SPDX-License-Identifier: Apache-2.0
"""`stage`: a namespace on the running node with a protected service that trusts `atlas`; see `stage.py`.

`long_caller` starts with the node when a selected test asks for it, and that test comes last.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from testing.node.node import Node
from tests.charts.conftest import helm
from tests.e2e.longcaller import LongCaller, start_long_caller
from tests.e2e.stage import Stage
from tests.image.fixtures import Images

__all__ = ["helm"]


def asks_for_long_caller(item: pytest.Item) -> bool:
    """Whether a test needs what must have run for minutes."""
    return "long_caller" in getattr(item, "fixturenames", ())


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put what has to wait at the end of the session, whoever else is in it."""
    items.sort(key=asks_for_long_caller)


@pytest.fixture(scope="session")
def node_with_images(node: Node, images: Images) -> Node:
    """The node with the images of this checkout on it."""
    for archive in images.archives.values():
        node.load_image(archive)
    return node


@pytest.fixture(scope="session")
def long_caller(
    node_with_images: Node, images: Images, tmp_path_factory: pytest.TempPathFactory
) -> LongCaller:
    """A caller and its protected service since the node came up."""
    node_with_images.create_namespace("long-caller")
    folder = tmp_path_factory.mktemp("long-caller")
    return start_long_caller(Stage(node_with_images, images, "long-caller", folder))


@pytest.fixture(scope="session")
def stocked_node(request: pytest.FixtureRequest, node_with_images: Node) -> Node:
    """The node with the images; what takes minutes on it has begun."""
    if any(asks_for_long_caller(item) for item in request.session.items):
        request.getfixturevalue("long_caller")
    return node_with_images


@pytest.fixture
def stage(stocked_node: Node, images: Images, pod_namespace: str, tmp_path: Path) -> Stage:
    """A namespace whose service `tuist-server` trusts the ServiceAccount `atlas`."""
    stage = Stage(stocked_node, images, pod_namespace, tmp_path)
    stage.trust("atlas")
    return stage
