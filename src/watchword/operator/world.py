# SPDX-License-Identifier: Apache-2.0
"""All that one term of leadership knows of the cluster, in one place, gone with the term.

Nothing in it waits or writes; everything that decides reads from it, so that two decisions of one moment are
made from the same facts.
"""

from dataclasses import dataclass, field

from watchword.operator.issuerboard import IssuerBoard, KeyFollower
from watchword.operator.managed import ManagedObjects
from watchword.operator.outcomes import Outcomes
from watchword.operator.pods import PodIndex
from watchword.operator.store import Store


@dataclass(slots=True)
class World:
    """What is known.

    Attributes:
        store: our three kinds, Namespaces and ServiceAccounts.
        board: the issuers with their keys.
        pods: the pods that run here.
        managed: our own objects.
        outcomes: what the last reconcile of each service came to.
    """

    store: Store
    board: IssuerBoard
    pods: PodIndex
    managed: ManagedObjects = field(default_factory=ManagedObjects)
    outcomes: Outcomes = field(default_factory=dict)

    @classmethod
    def new(cls, keys: KeyFollower) -> "World":
        """An empty one, whose issuers' keys somebody follows."""
        store = Store()
        return cls(store, IssuerBoard(store, keys), PodIndex(store.labels_of))
