# SPDX-License-Identifier: Apache-2.0
"""Keeps the keys of agents' providers that are found by discovery, each in a task of its own.

A key that a provider serves no more counts no more from the next good answer on: unlike a cluster, whose
tokens live for hours, a provider signs each assertion as it is asked for. Where it cannot be asked, or its
answer is none, the last keys go on, for a day. They are in the object's status, which only the operator may
write: what cannot be fetched after a restart is there, and the desk reads it by the watch that it has anyway.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import msgspec

from watchword.identity import load_jwks, public_jwk
from watchword.kube.names import ObjectKey
from watchword.operator.keys.addresses import NOT_THIS_MACHINE, AddressRules
from watchword.operator.keys.errors import FetchError
from watchword.operator.keys.fetch import KeyFetcher
from watchword.operator.keys.poller import FAILURES_UNTIL_SAID, first_fetch, next_poll, next_try
from watchword.operator.keys.tasks import TaskForEach
from watchword.process.logs import LOGGER
from watchword.trust.agent_providers import keys_end_at
from watchword.trust.api.v1alpha1 import AgentProvider, DiscoveryKeys
from watchword.trust.api.v1alpha1.status import ProviderKeysStatus
from watchword.trust.conditions import ConditionValue, Verdict
from watchword.trust.timestamps import rfc3339

INTERVAL_SECONDS: Final = 300.0
# The time of the last good answer is written so often, where nothing else has changed.
WRITE_SECONDS: Final = 3600.0
# At a time; one costs a connection and about 100 KiB.
_AT_ONCE: Final = 16
_NAP_SECONDS: Final = 30.0
_SOURCE: Final = DiscoveryKeys()


class ProviderKeys(msgspec.Struct, frozen=True):
    """How the keys of one provider stand.

    Attributes:
        fresh: the condition KeysFresh.
        keys: those that count, as its status has them; None: none does.
    """

    fresh: ConditionValue
    keys: ProviderKeysStatus | None = None


class WantedProvider(msgspec.Struct, frozen=True):
    """A provider whose keys are to be kept.

    Attributes:
        key: which object it is.
        provider: the object.
        stored: the keys of its status; looked at only where this object is new here.
    """

    key: ObjectKey
    provider: AgentProvider
    stored: ProviderKeysStatus | None = None


class _Polled:
    """One provider that is asked again and again."""

    def __init__(self, wanted: WantedProvider, addresses: AddressRules, now: float) -> None:
        self.uid, self.issuer = wanted.provider.metadata.uid, wanted.provider.spec.issuer
        self.generation = wanted.provider.metadata.generation
        self.due, self.wake = 0.0, asyncio.Event()
        self.fetcher = KeyFetcher(issuer=self.issuer, source=_SOURCE, addresses=addresses)
        stored = wanted.stored
        is_good = stored is not None and now < keys_end_at(stored, self.issuer, now)
        self.keys = stored if is_good else None
        self.fetched_at = 0.0
        self.fresh: ConditionValue | None = None
        self.failures = 0

    def answered(self, data: bytes, now: float) -> None:
        """Take a JWKS as it came. Raises FetchError: it is none."""
        served = load_jwks(data)
        broken = next((each for each in served.problems if each.index < 0), None)
        if broken is not None:
            raise FetchError(broken.detail, broken.remedy, is_answer=True)
        jwks = tuple(public_jwk(key) for key in served.keys)
        self.failures, self.fresh = 0, Verdict.FETCHED.with_message()
        is_written = self.keys is not None and self.keys.jwks == jwks
        if not is_written or now - self.fetched_at >= WRITE_SECONDS:
            self.keys = ProviderKeysStatus(issuer=self.issuer, fetched_at=rfc3339(now), jwks=jwks)
            self.fetched_at = now

    def failed(self, error: FetchError, now: float) -> None:
        """Take that there was no good answer: what there is goes on, until its day is over."""
        self.failures += 1
        if not error.is_answer and self.failures < FAILURES_UNTIL_SAID and self.fresh is not None:
            return
        verdict = Verdict.PROVIDER_ANSWER_REFUSED if error.is_answer else Verdict.PROVIDER_UNREACHABLE
        self.end_if_due(now)
        since = "no keys count" if self.keys is None else f"the keys of {self.keys.fetched_at} still count"
        self.fresh = verdict.with_message(f"{error.detail}; {since}", error.remedy)

    def end_if_due(self, now: float) -> None:
        """Drop keys whose day is over."""
        if self.keys is not None and now >= keys_end_at(self.keys, self.issuer, now):
            self.keys = None

    @property
    def found(self) -> ProviderKeys | None:
        """How its keys stand; None: it was not asked yet."""
        return None if self.fresh is None else ProviderKeys(self.fresh, self.keys)


class ProviderKeySync:
    """Keeps the keys of providers. Everything runs on one event loop, and is called from it."""

    def __init__(
        self,
        *,
        on_change: Callable[[], None],
        addresses: AddressRules = NOT_THIS_MACHINE,
        interval_seconds: float = INTERVAL_SECONDS,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Keep none yet.

        Args:
            on_change: called when keys or a condition have changed.
            addresses: where keys may be fetched from.
            interval_seconds: between two good answers.
            now: the wall clock, in unix seconds.
        """
        self._on_change, self._addresses = on_change, addresses
        self._interval, self._now = interval_seconds, now
        self._polled: dict[ObjectKey, _Polled] = {}
        self._tasks = TaskForEach[ObjectKey](lambda key: self._keep(self._polled[key]))
        self._free = asyncio.Semaphore(_AT_ONCE)

    def set_providers(self, wanted: Iterable[WantedProvider]) -> None:
        """Keep the keys of these providers, as their objects say now, and of no others."""
        held = {each.key: each for each in wanted}
        for key, polled in list(self._polled.items()):
            provider = held[key].provider if key in held else None
            if provider is None or (polled.uid, polled.issuer) != (
                provider.metadata.uid,
                provider.spec.issuer,
            ):
                # Another object, or another issuer: nothing is inherited.
                del self._polled[key]
                self._tasks.end(key)
        for key, each in held.items():
            known, generation = self._polled.get(key), each.provider.metadata.generation
            if known is None:
                self._polled[key] = _Polled(each, self._addresses, self._now())
                self._tasks.begin(key)
            elif known.generation != generation:
                # Someone edited it, and looks: it is asked now.
                known.generation, known.due = generation, 0.0
                known.wake.set()

    def found(self) -> Mapping[ObjectKey, ProviderKeys | None]:
        """How the keys of each provider stand; None: it was not asked yet."""
        return {key: each.found for key, each in self._polled.items()}

    async def run(self) -> None:
        """Keep keys until cancelled."""
        await self._tasks.run(self._polled)

    async def _keep(self, polled: _Polled) -> None:
        loop = asyncio.get_running_loop()
        polled.due = loop.time() + first_fetch(is_urgent=polled.keys is None)
        while True:
            try:
                async with asyncio.timeout(max(0.0, min(polled.due - loop.time(), _NAP_SECONDS))):
                    await polled.wake.wait()
            except TimeoutError:
                pass
            polled.wake.clear()
            before = polled.found
            if loop.time() < polled.due:
                polled.end_if_due(self._now())
            else:
                polled.due = loop.time() + await self._ask(polled)
            if polled.found != before:
                self._on_change()

    async def _ask(self, polled: _Polled) -> float:
        """Ask once; returns the seconds until the next time."""
        try:
            async with self._free:
                data = await polled.fetcher.fetch()
            polled.answered(data, self._now())
        except FetchError as error:
            polled.failed(error, self._now())
            return next_try(polled.failures, self._interval, error.retry_after)
        except Exception as error:  # noqa: BLE001 - a defect in one turn must neither end the task nor spin
            LOGGER.exception("a provider's keys could not be kept, trying again")
            detail = f"an unforeseen {type(error).__name__} while fetching"
            polled.failed(FetchError(detail, "this is a defect of watchword; report it"), self._now())
            return next_try(polled.failures, self._interval)
        return next_poll(self._interval)
