# SPDX-License-Identifier: Apache-2.0
"""A small client that follows objects of a Kubernetes API server, and does nothing else.

List, then watch, on the standard library's streams and the HTTP parser that the gate has in memory anyway:
in a sidecar of 40 MiB there is no room for a client of the whole API. Begin with `watch.py`.
"""

from watchword.kube.watch.backoff import Backoff
from watchword.kube.watch.endpoint import Endpoint, in_cluster
from watchword.kube.watch.events import Event, Recovered, Removed, Synced, Troubled, Upserted
from watchword.kube.watch.messages import FullMeta, ObjectMeta, Part, PartialObject
from watchword.kube.watch.problems import ProblemKind, WatchProblem
from watchword.kube.watch.resource import Resource
from watchword.kube.watch.watch import Watch

__all__ = [
    "Backoff",
    "Endpoint",
    "Event",
    "FullMeta",
    "ObjectMeta",
    "Part",
    "PartialObject",
    "ProblemKind",
    "Recovered",
    "Removed",
    "Resource",
    "Synced",
    "Troubled",
    "Upserted",
    "Watch",
    "WatchProblem",
    "in_cluster",
]
