# SPDX-License-Identifier: Apache-2.0
"""A real kube-apiserver and etcd for tests, from nothing but Go (or `KUBEBUILDER_ASSETS`).

Read `cluster.py` first. A fake API server agrees with our own reading of Kubernetes, and that reading is what
the tests are to test.
"""

from testing.controlplane.api import ApiError
from testing.controlplane.binary import Binaries, find_binaries
from testing.controlplane.build import BuildFailedError
from testing.controlplane.cache import ControlPlaneUnavailableError
from testing.controlplane.cluster import DEFAULT_ISSUER, Cluster, start_cluster
from testing.controlplane.etcd import Etcd, start_etcd
from testing.controlplane.process import StartFailedError, wait_until
from testing.controlplane.signing import Algorithm, SigningKey, token_parts

__all__ = [
    "DEFAULT_ISSUER",
    "Algorithm",
    "ApiError",
    "Binaries",
    "BuildFailedError",
    "Cluster",
    "ControlPlaneUnavailableError",
    "Etcd",
    "SigningKey",
    "StartFailedError",
    "find_binaries",
    "start_cluster",
    "start_etcd",
    "token_parts",
    "wait_until",
]
