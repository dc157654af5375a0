# SPDX-License-Identifier: Apache-2.0
"""Usage in: events, each answered by name, and a 2xx only after the store has them on disk.

What does not fit is refused before it is read: a body is let in when there is room for the whole of it.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from watchword.gate.answers import Answer, json_answer, problem
from watchword.gate.engine import Active, Engine
from watchword.gate.fairline import Intake, LineIsFull
from watchword.gate.usage_answers import line_is_full, not_found, refused, result, unavailable
from watchword.gate.usage_store import GateStore
from watchword.identity import Identity, Refusal
from watchword.trust import RouteMatch, authorize
from watchword.usage import (
    MAX_BODY_BYTES,
    BodyProblem,
    Event,
    EventProblem,
    Meter,
    Outcome,
    StoreError,
    UsageStore,
    parse_events,
)
from watchword.usage.times import MICROSECONDS_PER_DAY, day_at, day_number, month_start

WRITE_SCOPE: Final = "account:usage:write"
# A parsed batch weighs several times its body, and a gate's memory is counted in tens of MiB.
MAX_INTAKE_BYTES: Final = 16 * MAX_BODY_BYTES
MAX_INTAKE_BYTES_EACH: Final = 8 * MAX_BODY_BYTES

Headers = Sequence[tuple[bytes, bytes]]


class UsageWriter:
    """The endpoint that takes events."""

    def __init__(self, engine: Engine, store: GateStore) -> None:
        """Decide by an engine, and write to a store."""
        self._engine, self._store = engine, store
        self.intake = Intake(MAX_INTAKE_BYTES, MAX_INTAKE_BYTES_EACH)

    async def write(self, headers: Headers, read_body: Callable[[], Awaitable[bytes]]) -> Answer:
        """POST usage/events."""
        active = self._engine.active
        known = self._engine.who(active, headers)
        if active is None or isinstance(known, Refusal):
            return self._engine.refuse(active, known) if isinstance(known, Refusal) else not_found()
        match = RouteMatch(f"{active.ruleset.usage_base_path}/usage/events", WRITE_SCOPE, None, None)
        if refusal := self._engine.permit(active, known, match, "POST"):
            return refusal
        key, size = known.workload, _size(headers)
        try:
            self.intake.take(key, size)
        except LineIsFull as full:
            return line_is_full(full)
        try:
            return await self._take_in(active, known, match, headers, read_body)
        except LineIsFull as full:
            return line_is_full(full)
        finally:
            self.intake.give_back(key, size)

    async def _take_in(
        self,
        active: Active,
        identity: Identity,
        match: RouteMatch,
        headers: Headers,
        read_body: Callable[[], Awaitable[bytes]],
    ) -> Answer:
        body = await read_body()
        if self._engine.active is not active:
            # Trust may have ended while the body was on its way.
            now_active = self._engine.active
            known = self._engine.who(now_active, headers)
            if now_active is None or isinstance(known, Refusal):
                return self._engine.refuse(now_active, known) if isinstance(known, Refusal) else not_found()
            active, identity = now_active, known
            grant = authorize(identity, WRITE_SCOPE)
            if isinstance(grant, Refusal):
                return self._engine.refuse(active, grant, identity, match, method="POST")
        now, rules = self._engine.clock(), active.ruleset
        parsed = await self._store.writes.run(
            identity.workload,
            lambda: parse_events(
                body, headers, now, future_skew_seconds=rules.future_seconds, late_days=rules.late_days
            ),
        )
        if isinstance(parsed, BodyProblem):
            return problem(
                parsed.status,
                "The body is not usage events.",
                parsed.detail,
                reason=parsed.code,
                remedy=parsed.remedy,
            )
        self._engine.note_allowed(active, identity, match, "POST")
        return await self._ingest(active, identity, parsed, match, now)

    async def _ingest(
        self,
        active: Active,
        identity: Identity,
        parsed: list[Event | EventProblem],
        match: RouteMatch,
        now: float,
    ) -> Answer:
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
                    return self._engine.refuse(active, grant, identity, named, method="POST")
                results[each.index] = refused(
                    EventProblem(each.index, grant.reason.code, "subject", grant.sentence(), grant.remedy)
                )
            else:
                permitted.append(each)
        if permitted:

            def work(store: UsageStore, meters: tuple[Meter, ...]) -> list[Outcome]:
                return store.ingest(permitted, meters)

            try:
                outcomes = await self._store.write(f"{identity.workload} {permitted[0].account}", work)
            except StoreError as error:
                return unavailable(error)
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
