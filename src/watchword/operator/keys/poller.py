# SPDX-License-Identifier: Apache-2.0
"""Polls one issuer for its keys: at its interval, sooner after a failure, never in step with other issuers.

A turn never raises for what a source does, and an answer counts only for the source that it was asked of: the
object may have been edited meanwhile. A thousand issuers that all come back on the minute are a thousand
fetches in one second; the random numbers spread load, and nothing secret is in them.
"""

import asyncio
import random
from typing import Final

from watchword.operator.keys.errors import FetchError
from watchword.operator.keys.fetch import KeyFetcher
from watchword.operator.keys.fetch_lanes import FetchLanes
from watchword.operator.keys.held_issuer import HeldIssuer
from watchword.trust.api.v1alpha1 import ClusterTrustedIssuer
from watchword.trust.api.v1alpha1.issuer import ClusterKeys, ConfigMapKeys, DiscoveryKeys
from watchword.trust.conditions import Verdict

# The own API server says for how long its answer is good: an hour. A key signs no sooner after it was shown.
OWN_CLUSTER_INTERVAL_SECONDS: Final = 60.0
# One lost packet is no news; a condition that flickers is a write for each flicker.
FAILURES_UNTIL_SAID: Final = 3
FIRST_RETRY_SECONDS: Final = 2.0
# However long a server asks us to wait: a header must not end the polling.
MAX_WAIT_SECONDS: Final = 3600.0
# After a restart the keys of the status stand, so nothing is urgent: the fetches of all issuers are spread.
SPREAD_SECONDS: Final = 10.0


class PolledIssuer:
    """One issuer whose keys are kept.

    Attributes:
        held: its keys.
        wake: set when there may be something to do before the time.
        due: when it is asked next, by the loop's clock, in seconds.
        failures: how often in a row there was no good answer.
    """

    def __init__(self, held: HeldIssuer) -> None:
        self.held = held
        self.wake = asyncio.Event()
        self.due = 0.0
        self.failures = 0
        self._held_off_until = 0.0
        self._fetcher: KeyFetcher | None = None

    @property
    def uid(self) -> str:
        """Of the object: another one under its name is another issuer."""
        return self.held.issuer.metadata.uid

    @property
    def source(self) -> ConfigMapKeys | DiscoveryKeys | ClusterKeys | None:
        """Where its keys are; None: in the object itself."""
        keys = self.held.issuer.spec.keys
        return next(
            (each for each in (keys.config_map, keys.discovery, keys.cluster) if each is not None), None
        )

    @property
    def is_polled(self) -> bool:
        """Whether it is asked, again and again."""
        return isinstance(self.source, DiscoveryKeys | ClusterKeys)

    @property
    def interval_seconds(self) -> float:
        """Between two good answers."""
        source = self.source
        return (
            float(source.interval_seconds)
            if isinstance(source, DiscoveryKeys)
            else OWN_CLUSTER_INTERVAL_SECONDS
        )

    def edit(self, issuer: ClusterTrustedIssuer, now: float) -> bool:
        """Take another version of the object; whether anything published has changed."""
        place_was, approved_was = self._place(), self.held.issuer.spec.rotation.approved
        changed = self.held.edit(issuer, now)
        approved = set(issuer.spec.rotation.approved).difference(approved_was)
        if self._place() != place_was:
            # Begin again with another source; the keys stay.
            self._fetcher, self.failures, self.due, self._held_off_until = None, 0, 0.0, 0.0
        elif approved.difference(key.thumbprint for key in self.held.keys.held):
            # A person approved a key before it was seen, and waits: look now, unless asked to wait.
            self.due = self._held_off_until
        self.wake.set()
        return changed

    async def ask(self, lanes: FetchLanes, now: float) -> bool:
        """Ask its source once, and say when the next time is; whether anything published has changed.

        Args:
            lanes: where keys are asked for.
            now: unix seconds.
        """
        source, place = self.source, self._place()
        if not isinstance(source, DiscoveryKeys | ClusterKeys):
            return False
        if self._fetcher is None and isinstance(source, DiscoveryKeys):
            self._fetcher = lanes.fetcher(self.held.issuer.spec.issuer, source)
        try:
            data = await lanes.ask(self.held.issuer, source, self._fetcher, has_failed=self.failures > 0)
        except FetchError as failed:
            return self._fail(failed, now) if self._place() == place else False
        if self._place() != place:
            return False
        changed = self.held.answer(data, now)
        if self.held.keys.fresh.verdict is Verdict.FETCHED:
            self.failures, self._held_off_until = 0, 0.0
            self.due = _loop_time() + next_poll(self.interval_seconds)
        else:
            self.failures += 1
            self.due = _loop_time() + next_try(self.failures, self.interval_seconds)
        return changed

    def _fail(self, failed: FetchError, now: float) -> bool:
        self.failures += 1
        self.due = _loop_time() + next_try(self.failures, self.interval_seconds, failed.retry_after)
        self._held_off_until = self.due if failed.retry_after is not None else 0.0
        is_news = failed.is_answer or self.failures >= FAILURES_UNTIL_SAID
        if not is_news and self.held.keys.fresh.verdict is not Verdict.NEVER_FETCHED:
            return False
        verdict = Verdict.ANSWER_REFUSED if failed.is_answer else Verdict.UNREACHABLE
        return self.held.trouble(verdict.with_message(failed.detail, failed.remedy), now)

    def _place(self) -> object:
        """What decides where is asked and what counts as an answer: another place is another source."""
        spec = self.held.issuer.spec
        return self.source, spec.issuer, spec.algorithms


def _loop_time() -> float:
    return asyncio.get_running_loop().time()


def next_poll(interval_seconds: float) -> float:
    """Seconds until the next fetch after a good answer: never sooner than the interval."""
    return interval_seconds * random.uniform(1.0, 1.1)  # noqa: S311 - spreads load


def next_try(failures: int, interval_seconds: float, asked_to_wait: float | None = None) -> float:
    """Seconds until the next fetch after a failure.

    Args:
        failures: how many there were in a row, from 1.
        interval_seconds: the issuer's interval; a retry is never later than that, unless the server asks.
        asked_to_wait: what Retry-After says, in seconds (RFC 9110, section 10.2.3), or None.
    """
    grown = min(FIRST_RETRY_SECONDS * 2.0 ** min(failures - 1, 20), interval_seconds)
    wait = grown * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load
    if asked_to_wait is not None:
        spread = random.uniform(1.0, 1.1)  # noqa: S311 - spreads load
        wait = max(wait, min(asked_to_wait, MAX_WAIT_SECONDS) * spread)
    return wait


def first_fetch(is_urgent: bool) -> float:
    """Seconds until an issuer's first fetch: at once where no key of it is known."""
    return 0.0 if is_urgent else random.uniform(0.0, SPREAD_SECONDS)  # noqa: S311 - spreads load
