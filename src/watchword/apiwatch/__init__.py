# SPDX-License-Identifier: Apache-2.0
"""A small client that follows objects of a Kubernetes API server, and does nothing else.

List, then watch, on the standard library's streams and the HTTP parser that the gate has in memory anyway:
in a sidecar of 40 MiB there is no room for a client of the whole API. Begin with `watch.py`.
"""

from watchword.apiwatch.backoff import Backoff
from watchword.apiwatch.endpoint import Endpoint, in_cluster
from watchword.apiwatch.events import Event, Recovered, Removed, Synced, Troubled, Upserted
from watchword.apiwatch.messages import FullMeta, ObjectMeta, Part, PartialObject
from watchword.apiwatch.problems import ProblemKind, WatchProblem
from watchword.apiwatch.resource import Resource
from watchword.apiwatch.watch import Watch

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
