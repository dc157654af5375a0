# SPDX-License-Identifier: Apache-2.0
"""`node`: one running node for the whole session, for any test that needs pods that really run.

A first build takes many minutes: it happens once tests are collected and before any is timed, with its
progress on the terminal. Where no node can run, the tests are skipped aloud; with `WATCHWORD_REQUIRE_NODE=1`
they fail.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from testing.controlplane import BuildFailedError, ControlPlaneUnavailableError
from testing.node.node import Node, running_node
from testing.node.programs import Programs, find_programs
from testing.programs import find_uncaptured
from testing.unavailable import skip_or_fail

_FOUND = pytest.StashKey[Programs | ControlPlaneUnavailableError | BuildFailedError]()
_namespace_numbers = itertools.count(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what asks for a node, so that `-m 'not node'` leaves it out."""
    for item in items:
        if "node_programs" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.node)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Find or build the programs when a selected test needs them: no test's time limit runs yet."""
    is_needed = any(item.get_closest_marker("node") is not None for item in session.items)
    if is_needed and not session.config.option.collectonly:
        session.config.stash[_FOUND] = find_uncaptured(session.config, find_programs)


@pytest.fixture(scope="session")
def node_programs(pytestconfig: pytest.Config) -> Programs:
    """What a node runs; skips, or fails, where it is not to be had."""
    found = pytestconfig.stash.get(_FOUND, None) or find_uncaptured(pytestconfig, find_programs)
    if not isinstance(found, Programs):
        skip_or_fail("tests on a node", found, required_by="WATCHWORD_REQUIRE_NODE")
    return found


@pytest.fixture(scope="session")
def node(node_programs: Programs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A cluster of one node that runs pods; shared, so each test takes a `pod_namespace` of its own."""
    with running_node(tmp_path_factory.mktemp("node"), programs=node_programs) as running:
        yield running


@pytest.fixture
def pod_namespace(node: Node) -> Iterator[str]:
    """A namespace of the node's cluster that enforces the Pod Security level `restricted`."""
    name = f"pods-{next(_namespace_numbers)}"
    node.create_namespace(name)
    yield name
    # Its pods would take their share of two cores from the tests to come.
    node.cluster.request("DELETE", f"/api/v1/namespaces/{name}")
