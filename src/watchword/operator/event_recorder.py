# SPDX-License-Identifier: Apache-2.0
"""Events (v1): what happened to an object and what to do about it, told once and counted when it comes again.

Their names follow from what they say, so that a thing that repeats is one Event with a count and no flood. An
Event that cannot be written is dropped: it must never hold up what it tells of.
"""

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final

import msgspec

from watchword.kube.names import ObjectKey
from watchword.kube.requests import (
    ConflictError,
    NotLeadingError,
    ObjectClient,
    RefusedError,
    UnavailableError,
)
from watchword.operator.owned_objects import FIELD_MANAGER
from watchword.process.logs import LOGGER
from watchword.trust.api.v1alpha1 import API_VERSION
from watchword.trust.event_reasons import EventType
from watchword.trust.timestamps import rfc3339

# An API server keeps Events for an hour by default; what is older counts as new.
_REMEMBERED: Final = 4096
_MAX_WAITING: Final = 1000
# The same Event again, sooner than this, is counted and written later.
_QUIET_SECONDS: Final = 10.0
_MAX_MESSAGE: Final = 1024


class Occurrence(msgspec.Struct):
    """An Event that was told, and how often."""

    first: float
    last: float
    count: int
    written: float = float("-inf")


class Told(msgspec.Struct, frozen=True):
    """One thing to tell."""

    key: ObjectKey
    uid: str
    type: EventType
    reason: str
    message: str


class EventRecorder:
    """Writes Events, one after the other, after everything else."""

    def __init__(self, client: ObjectClient, clock: Callable[[], float] = time.time) -> None:
        """Write through a client; `clock` gives seconds since the epoch."""
        self._client, self._clock = client, clock
        self._occurrences: OrderedDict[Told, Occurrence] = OrderedDict()
        self._waiting: OrderedDict[Told, None] = OrderedDict()
        self._more = asyncio.Event()

    def tell(self, key: ObjectKey, uid: str, type_: EventType, reason: str, message: str) -> None:
        """Tell of an object; returns at once."""
        told = Told(key, uid, type_, reason, message[:_MAX_MESSAGE])
        now = self._clock()
        known = self._occurrences.get(told)
        if known is None:
            self._occurrences[told] = Occurrence(now, now, 1)
            if len(self._occurrences) > _REMEMBERED:
                self._occurrences.popitem(last=False)
        else:
            known.last, known.count = now, known.count + 1
        LOGGER.info("event", extra={"object": "/".join(key), "reason": reason, "detail": told.message})
        if len(self._waiting) < _MAX_WAITING:
            self._waiting[told] = None
            self._more.set()

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            await self._more.wait()
            self._more.clear()
            while self._waiting:
                told, _ = self._waiting.popitem(last=False)
                occurrence = self._occurrences.get(told)
                if occurrence is None:
                    continue
                wait = occurrence.written + _QUIET_SECONDS - self._clock()
                if wait > 0:
                    asyncio.get_running_loop().call_later(wait, self._again, told)
                    continue
                occurrence.written = self._clock()
                try:
                    await self._client.apply(event_body(told, occurrence))
                except (RefusedError, ConflictError, UnavailableError, NotLeadingError) as problem:
                    LOGGER.warning("an Event was dropped", extra={"reason": told.reason, "why": str(problem)})

    def _again(self, told: Told) -> None:
        self._waiting[told] = None
        self._more.set()


def event_body(told: Told, occurrence: Occurrence) -> dict[str, Any]:
    """The Event as an object."""
    kind, namespace, name = told.key
    digest = hashlib.sha256("\0".join((*told.key, told.uid, told.reason, told.message)).encode())
    return {
        "apiVersion": "v1",
        "kind": "Event",
        # Events about cluster-scoped objects live in `default` (Kubernetes: ValidateEvent).
        "metadata": {"namespace": namespace or "default", "name": f"{name[:200]}.{digest.hexdigest()[:16]}"},
        "involvedObject": {
            "apiVersion": API_VERSION,
            "kind": kind,
            "name": name,
            "uid": told.uid,
            **({"namespace": namespace} if namespace else {}),
        },
        "type": told.type,
        "reason": told.reason,
        "message": told.message,
        "count": occurrence.count,
        "firstTimestamp": rfc3339(occurrence.first),
        "lastTimestamp": rfc3339(occurrence.last),
        "source": {"component": FIELD_MANAGER},
        "reportingComponent": f"watchword.dev/{FIELD_MANAGER}",
    }
