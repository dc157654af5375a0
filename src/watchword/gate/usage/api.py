# SPDX-License-Identifier: Apache-2.0
"""The usage read model over HTTP: which endpoint a path is, and the parts that answer.

Events go in by `write.py`, answers come out of `read.py`, and `store.py` has the store that both
share. Every endpoint wants a token, a scope and, where it is about an account, a grant for that account.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import lru_cache
from typing import Final, Literal, NamedTuple

from watchword.gate.audit import Teller
from watchword.gate.engine import Engine, RequestHeaders
from watchword.gate.responses import Answer
from watchword.gate.usage.read import UsageReader
from watchword.gate.usage.responses import RETRY_SECONDS, account_not_in_path
from watchword.gate.usage.store import EXPIRE_SECONDS, GateStore
from watchword.gate.usage.write import UsageWriter
from watchword.trust import AmbiguousTargetError, MeterSpec, split_target
from watchword.usage import UsageStore

METHODS: Final = {"events": "POST", "account": "GET", "accounts": "GET", "meters": "GET"}
_FIXED: Final[dict[tuple[str, ...], Literal["events", "accounts", "meters"]]] = {
    ("usage", "events"): "events",
    ("usage",): "accounts",
    ("usage", "meters"): "meters",
}


class Endpoint(NamedTuple):
    """One of the usage endpoints; `account` is empty where the path names none."""

    kind: Literal["events", "account", "accounts", "meters"]
    account: str = ""


class UsageApi:
    """The endpoints, over one store."""

    def __init__(
        self,
        engine: Engine,
        store: UsageStore,
        retry_seconds: float = RETRY_SECONDS,
        reader: UsageStore | None = None,
    ) -> None:
        """Serve a store, and read from a second one on the same data, if any; `close` closes both."""
        self._engine = engine
        self.store = GateStore(store, reader, retry_seconds, engine.metrics.usage_store_failures.inc)
        self._reader, self.writer = UsageReader(engine, self.store), UsageWriter(engine, self.store)

    async def use_meters(self, specs: Sequence[MeterSpec]) -> None:
        """Count with these meters from now on; what is stored is counted again when they changed."""
        await self.store.use_meters(specs)

    async def keep_times(self, every_seconds: float = EXPIRE_SECONDS) -> None:
        """Give up what is past its time, now and then, for ever; at first soon after the start."""
        wait = every_seconds / 60
        while True:
            await asyncio.sleep(wait)
            wait = every_seconds
            if (active := self._engine.active) is not None:
                await self.store.expire(active.ruleset, self._engine.clock())

    async def close(self) -> None:
        """Finish what was begun and close the store."""
        await self.store.close()
        self.writer.close()

    def finds(self, target: bytes) -> Endpoint | None:
        """Which endpoint a raw target is, or None."""
        active = self._engine.active
        if active is None:
            return None
        try:
            segments = split_target(target)
        except AmbiguousTargetError:
            return None
        base = _segments_of(active.ruleset.usage_base_path)
        rest = segments[len(base) :]
        if segments[: len(base)] != base:
            return None
        if rest in _FIXED:
            return Endpoint(_FIXED[rest])
        if len(rest) == 3 and rest[0] == "accounts" and rest[1] and rest[2] == "usage":
            return Endpoint("account", rest[1])
        return None

    def names_account_oddly(self, target: bytes) -> bool:
        """Whether a raw target is an account's, with a name that two parsers could read as two paths.

        Such a name can be stored, and be asked for as a parameter.
        """
        active = self._engine.active
        if active is None:
            return False
        path = target.partition(b"?")[0]
        before = active.ruleset.usage_base_path.encode() + b"/accounts/"
        name = path.removeprefix(before).removesuffix(b"/usage")
        if b"/" in name or not name or len(before) + len(name) + len(b"/usage") != len(path):
            return False
        try:
            split_target(target)
        except AmbiguousTargetError:
            return True
        return False

    def refuse_odd_account(self, headers: RequestHeaders, told: Teller | None = None) -> Answer:
        """Say to a workload that is trusted where such an account is read."""
        found = self._engine.authenticate_or_refuse(headers, told)
        if isinstance(found, Answer):
            return found
        return account_not_in_path(found[0].ruleset.usage_base_path)

    async def read(
        self, endpoint: Endpoint, headers: RequestHeaders, target: bytes, told: Teller | None = None
    ) -> Answer:
        """GET at an endpoint."""
        fields = list(headers)
        if endpoint.kind == "account":
            return await self._reader.account(fields, endpoint.account, target, told)
        if endpoint.kind == "meters":
            return await self._reader.meters(fields, told)
        return await self._reader.accounts(fields, target, told)

    async def write(
        self,
        headers: Sequence[tuple[bytes, bytes]],
        read_body: Callable[[], Awaitable[bytes]],
        told: Teller | None = None,
    ) -> Answer:
        """POST of events."""
        return await self.writer.write(headers, read_body, told)


@lru_cache(4)
def _segments_of(base_path: str) -> tuple[str, ...]:
    return split_target(base_path.encode())
