# SPDX-License-Identifier: Apache-2.0
"""All issuers, each followed by a task of its own: one that hangs, lies or breaks costs the others nothing.

Everything here runs on one event loop and is called from it. What was learned is read with `keys_of`, and
`on_change` says when that is worth while.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from watchword.operator.keys.addresses import NOT_THIS_MACHINE, AddressRules
from watchword.operator.keys.asking import Asking, FetchOwnCluster, ReadSecret
from watchword.operator.keys.facts import IssuerKeys
from watchword.operator.keys.followed import Followed
from watchword.operator.keys.follower import Follower
from watchword.operator.keys.pace import first_fetch
from watchword.process.logs import LOGGER
from watchword.trust.conditions import Verdict
from watchword.trust.heldkeys import HeldKey
from watchword.trust.keychanges import KeyChange
from watchword.trust.specs import ClusterTrustedIssuer
from watchword.trust.specs.issuer import ConfigMapKeys

# A deadline is looked at again at least so often: the wall clock may be set while a task sleeps.
_NAP_SECONDS: Final = 30.0


class Progress(NamedTuple):
    """How the following of one issuer stands.

    Attributes:
        keys: what is known of its keys.
        has_source: whether they come from elsewhere than the object itself.
        is_watched: whether that is a ConfigMap, whose changes are told.
        begun_at: since when it is followed, in unix seconds.
        now: unix seconds when this was asked.
    """

    keys: IssuerKeys
    has_source: bool
    is_watched: bool
    begun_at: float
    now: float


class KeySync:
    """Follows the keys of all issuers.

    Args:
        on_change: called with an issuer's name when its keys or conditions have changed.
        read_secret: reads one entry of one Secret; raises when it cannot.
        fetch_own_cluster: the JWKS of the cluster that this runs in; raises when it cannot.
        addresses: where keys may be fetched from.
        now: the wall clock, in unix seconds.
    """

    def __init__(
        self,
        *,
        on_change: Callable[[str], None],
        read_secret: ReadSecret,
        fetch_own_cluster: FetchOwnCluster,
        addresses: AddressRules = NOT_THIS_MACHINE,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._on_change = on_change
        self._asking = Asking(read_secret, fetch_own_cluster, addresses)
        self._now = now
        self._followed: dict[str, Followed] = {}
        self._config_maps: dict[tuple[str, str], Mapping[str, str] | None] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._is_running = False

    def set_issuer(self, issuer: ClusterTrustedIssuer, held: tuple[HeldKey, ...]) -> None:
        """Follow an issuer, or follow it as it was edited; `keys_of` is right as soon as this returns.

        Args:
            issuer: the object.
            held: the keys of its status; looked at only where this object was not followed yet.
        """
        name = issuer.metadata.name
        followed = self._followed.get(name)
        if followed is not None and followed.uid != issuer.metadata.uid:
            # Another object under the same name: nothing is inherited.
            self.drop_issuer(name)
            followed = None
        if followed is None:
            followed = Followed(Follower(issuer, held, self._now()))
            self._followed[name] = followed
            self._start(name)
            changed = True
        else:
            changed = followed.edit(issuer, self._now())
        changed |= self._read_config_map(followed)
        if changed:
            self._say(name)

    def drop_issuer(self, name: str) -> None:
        """Follow an issuer no more."""
        self._followed.pop(name, None)
        if (task := self._tasks.pop(name, None)) is not None:
            task.cancel()

    def set_config_map(self, namespace: str, name: str, data: Mapping[str, str] | None) -> None:
        """Take the content of a ConfigMap; None: there is none of that name."""
        self._config_maps[namespace, name] = data
        for issuer, followed in list(self._followed.items()):
            source = followed.source
            if not isinstance(source, ConfigMapKeys):
                continue
            if (source.namespace, source.name) == (namespace, name) and self._read_config_map(followed):
                self._say(issuer)

    def keys_of(self, name: str) -> IssuerKeys:
        """What is known of an issuer's keys.

        Raises:
            KeyError: the issuer is not followed.
        """
        return self._followed[name].follower.keys

    def progress(self) -> Mapping[str, Progress]:
        """How the following of each issuer stands; from any thread."""
        now = self._now()
        # A copy in one step: the loop goes on meanwhile.
        return {
            name: Progress(
                each.follower.keys,
                each.source is not None,
                isinstance(each.source, ConfigMapKeys),
                each.follower.begun_at,
                now,
            )
            for name, each in list(self._followed.items())
        }

    def take_changes(self, name: str) -> tuple[KeyChange, ...]:
        """What happened to an issuer's keys since this was last asked; each is given once."""
        followed = self._followed.get(name)
        return () if followed is None else followed.follower.take_changes()

    def wanted_config_maps(self) -> frozenset[tuple[str, str]]:
        """Namespaces and names of the ConfigMaps that hold keys."""
        sources = (followed.source for followed in self._followed.values())
        return frozenset((each.namespace, each.name) for each in sources if isinstance(each, ConfigMapKeys))

    async def run(self) -> None:
        """Follow until cancelled."""
        self._is_running = True
        try:
            for name in self._followed:
                self._start(name)
            await asyncio.Event().wait()
        finally:
            self._is_running = False
            tasks = list(self._tasks.values())
            self._tasks.clear()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _start(self, name: str) -> None:
        if self._is_running and name not in self._tasks:
            self._tasks[name] = asyncio.create_task(self._follow(name, self._followed[name]))

    def _say(self, name: str) -> None:
        try:
            self._on_change(name)
        except Exception:  # noqa: BLE001 - whoever listens must not end the following
            LOGGER.exception("a change of keys could not be passed on", extra={"issuer": name})

    async def _follow(self, name: str, followed: Followed) -> None:
        loop = asyncio.get_running_loop()
        followed.due = loop.time() + first_fetch(is_urgent=not followed.follower.keys.held)
        while True:
            followed.wake.clear()
            try:
                if followed.follower.pass_time(self._now()):
                    self._say(name)
                is_due = followed.is_polled and loop.time() >= followed.due
                if is_due and await followed.ask(self._asking, self._now()):
                    self._say(name)
            except Exception:  # noqa: BLE001 - a defect in one turn must neither end the task nor spin
                LOGGER.exception("an issuer's keys could not be followed", extra={"issuer": name})
                followed.due = loop.time() + _NAP_SECONDS
            try:
                async with asyncio.timeout(self._until_next(followed, loop.time())):
                    await followed.wake.wait()
            except TimeoutError:
                pass

    def _until_next(self, followed: Followed, loop_now: float) -> float:
        waits = [_NAP_SECONDS]
        if followed.is_polled:
            waits.append(followed.due - loop_now)
        if followed.follower.next_at is not None:
            waits.append(followed.follower.next_at - self._now())
        return max(min(waits), 0.05)

    def _read_config_map(self, followed: Followed) -> bool:
        source = followed.source
        if not isinstance(source, ConfigMapKeys) or (source.namespace, source.name) not in self._config_maps:
            return False
        data = self._config_maps[source.namespace, source.name]
        place = f"ConfigMap {source.namespace}/{source.name}"
        if data is None or source.key not in data:
            what = f"{place} is missing" if data is None else f"{place} has no entry {source.key}"
            fresh = Verdict.UNREACHABLE.with_message(what, "create it with the issuer's JWKS")
            return followed.follower.trouble(fresh, self._now())
        return followed.follower.answer(data[source.key].encode(), self._now())
