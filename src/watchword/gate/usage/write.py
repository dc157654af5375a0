# SPDX-License-Identifier: Apache-2.0
"""Usage in: events, each answered by name, and a 2xx only after the store has them on disk.

What does not fit is refused before it is read: a body is let in when there is room for the whole of it. And
what it would come to is counted on its bytes before it is parsed, one body at a time and each caller in turn.
"""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final

from watchword.gate.audit import Teller
from watchword.gate.engine import Active, Engine
from watchword.gate.responses import Answer, json_answer, problem
from watchword.gate.usage.fair_queue import ByteBudget, FairQueue, QueueFullError, Room
from watchword.gate.usage.responses import queue_is_full, refused, result, unavailable
from watchword.gate.usage.store import GateStore
from watchword.identity import Identity, Refusal
from watchword.trust import USAGE_WRITE_SCOPE as WRITE_SCOPE
from watchword.trust import RouteMatch, authorize
from watchword.usage import (
    MAX_BODY_BYTES,
    MAX_VALUES,
    BodyProblem,
    Event,
    EventProblem,
    Meter,
    Outcome,
    StoreError,
    UsageStore,
    parse_events,
    weigh,
)
from watchword.usage.times import MICROSECONDS_PER_DAY, day_at, day_number, month_start

# Bodies as they arrive, until they are parsed.
MAX_INTAKE_BYTES: Final = 16 * MAX_BODY_BYTES
MAX_INTAKE_BYTES_EACH: Final = 8 * MAX_BODY_BYTES
# Events from when they are parsed until they are stored, by what they weigh: the heaviest body comes to this.
MAX_PARSED_BYTES: Final = 24 * MAX_BODY_BYTES
_ONE_AT_A_TIME: Final = 1

Headers = Sequence[tuple[bytes, bytes]]


