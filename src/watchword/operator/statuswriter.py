# SPDX-License-Identifier: Apache-2.0
"""Statuses into the API server: what should be there against what is there, and a write where they differ.

What turned from good to bad, or back, is told as an Event, if it stays so for a moment: objects that belong
together come one after the other. Only a change that was written is news, so a restart tells nothing twice.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from watchword.operator.apply import Conflict, Refused, Writer
from watchword.operator.entries import Entry, Key, Status
from watchword.operator.managed import version_of
from watchword.operator.recorder import Recorder
from watchword.operator.statuses import issuer_status, service_status, workload_status
from watchword.operator.world import World
from watchword.trust.conditions import ISSUER, SERVICE, ConditionType, Verdict
from watchword.trust.eventreasons import EventType
from watchword.trust.specs import API_VERSION
from watchword.trust.specs.status import Condition

_SETTLE_SECONDS: Final = 1.0
_VERDICTS: Final[Mapping[tuple[str, str], Verdict]] = {
    (verdict.type.value, verdict.reason): verdict for verdict in Verdict
}


class StatusWriter:
    """Writes the status of one object, one call each."""

    def __init__(
        self, world: World, writer: Writer, recorder: Recorder, clock: Callable[[], float] = time.time
    ) -> None:
        """Judge by a world; write through a writer; tell through a recorder."""
        self._world, self._writer, self._recorder, self._clock = world, writer, recorder, clock

    async def write(self, key: Key) -> None:
        """Bring one object's status to what it should be.

        Raises:
            Unavailable, NotLeading: to be tried again.
        """
        entry = self._world.store.entry(*key)
        if entry is None:
            return
        wanted = self._wanted(entry)
        if wanted is None or wanted == entry.status:
            return
        kind, namespace, name = key
        body = {
            "apiVersion": API_VERSION,
            "kind": kind,
            # The UID: what is said of one object must not be written to its successor.
            "metadata": {"name": name, "uid": entry.uid, **({"namespace": namespace} if namespace else {})},
            "status": msgspec.to_builtins(wanted),
        }
        before = entry.status
        try:
            metadata: dict[str, Any] = await self._writer.apply(body, subresource="status")
        except Conflict:
            return
        except Refused as refused:
            if refused.status == 404:
                return
            raise
        self._world.store.wrote_status(key, entry.uid, version_of(metadata), wanted)
        self._tell(entry, before, wanted)

    def _wanted(self, entry: Entry) -> Status | None:
        kind, _, name = entry.key
        now = self._clock()
        if kind == ISSUER:
            board = self._world.board
            keys = board.keys_of(name)
            if keys is None and entry.resource is not None:
                return None
            return issuer_status(entry, board.issuers, keys, board.problems_of(name), now)
        service = entry.service
        outcome = self._world.outcomes.get(service) if service is not None else None
        if kind == SERVICE:
            return None if outcome is None else service_status(entry, outcome, now)
        if service is not None and outcome is None:
            return None
        return workload_status(entry, outcome, self._world.pods, self._world.store.labels_of, now)

    def _tell(self, entry: Entry, before: Status, after: Status) -> None:
        known = {each.type: each for each in before.conditions}
        for condition in after.conditions:
            verdict = _VERDICTS.get((condition.type, condition.reason))
            if verdict is not None and _is_news(known.get(condition.type), condition, verdict):
                loop = asyncio.get_running_loop()
                loop.call_later(_SETTLE_SECONDS, self._tell_if_so, entry.key, entry.uid, condition)

    def _tell_if_so(self, key: Key, uid: str, condition: Condition) -> None:
        entry = self._world.store.entry(*key)
        if entry is None or entry.uid != uid:
            return
        said = next((each for each in entry.status.conditions if each.type == condition.type), None)
        if said is not None and (said.status, said.reason) == (condition.status, condition.reason):
            type_: EventType = "Warning" if condition.status == "False" else "Normal"
            self._recorder.tell(key, uid, type_, condition.reason, condition.message)


def _is_news(before: Condition | None, after: Condition, verdict: Verdict) -> bool:
    if after.status == "False":
        return verdict.is_told and (before is None or before.reason != after.reason)
    # That all is well is news where it was told that it was not.
    earlier = _VERDICTS.get((before.type, before.reason)) if before is not None else None
    return (
        after.status == "True"
        and verdict.type is ConditionType.READY
        and earlier is not None
        and earlier.is_told
    )
