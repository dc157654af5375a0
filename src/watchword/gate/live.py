# SPDX-License-Identifier: Apache-2.0
"""A bundle in a ConfigMap, followed through the API: an edit is in use before the kubelet has heard of it.

The API server may be away, may refuse, may say the wrong thing, and the object may be gone: each of those is
said, and none of them changes what callers are told. What is in use stays until something newer is there.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

from watchword.apiwatch import (
    ObjectMeta,
    Part,
    ProblemKind,
    Recovered,
    Removed,
    Resource,
    Synced,
    Troubled,
    Upserted,
    Watch,
    WatchProblem,
)
from watchword.gate.logs import LOGGER
from watchword.gate.metrics import GateMetrics
from watchword.gate.settings import FollowedConfigMap
from watchword.gate.sources import SourceProblem, unusable
from watchword.trust import Bundle, BundleProblem, decode_bundle

ENTRY = "bundle.json"
# A list as well, now and then: should a watch ever leave something out, it is not for good.
RELIST_SECONDS = 600.0


class BundleConfigMap(Part, frozen=True, gc=False):
    """As much of a ConfigMap as can hold a bundle."""

    metadata: ObjectMeta
    data: dict[str, str] | None = None
    binary_data: dict[str, bytes] | None = None


class LiveSource:
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
        heard_at = self._watch.heard_at
        return None if heard_at is None else time.monotonic() - heard_at

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
        # A new one each time: it tells anew what is there, also what was told to somebody who then failed.
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

    def _new_watch(self) -> Watch[BundleConfigMap]:
        followed = self._followed
        return Watch(
            followed.endpoint,
            Resource.one("configmaps", followed.namespace, followed.name),
            BundleConfigMap,
            _itself,
            window_seconds=followed.window_seconds,
            relist_seconds=RELIST_SECONDS,
            is_relisted_after_failure=True,
        )

    def _read(self, found: BundleConfigMap) -> Bundle | SourceProblem:
        text = (found.data or {}).get(ENTRY)
        data = (found.binary_data or {}).get(ENTRY) if text is None else text.encode()
        if data is None:
            detail = f"the ConfigMap {self._followed} has no entry {ENTRY}"
            return SourceProblem(detail, "name the ConfigMap that the operator made for this service")
        try:
            bundle = decode_bundle(data)
        except BundleProblem as problem:
            return unusable(f"the ConfigMap {self._followed} holds no usable bundle", problem)
        # Whoever may write ConfigMaps in one namespace must not decide for a service of another.
        if bundle.service.namespace != self._followed.namespace:
            name = f"{bundle.service.namespace}/{bundle.service.name}"
            detail = (
                f"the ConfigMap {self._followed} holds the bundle of {name}, which is of another namespace"
            )
            return SourceProblem(detail, "name the ConfigMap that the operator made for this service")
        self.generation = bundle.generation
        return bundle

    def _missing(self, how: str) -> SourceProblem:
        remedy = "restore the ProtectedService that it is made from, or name another with --watch"
        return SourceProblem(f"the ConfigMap {self._followed} {how}", remedy)

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


def _itself(found: BundleConfigMap) -> BundleConfigMap:
    return found
