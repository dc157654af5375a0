# SPDX-License-Identifier: Apache-2.0
"""A real node for tests: kubelet, containerd and the controllers of a cluster, beside a real API server.

Read `node.py` first. What runs pods is what runs them in production: start-up order of sidecars, projected
tokens, rolling upgrades and garbage collection are the cluster's own doing here, not our idea of them.
"""

from testing.node.node import Node, running_node
from testing.node.programs import NodeUnavailableError, Programs, find_helm, find_programs

__all__ = ["Node", "NodeUnavailableError", "Programs", "find_helm", "find_programs", "running_node"]
