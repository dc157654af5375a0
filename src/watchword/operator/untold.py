# SPDX-License-Identifier: Apache-2.0
"""What is known to be there, and of which kopf has not told: who looks at kopf's watch from outside.

A watch that went deaf looks like a quiet one. A workload that was suspended meanwhile stays trusted for as
long as nobody notices; so what another watch has seen for a while is asked for, one object at a time.
"""

import time
from collections.abc import Callable
from typing import NamedTuple

from watchword.operator.following import Existence
from watchword.operator.store import Store


class _Owed(NamedTuple):
    existence: Existence
    since: float


class Untold:
    """Objects whose newest version kopf has still to bring. Belongs to one loop."""

    def __init__(self, store: Store, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Compare with what a store holds; `monotonic` gives seconds."""
        self._store, self._monotonic = store, monotonic
        self._owed: dict[tuple[str, str, str, str], _Owed] = {}
        self._heard: dict[str, float] = {}

    def exists(self, existence: Existence) -> None:
        """An object is there in a version; kopf may have told of it already, or has to."""
        key = _key(existence)
        owed = self._owed.get(key)
        # Of an object that is edited all the time, the oldest debt counts.
        since = self._monotonic() if owed is None or self._is_told(owed.existence) else owed.since
        self._owed[key] = _Owed(existence, since)

    def vanished(self, kind: str, namespace: str, name: str, uid: str) -> None:
        """An object is gone, and nothing is owed of it."""
        self._owed.pop((kind, namespace, name, uid), None)

    def heard(self, kind: str) -> None:
        """Kopf told something of a kind: that watch is not deaf."""
        self._heard[kind] = self._monotonic()

    def oldest_seconds(self) -> float | None:
        """For how long the oldest version has been owed; None: nothing is."""
        self._settle()
        if not self._owed:
            return None
        return self._monotonic() - min(owed.since for owed in self._owed.values())

    def silent_about(self, seconds: float) -> list[Existence]:
        """What has been owed for so long by watches that told nothing else meanwhile: late is not deaf."""
        self._settle()
        limit = self._monotonic() - seconds
        return [
            owed.existence
            for owed in self._owed.values()
            if owed.since <= limit and self._heard.get(owed.existence.kind, limit) <= limit
        ]

    def _settle(self) -> None:
        for key in [key for key, owed in self._owed.items() if self._is_told(owed.existence)]:
            del self._owed[key]

    def _is_told(self, each: Existence) -> bool:
        return self._store.has(each.kind, each.namespace, each.name, each.uid, each.version)


def _key(existence: Existence) -> tuple[str, str, str, str]:
    return existence.kind, existence.namespace, existence.name, existence.uid
