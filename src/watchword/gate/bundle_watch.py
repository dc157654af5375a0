# SPDX-License-Identifier: Apache-2.0
"""A bundle in a ConfigMap, followed through the API: an edit is in use before the kubelet has heard of it.

The API server may be away, may refuse, or may say the wrong thing: each of those is said, and none
changes what callers are told. That the object is gone, by a DELETED event or an empty list, is for `absence`.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

from watchword.gate.bundle_file import SourceProblem, unusable
from watchword.gate.config_map_watch import ConfigMap, config_map_watch
from watchword.gate.logs import LOGGER
from watchword.gate.metrics import GateMetrics
from watchword.gate.settings import FollowedConfigMap
from watchword.kube.watch import (
    ProblemKind,
    Recovered,
    Removed,
    Synced,
    Troubled,
    Upserted,
    Watch,
    WatchProblem,
)
from watchword.trust import Bundle, BundleError, decode_bundle
from watchword.trust.bundle_forms import ENTRIES, PREVIOUS_ENTRY, to_be_read

ENTRY = PREVIOUS_ENTRY
_NAME_OURS = "name the ConfigMap that the operator made for this service"


class BundleWatch:
    """Follows one ConfigMap.

    Attributes:
        generation: of the bundle that the ConfigMap held last; None: none yet.
    """

    def __init__(self, followed: FollowedConfigMap, metrics: GateMetrics) -> None:
        """Follow what the settings say, and count what goes wrong."""
        self._followed, self._metrics = followed, metrics
        self._watch = self._new_watch()
        self.generation: int | None = None
        metrics.follow_live(self.age_seconds, self.is_connected)

    def age_seconds(self) -> float | None:
        """Seconds since the last word of the API server; None: there never was one."""
        received_at = self._watch.received_at
        return None if received_at is None else time.monotonic() - received_at

    def is_connected(self) -> bool:
        """Whether the watch stands, as far as is known."""
        return self._watch.is_synced and self._watch.problem is None

    def document(self) -> dict[str, object]:
        """What /readyz says of it."""
        age, problem = self.age_seconds(), self._watch.problem
        document: dict[str, object] = {
            "config_map": str(self._followed),
            "connected": self.is_connected(),
            "last_word_seconds": None if age is None else round(age, 1),
            "generation": self.generation,
        }
        if problem is not None:
            document["warning"], document["remedy"] = problem.detail, problem.remedy
        return document

    async def bundles(self) -> AsyncIterator[Bundle | SourceProblem]:
        """Yield the ConfigMap's bundle, and again after each change."""
        # A new one each time: it tells again what is there, also what was told to someone who then failed.
        self._watch = self._new_watch()
        is_missing_told = False
        async with contextlib.aclosing(self._watch.events()) as events:
            async for event in events:
                match event:
                    case Upserted(found):
                        is_missing_told = False
                        yield await asyncio.to_thread(self._read, found)
                    case Removed():
                        is_missing_told = True
                        yield self._missing("is gone")
                    case Synced() if not self._watch.known and not is_missing_told:
                        is_missing_told = True
                        yield self._missing("is not there")
                    case Troubled(problem):
                        self._say_trouble(problem)
                    case Recovered():
                        LOGGER.info("API server is followed again", extra={"config_map": str(self._followed)})

    def _new_watch(self) -> Watch[ConfigMap]:
        return config_map_watch(self._followed, self._followed.name)

    def _read(self, found: ConfigMap) -> Bundle | SourceProblem:
        entries = {name: text.encode() for name, text in (found.data or {}).items() if name in ENTRIES}
        entries |= {name: data for name, data in (found.binary_data or {}).items() if name in ENTRIES}
        try:
            data = to_be_read(entries)
            if data is None:
                detail = f"the ConfigMap {self._followed} has no entry {ENTRY}"
                return SourceProblem(detail, _NAME_OURS, is_there=True)
            bundle = decode_bundle(data)
        except BundleError as problem:
            return unusable(f"the ConfigMap {self._followed} holds no usable bundle", problem)
        # The writers of one namespace's ConfigMaps must not decide for a service of another.
        if bundle.service.namespace != self._followed.namespace:
            name = f"{bundle.service.namespace}/{bundle.service.name}"
            detail = (
                f"the ConfigMap {self._followed} holds the bundle of {name}, which is of another namespace"
            )
            return SourceProblem(detail, _NAME_OURS, is_there=True)
        self.generation = bundle.generation
        return bundle

    def _missing(self, how: str) -> SourceProblem:
        remedy = "restore the ProtectedService that it is made from, or name another with --watch"
        return SourceProblem(f"the ConfigMap {self._followed} {how}", remedy, is_there=False)

    def _say_trouble(self, problem: WatchProblem) -> None:
        self._metrics.bundle_watch_failures.labels(problem.kind.value).inc()
        # Connections break wherever there are networks; what a person must look at is louder.
        log = LOGGER.info if problem.kind is ProblemKind.CUT else LOGGER.warning
        log(
            "API server cannot be followed",
            extra={
                "config_map": str(self._followed),
                "kind": problem.kind.value,
                "detail": problem.detail,
                "remedy": problem.remedy,
                "effect": "the bundle in use stays, and the mounted file is still followed",
            },
        )
