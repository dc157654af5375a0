# SPDX-License-Identifier: Apache-2.0
"""A real node for tests: kubelet, containerd and the controllers of a cluster, beside a real API server.

Read `node.py` first. What runs pods is what runs them in production: start-up order of sidecars, projected
tokens, rolling upgrades and garbage collection are the cluster's own doing here, not our idea of them.
"""

from tests.node.node import Node, running_node
from tests.node.programs import NodeUnavailable, Programs, find_helm, find_programs

__all__ = ["Node", "NodeUnavailable", "Programs", "find_helm", "find_programs", "running_node"]