class UsageWriter:
    """The endpoint that takes events."""

    def __init__(self, engine: Engine, store: GateStore) -> None:
        """Decide by an engine, and write to a store."""
        self._engine, self._store = engine, store
        self.byte_budget = ByteBudget(MAX_INTAKE_BYTES, MAX_INTAKE_BYTES_EACH)
        self.parsed = Room(MAX_PARSED_BYTES)
        self._parsing = FairQueue(_ONE_AT_A_TIME, "usage-parsing")

    async def write(
        self, headers: Headers, read_body: Callable[[], Awaitable[bytes]], told: Teller | None = None
    ) -> Answer:
        """POST usage/events."""
        found = self._engine.authenticate_or_refuse(headers, told)
        if isinstance(found, Answer):
            return found
        active, known = found
        match = RouteMatch(f"{active.ruleset.usage_base_path}/usage/events", WRITE_SCOPE, None, None)
        permitted = self._engine.permit(active, known, match, "POST", told)
        if isinstance(permitted, Answer):
            return permitted
        key, size = known.workload, _size(headers)
        try:
            self.byte_budget.take(key, size)
        except QueueFullError as full:
            return queue_is_full(full)
        try:
            return await self._take_in(active, known, match, headers, read_body, told=told)
        except QueueFullError as full:
            return queue_is_full(full)
        finally:
            self.byte_budget.give_back(key, size)

    def close(self) -> None:
        """End the thread that parses."""
        self._parsing.close()

    async def _take_in(
        self,
        active: Active,
        identity: Identity,
        match: RouteMatch,
        headers: Headers,
        read_body: Callable[[], Awaitable[bytes]],
        *,
        told: Teller | None,
    ) -> Answer:
        body = await read_body()
        weight = await self._parsing.run(identity.workload, lambda: weigh(body))
        # A body that comes to too much is refused without being parsed, and needs no room.
        needed = weight.bytes if weight.values <= MAX_VALUES else 0
        await self.parsed.take(identity.workload, needed)
        try:
            read = partial(parse_events, body, headers, weight=weight)
            return await self._store_parsed(active, identity, match, headers, read, told=told)
        finally:
            self.parsed.give_back(needed)

    async def _store_parsed(
        self,
        active: Active,
        identity: Identity,
        match: RouteMatch,
        headers: Headers,
        read: Callable[..., list[Event | EventProblem] | BodyProblem],
        *,
        told: Teller | None,
    ) -> Answer:
        now, rules = self._engine.clock(), active.ruleset
        bounds = {"future_skew_seconds": rules.future_seconds, "late_days": rules.late_days}
        parsed = await self._parsing.run(identity.workload, lambda: read(now, **bounds))
        if not self._engine.still_trusts(active, identity):
            # Trust may have ended while the body was on its way, or waited.
            again = self._decided_again(headers, match, told)
            if isinstance(again, Answer):
                return again
            active, identity = again
        if isinstance(parsed, BodyProblem):
            return problem(
                parsed.status,
                "The body is not usage events.",
                parsed.detail,
                reason=parsed.code,
                remedy=parsed.remedy,
            )
        self._engine.note_allowed(active, identity, match, "POST", told)
        while True:
            answer = await self._ingest(active, identity, parsed, match, now, told=told)
            if answer is not None:
                return answer
            again = self._decided_again(headers, match, told)
            if isinstance(again, Answer):
                return again
            active, identity = again

    def _decided_again(
        self, headers: Headers, match: RouteMatch, told: Teller | None
    ) -> tuple[Active, Identity] | Answer:
        """The decision under the bundle that is in use by now; its rate was taken before."""
        found = self._engine.authenticate_or_refuse(headers, told)
        if isinstance(found, Answer):
            return found
        active, known = found
        grant = authorize(known, WRITE_SCOPE)
        if isinstance(grant, Refusal):
            return self._engine.refuse(active, grant, known, match, method="POST", told=told)
        return active, known

    async def _ingest(
        self,
        active: Active,
        identity: Identity,
        parsed: list[Event | EventProblem],
        match: RouteMatch,
        now: float,
        *,
        told: Teller | None,
    ) -> Answer | None:
        """Store what is permitted, and answer; None: nothing was stored, trust changed while it waited."""
        results: dict[int, dict[str, object]] = {}
        permitted: list[Event] = []
        for each in parsed:
            if isinstance(each, EventProblem):
                results[each.index] = refused(each)
                continue
            grant = authorize(identity, WRITE_SCOPE, each.account)
            if isinstance(grant, Refusal):
                # One event for one foreign account is a refusal of the request when nothing else is in it.
                if len(parsed) == 1:
                    named = RouteMatch(match.path, WRITE_SCOPE, each.account, None)
                    return self._engine.refuse(active, grant, identity, named, method="POST", told=told)
                results[each.index] = refused(
                    EventProblem(each.index, grant.reason.code, "subject", grant.sentence(), grant.remedy)
                )
            else:
                permitted.append(each)
        if permitted:

            def work(store: UsageStore, meters: tuple[Meter, ...]) -> list[Outcome] | None:
                return (
                    store.ingest(permitted, meters) if self._engine.still_trusts(active, identity) else None
                )

            try:
                outcomes = await self._store.write(f"{identity.workload} {permitted[0].account}", work)
            except StoreError as error:
                return unavailable(error)
            if outcomes is None:
                return None
            month = day_number(month_start(day_at(now))) * MICROSECONDS_PER_DAY
            late = {event.index for event in permitted if event.time < month}
            results |= {each.index: result(each, is_late=each.index in late) for each in outcomes}
        return self._summary([results[index] for index in sorted(results)])

    def _summary(self, results: list[dict[str, object]]) -> Answer:
        counts = {
            name: sum(each["outcome"] == name for each in results)
            for name in ("stored", "duplicate", "refused")
        }
        for name, count in counts.items():
            if count:
                self._engine.metrics.usage_events.labels(name).inc(count)
        status = 200 if not counts["refused"] else 422 if counts["refused"] == len(results) else 207
        return json_answer(
            status,
            {
                "stored": counts["stored"],
                "duplicates": counts["duplicate"],
                "refused": counts["refused"],
                "results": results,
            },
        )


def _size(headers: Headers) -> int:
    """The room that a body may need, in bytes: what it says it has, or the most that one may have."""
    for name, value in headers:
        if name.lower() == b"content-length" and value.isdigit() and len(value) < 10:
            return min(int(value), MAX_BODY_BYTES)
    return MAX_BODY_BYTES
