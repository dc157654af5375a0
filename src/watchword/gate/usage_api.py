# SPDX-License-Identifier: Apache-2.0
"""The usage read model over HTTP: events in, the month out, for callers that hold the scopes for it.

The store blocks and wants one thread at a time, so one worker thread has it. A 2xx is said only after the
store has it on disk; whatever was not stored is said for each event by name.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar
from urllib.parse import parse_qsl

from watchword.gate.answers import Answer, bytes_answer, json_answer, problem
from watchword.gate.engine import Active, Engine, RequestHeaders
from watchword.gate.logs import LOGGER
from watchword.identity import Identity, Refusal
from watchword.trust import AmbiguousTargetError, MeterSpec, RouteMatch, authorize, split_target
from watchword.usage import (
    MAX_BODY_BYTES,
    BodyProblem,
    Dimension,
    Event,
    EventProblem,
    Meter,
    MetersChanged,
    Outcome,
    QueryProblem,
    StoreError,
    StoreUnavailable,
    UsageStore,
    encode,
    parse_events,
    parse_query,
    render,
    too_large,
)

READ_SCOPE, WRITE_SCOPE = "account:usage:read", "account:usage:write"
RETRY_SECONDS = 2
_T = TypeVar("_T")


class UsageApi:
    """The two endpoints, over one store."""

    def __init__(self, engine: Engine, store: UsageStore, retry_seconds: float = RETRY_SECONDS) -> None:
        """Serve a store; it is used from one worker thread only, and closed by `close`."""
        self._engine, self._store, self._retry_seconds = engine, store, retry_seconds
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="usage")
        # In force, as the worker sees it; and wanted by the newest bundle.
        self._meters: tuple[Meter, ...] | None = None
        self._wanted: tuple[Meter, ...] | None = None

    async def use_meters(self, specs: Sequence[MeterSpec]) -> None:
        """Count with these meters from now on; what is stored is counted anew when they changed."""
        meters = tuple(map(_meter, specs))
        self._wanted = meters
        while self._wanted is meters:
            try:
                await self._in_worker(lambda: self._put_to_use(meters))
            except StoreUnavailable as error:
                # Until it succeeds, events are answered with 503 and sent again: none is counted wrongly.
                _say_not_in_use(error)
                await asyncio.sleep(self._retry_seconds)
            except StoreError as error:
                _say_not_in_use(error)
                return
            else:
                return

    async def close(self) -> None:
        """Finish what was begun and close the store."""
        await self._in_worker(self._store.close)
        self._worker.shutdown()

    def finds(self, target: bytes) -> tuple[str, str] | None:
        """Which endpoint a raw target is: ("events", ""), ("account", NAME), or None."""
        active = self._engine.active
        if active is None:
            return None
        try:
            segments = split_target(target)
        except AmbiguousTargetError:
            return None
        base = split_target(active.ruleset.usage_base_path.encode())
        rest = segments[len(base) :]
        if segments[: len(base)] != base:
            return None
        if rest == ("usage", "events"):
            return "events", ""
        if len(rest) == 3 and rest[0] == "accounts" and rest[1] and rest[2] == "usage":
            return "account", rest[1]
        return None

    async def read(self, headers: RequestHeaders, account: str, target: bytes) -> Answer:
        """GET: what an account used."""
        active = self._engine.active
        route = f"{active.ruleset.usage_base_path}/accounts/{{account}}/usage" if active else ""
        match = RouteMatch(route, READ_SCOPE, account, None)
        known = self._engine.who(active, headers)
        if active is None or isinstance(known, Refusal):
            return self._engine.refuse(active, known) if isinstance(known, Refusal) else _not_found()
        if refusal := self._engine.permit(active, known, match, "GET"):
            return refusal
        self._engine.note_allowed(active, known, match, "GET")
        try:
            parameters = parse_qsl(
                target.partition(b"?")[2].decode("ascii"),
                keep_blank_values=True,
                strict_parsing=False,
                max_num_fields=32,
            )
        except ValueError:
            return problem(400, "The query is not readable.", "Use at most 32 parameters in ASCII.")
        query = parse_query(account, parameters, self._engine.clock(), self._wanted or ())
        if isinstance(query, QueryProblem):
            return _query_problem(query)
        try:
            found, meters = await self._in_worker(lambda: (self._store.read(query), self._in_force()))
        except StoreError as error:
            return _unavailable(error)
        if found is not None and (excess := too_large(found)) is not None:
            return _query_problem(excess)
        if found is None:
            detail = "No usage event was ever stored for this account."
            return problem(404, "The account is not known.", detail, reason="account_not_found")
        return bytes_answer(200, encode(render(query, found, meters)))

    async def write(
        self, headers: Sequence[tuple[bytes, bytes]], read_body: Callable[[], Awaitable[bytes]]
    ) -> Answer:
        """POST: usage events, each answered by name."""
        active = self._engine.active
        known = self._engine.who(active, headers)
        if active is None or isinstance(known, Refusal):
            return self._engine.refuse(active, known) if isinstance(known, Refusal) else _not_found()
        identity = known
        match = RouteMatch(f"{active.ruleset.usage_base_path}/usage/events", WRITE_SCOPE, None, None)
        if refusal := self._engine.permit(active, identity, match, "POST"):
            return refusal
        body = await read_body()
        if self._engine.active is not active:
            # Trust may have ended while the body was on its way.
            active = self._engine.active
            known = self._engine.who(active, headers)
            if active is None or isinstance(known, Refusal):
                return self._engine.refuse(active, known) if isinstance(known, Refusal) else _not_found()
            identity = known
            grant = authorize(identity, WRITE_SCOPE)
            if isinstance(grant, Refusal):
                return self._engine.refuse(active, grant, identity, match, method="POST")
        now, rules = self._engine.clock(), active.ruleset
        parsed = await self._in_worker(
            lambda: parse_events(
                body,
                headers,
                now,
                future_skew_seconds=rules.future_seconds,
                late_days=rules.late_days,
            )
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
        return await self._ingest(active, identity, parsed, match)

    async def _ingest(
        self, active: Active, identity: Identity, parsed: list[Event | EventProblem], match: RouteMatch
    ) -> Answer:
        results: dict[int, dict[str, object]] = {}
        permitted: list[Event] = []
        for each in parsed:
            if isinstance(each, EventProblem):
                results[each.index] = _refused(each)
                continue
            grant = authorize(identity, WRITE_SCOPE, each.account)
            if isinstance(grant, Refusal):
                # One event for one foreign account is a refusal of the request when nothing else is in it.
                if len(parsed) == 1:
                    named = RouteMatch(match.path, WRITE_SCOPE, each.account, None)
                    return self._engine.refuse(active, grant, identity, named, method="POST")
                results[each.index] = _refused(
                    EventProblem(each.index, grant.reason.code, "subject", grant.sentence(), grant.remedy)
                )
            else:
                permitted.append(each)
        if permitted:
            try:
                outcomes = await self._in_worker(lambda: self._store.ingest(permitted, self._in_force()))
            except StoreError as error:
                return _unavailable(error)
            results |= {outcome.index: _result(outcome) for outcome in outcomes}
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

    def _put_to_use(self, meters: tuple[Meter, ...]) -> None:
        self._store.use_meters(meters)
        self._meters = meters

    def _in_force(self) -> tuple[Meter, ...]:
        if self._meters is None:
            raise StoreUnavailable("the meters are not in use yet", "look for an error of the store above")
        return self._meters

    async def _in_worker(self, work: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._worker, work)


def _meter(spec: MeterSpec) -> Meter:
    return Meter(
        spec.name,
        spec.event_type,
        spec.aggregation,
        spec.value,
        tuple(Dimension(each.name, each.value) for each in spec.group_by),
        spec.max_groups,
        spec.unit,
        spec.retention_days,
    )


def body_too_large() -> Answer:
    """The answer to a body that goes on beyond the limit."""
    detail = f"The body has more than {MAX_BODY_BYTES} bytes."
    return problem(
        413, "The body is too large.", detail, reason="body_too_large", remedy="Send smaller batches."
    )


def _not_found() -> Answer:
    return problem(404, "There is nothing at this path.", "Check the path and the method.")


def _query_problem(found: QueryProblem) -> Answer:
    return problem(
        400,
        "The query is not right.",
        found.detail,
        reason=found.code,
        parameter=found.parameter,
        remedy=found.remedy,
    )


def _unavailable(error: StoreError) -> Answer:
    # Events are known by source and id, so sending the same ones again is safe even where they were stored.
    status = 503 if isinstance(error, StoreUnavailable | MetersChanged) else 500
    headers = [(b"retry-after", str(RETRY_SECONDS).encode())] if status == 503 else []
    LOGGER.error("the usage store failed", extra={"detail": error.detail, "remedy": error.remedy})
    return problem(
        status,
        "Usage is not available now.",
        "The usage store did not answer. Sending the same again is safe.",
        headers,
    )


def _say_not_in_use(error: StoreError) -> None:
    LOGGER.error("the meters could not be put to use", extra={"detail": error.detail, "remedy": error.remedy})


def _refused(found: EventProblem) -> dict[str, object]:
    return {
        "index": found.index,
        "outcome": "refused",
        "code": found.code,
        "field": found.field,
        "detail": found.detail,
        "remedy": found.remedy,
    }


def _result(outcome: Outcome) -> dict[str, object]:
    if outcome.status == "refused" and outcome.problem is not None:
        return _refused(outcome.problem)
    if outcome.status == "duplicate" and "subject" in outcome.differs:
        # Somebody else's event took this key: calling it a duplicate would drop this one without a word.
        detail = "An event with this source and id was stored for another account."
        remedy = "Make ids unique for each source, whatever the account."
        return _refused(EventProblem(outcome.index, "id_conflict", "id", detail, remedy))
    result: dict[str, object] = {"index": outcome.index, "outcome": outcome.status}
    if outcome.differs:
        result["differs"] = list(outcome.differs)
    return result
