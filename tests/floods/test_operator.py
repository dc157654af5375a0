# SPDX-License-Identifier: Apache-2.0
"""Floods of the operator's ops port. Those with objects are tests/cluster/operator/test_large_objects.py."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from testing.controlplane import Cluster
from testing.operator_process import Replica, give_back_lease, kubeconfig_of, running_operator
from tests.floods import shapes
from tests.floods.callers import Call
from tests.floods.pump import Flood
from tests.floods.report import endure
from tests.floods.test_gate import address_of, bodies, heads

pytestmark = pytest.mark.cluster
Shape = Callable[[], Iterator[bytes]]


@pytest.fixture(scope="module")
def operator(own_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replica]:
    """An operator that leads."""
    give_back_lease(own_cluster)
    folder = tmp_path_factory.mktemp("operator")
    with running_operator(kubeconfig_of(own_cluster, folder / "kubeconfig"), folder) as replica:
        replica.wait_until(replica.is_leading, "the operator leads")
        yield replica


def ops_call(operator: Replica) -> Call:
    return Call(*address_of(operator.ops_url), "GET", "/healthz")


@pytest.mark.parametrize(
    ("name", "shape", "connections"),
    [*heads(), *bodies(b"POST /healthz HTTP/1.1\r\nHost: a\r\n")],
    ids=str,
)
def test_the_operators_ops_port_endures(operator: Replica, name: str, shape: Shape, connections: int) -> None:
    flood = Flood(address_of(operator.ops_url), lambda _: shape(), connections)
    endure("operator", f"ops: {name}", operator.pid, ops_call(operator), flood)


@pytest.mark.parametrize("path", ["/healthz", "/metrics", "/readyz"])
def test_pipelining_without_reading(operator: Replica, path: str) -> None:
    request = b"GET %s HTTP/1.1\r\nHost: operator\r\n\r\n" % path.encode()
    flood = Flood(address_of(operator.ops_url), lambda _: shapes.pipelined(request), 8, 16 * 2**20)
    endure("operator", f"ops: {path} pipelined, unread", operator.pid, ops_call(operator), flood)
