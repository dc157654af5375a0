# SPDX-License-Identifier: Apache-2.0
"""One issuer that is followed: its keys, and when it is asked next.

A turn never raises for what a source does, and an answer counts only for the source that it was asked of: the
object may have been edited meanwhile.
"""

import asyncio
from typing import Final

from watchword.operator.keys.asking import Asking
from watchword.operator.keys.failures import FetchFailed
from watchword.operator.keys.fetch import KeyFetcher
from watchword.operator.keys.follower import Follower
from watchword.operator.keys.pace import next_poll, next_try
from watchword.trust.conditions import Verdict
from watchword.trust.specs import ClusterTrustedIssuer
from watchword.trust.specs.issuer import ClusterKeys, ConfigMapKeys, DiscoveryKeys

# The own API server says for how long its answer is good: an hour. A key signs no sooner after it was shown.
OWN_CLUSTER_INTERVAL_SECONDS: Final = 60.0
# One lost packet is no news; a condition that flickers is a write for each flicker.
_FAILURES_UNTIL_SAID: Final = 3


class Followed:
    """How the following of one issuer stands.

    Attributes:
        follower: its keys.
        wake: set when there may be something to do before the time.
        due: when it is asked next, by the loop's clock, in seconds.
        failures: how often in a row there was no good answer.
    """

    def __init__(self, follower: Follower) -> None:
        self.follower = follower
        self.wake = asyncio.Event()
        self.due = 0.0
        self.failures = 0
        self._held_off_until = 0.0
        self._fetcher: KeyFetcher | None = None

    @property
    def uid(self) -> str:
        """Of the object: another one under its name is another issuer."""
        return self.follower.issuer.metadata.uid

    @property
    def source(self) -> ConfigMapKeys | DiscoveryKeys | ClusterKeys | None:
        """Where its keys are; None: in the object itself."""
        keys = self.follower.issuer.spec.keys
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
        place_was, approved_was = self._place(), self.follower.issuer.spec.rotation.approved
        changed = self.follower.edit(issuer, now)
        approved = set(issuer.spec.rotation.approved).difference(approved_was)
        if self._place() != place_was:
            # Begin anew with another source; the keys stay.
            self._fetcher, self.failures, self.due, self._held_off_until = None, 0, 0.0, 0.0
        elif approved.difference(key.thumbprint for key in self.follower.keys.held):
            # Somebody approved a key before it was seen, and waits: look now, unless asked to wait.
            self.due = self._held_off_until
        self.wake.set()
        return changed

    async def ask(self, asking: Asking, now: float) -> bool:
        """Ask its source once, and say when the next time is; whether anything published has changed.

        Args:
            asking: where keys are asked for.
            now: unix seconds.
        """
        source, place = self.source, self._place()
        if not isinstance(source, DiscoveryKeys | ClusterKeys):
            return False
        if self._fetcher is None and isinstance(source, DiscoveryKeys):
            self._fetcher = asking.fetcher(self.follower.issuer.spec.issuer, source)
        try:
            data = await asking.ask(source, self._fetcher, has_failed=self.failures > 0)
        except FetchFailed as failed:
            return self._fail(failed, now) if self._place() == place else False
        if self._place() != place:
            return False
        changed = self.follower.answer(data, now)
        if self.follower.keys.fresh.verdict is Verdict.FETCHED:
            self.failures, self._held_off_until = 0, 0.0
            self.due = _loop_time() + next_poll(self.interval_seconds)
        else:
            self.failures += 1
            self.due = _loop_time() + next_try(self.failures, self.interval_seconds)
        return changed

    def _fail(self, failed: FetchFailed, now: float) -> bool:
        self.failures += 1
        self.due = _loop_time() + next_try(self.failures, self.interval_seconds, failed.retry_after)
        self._held_off_until = self.due if failed.retry_after is not None else 0.0
        is_news = failed.is_answer or self.failures >= _FAILURES_UNTIL_SAID
        if not is_news and self.follower.keys.fresh.verdict is not Verdict.NEVER_FETCHED:
            return False
        verdict = Verdict.ANSWER_REFUSED if failed.is_answer else Verdict.UNREACHABLE
        return self.follower.trouble(verdict.with_message(failed.detail, failed.remedy), now)

    def _place(self) -> object:
        """What decides where is asked and what counts as an answer: another place is another source."""
        spec = self.follower.issuer.spec
        return self.source, spec.issuer, spec.algorithms


def _loop_time() -> float:
    return asyncio.get_running_loop().time()
