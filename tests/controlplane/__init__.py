# SPDX-License-Identifier: Apache-2.0
"""A real kube-apiserver and etcd for tests, from nothing but Go (or `KUBEBUILDER_ASSETS`).

Read `cluster.py` first. A fake API server agrees with our own reading of Kubernetes, and that reading is what
the tests are to test.
"""

from tests.controlplane.api import ApiError
from tests.controlplane.binary import Binaries, find_binaries
from tests.controlplane.build import BuildFailed
from tests.controlplane.cache import ControlPlaneUnavailable
from tests.controlplane.cluster import DEFAULT_ISSUER, Cluster, start_cluster
from tests.controlplane.etcd import Etcd, start_etcd
from tests.controlplane.process import StartFailed, wait_until
from tests.controlplane.signing import Algorithm, SigningKey, token_parts

__all__ = [
    "DEFAULT_ISSUER",
    "Algorithm",
    "ApiError",
    "Binaries",
    "BuildFailed",
    "Cluster",
    "ControlPlaneUnavailable",
    "Etcd",
    "SigningKey",
    "StartFailed",
    "find_binaries",
    "start_cluster",
    "start_etcd",
    "token_parts",
    "wait_until",
]
