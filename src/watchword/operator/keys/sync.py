# SPDX-License-Identifier: Apache-2.0
"""Keeps the keys of all issuers, each in a task of its own: one that hangs, lies or breaks costs no other.

Everything here runs on one event loop and is called from it. What was learned is read with `keys_of`, and
`on_change` says when that is worth while.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from watchword.kube.names import NamespacedName
from watchword.operator.keys.addresses import NOT_THIS_MACHINE, AddressRules
from watchword.operator.keys.fetch_lanes import FetchLanes, FetchOwnCluster, ReadSecret
from watchword.operator.keys.held_issuer import HeldIssuer, IssuerKeys
from watchword.operator.keys.poller import PolledIssuer, first_fetch
from watchword.operator.keys.tasks import TaskForEach
from watchword.process.logs import LOGGER
from watchword.trust.api.v1alpha1 import ClusterTrustedIssuer
from watchword.trust.api.v1alpha1.issuer import ConfigMapKeys
from watchword.trust.conditions import Verdict
from watchword.trust.key_rotation.changes import KeyChange
from watchword.trust.key_rotation.held_keys import HeldKey

# A deadline is looked at again at least so often: the wall clock may be set while a task sleeps.
_NAP_SECONDS: Final = 30.0


class Progress(NamedTuple):
    """How the keys of one issuer are kept.

    Attributes:
        keys: what is known of its keys.
        has_source: whether they come from elsewhere than the object itself.
        is_watched: whether that is a ConfigMap, whose changes are told.
        begun_at: since when they are kept, in unix seconds.
        now: unix seconds when this was asked.
    """

    keys: IssuerKeys
    has_source: bool
    is_watched: bool
    begun_at: float
    now: float


class KeySync:
    """Keeps the keys of all issuers.

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
        self._lanes = FetchLanes(read_secret, fetch_own_cluster, addresses)
        self._now = now
        self._polled: dict[str, PolledIssuer] = {}
        # What a watch read since the last issuer began to name the ConfigMap; nothing that was read before.
        self._config_maps: dict[NamespacedName, Mapping[str, str | None] | None] = {}
        self._unread: set[NamespacedName] = set()
        self._tasks = TaskForEach[str](lambda name: self._keep(name, self._polled[name]))

    def set_issuer(self, issuer: ClusterTrustedIssuer, held: tuple[HeldKey, ...]) -> None:
        """Keep the keys of an issuer as its object says now; `keys_of` is right as soon as this returns.

        Args:
            issuer: the object.
            held: the keys of its status; looked at only where this object is new here.
        """
        name = issuer.metadata.name
        polled = self._polled.get(name)
        source_was = None if polled is None else polled.source
        if polled is not None and polled.uid != issuer.metadata.uid:
            # Another object under the same name: nothing is inherited.
            self.drop_issuer(name)
            polled, source_was = None, None
        if polled is None:
            polled = PolledIssuer(HeldIssuer(issuer, held, self._now()))
            self._polled[name] = polled
            self._tasks.begin(name)
            changed = True
        else:
            changed = polled.edit(issuer, self._now())
        if isinstance(polled.source, ConfigMapKeys) and polled.source != source_was:
            self._forget(polled.source)
        self._forget_unwanted()
        changed |= self._read_config_map(polled)
        if changed:
            self._say(name)

    def drop_issuer(self, name: str) -> None:
        """Keep the keys of an issuer no more."""
        self._polled.pop(name, None)
        self._forget_unwanted()
        self._tasks.end(name)

    def set_config_map(self, namespace: str, name: str, data: Mapping[str, str | None] | None) -> None:
        """Take the content of a ConfigMap, as a watch read it that began when it was first wanted, or later.

        Args:
            namespace: its namespace.
            name: its name.
            data: its entries, with None for those that are in `binaryData`; None: there is none of that name.
        """
        if NamespacedName(namespace, name) not in self.wanted_config_maps():
            return
        self._config_maps[NamespacedName(namespace, name)] = data
        for issuer, polled in list(self._polled.items()):
            source = polled.source
            if not isinstance(source, ConfigMapKeys):
                continue
            if NamespacedName(source.namespace, source.name) == (namespace, name) and self._read_config_map(
                polled
            ):
                self._say(issuer)

    def keys_of(self, name: str) -> IssuerKeys:
        """What is known of an issuer's keys.

        Raises:
            KeyError: the keys of this issuer are not kept.
        """
        return self._polled[name].held.keys

    def progress(self) -> Mapping[str, Progress]:
        """How the keys of each issuer are kept; from any thread."""
        now = self._now()
        # A copy in one step: the loop goes on meanwhile.
        return {
            name: Progress(
                each.held.keys,
                each.source is not None,
                isinstance(each.source, ConfigMapKeys),
                each.held.begun_at,
                now,
            )
            for name, each in list(self._polled.items())
        }

    def take_changes(self, name: str) -> tuple[KeyChange, ...]:
        """What happened to an issuer's keys since this was last asked; each is given once."""
        polled = self._polled.get(name)
        return () if polled is None else polled.held.take_changes()

    def wanted_config_maps(self) -> frozenset[NamespacedName]:
        """Namespaces and names of the ConfigMaps that hold keys."""
        sources = (polled.source for polled in self._polled.values())
        return frozenset(
            NamespacedName(each.namespace, each.name) for each in sources if isinstance(each, ConfigMapKeys)
        )

    def take_unread_config_maps(self) -> frozenset[NamespacedName]:
        """Those that an issuer began to name since this was last asked: their watches have to begin again."""
        unread, self._unread = frozenset(self._unread), set()
        return unread

    async def run(self) -> None:
        """Keep keys until cancelled."""
        await self._tasks.run(self._polled)

    def _say(self, name: str) -> None:
        try:
            self._on_change(name)
        except Exception:  # noqa: BLE001 - what is told must not end the task
            LOGGER.exception("a change of keys could not be passed on", extra={"issuer": name})

    async def _keep(self, name: str, polled: PolledIssuer) -> None:
        loop = asyncio.get_running_loop()
        polled.due = loop.time() + first_fetch(is_urgent=not polled.held.keys.held)
        while True:
            polled.wake.clear()
            try:
                if polled.held.pass_time(self._now()):
                    self._say(name)
                is_due = polled.is_polled and loop.time() >= polled.due
                if is_due and await polled.ask(self._lanes, self._now()):
                    self._say(name)
            except Exception:  # noqa: BLE001 - a defect in one turn must neither end the task nor spin
                LOGGER.exception("an issuer's keys could not be kept, trying again", extra={"issuer": name})
                polled.due = loop.time() + _NAP_SECONDS
            try:
                async with asyncio.timeout(self._until_next(polled, loop.time())):
                    await polled.wake.wait()
            except TimeoutError:
                pass

    def _until_next(self, polled: PolledIssuer, loop_now: float) -> float:
        waits = [_NAP_SECONDS]
        if polled.is_polled:
            waits.append(polled.due - loop_now)
        if polled.held.next_at is not None:
            waits.append(polled.held.next_at - self._now())
        return max(min(waits), 0.05)

    def _forget(self, source: ConfigMapKeys) -> None:
        """What is known of a ConfigMap was read for another issuer, or before: it may have changed since."""
        self._config_maps.pop(NamespacedName(source.namespace, source.name), None)
        self._unread.add(NamespacedName(source.namespace, source.name))

    def _forget_unwanted(self) -> None:
        for place in self._config_maps.keys() - self.wanted_config_maps():
            del self._config_maps[place]

    def _read_config_map(self, polled: PolledIssuer) -> bool:
        source = polled.source
        if (
            not isinstance(source, ConfigMapKeys)
            or NamespacedName(source.namespace, source.name) not in self._config_maps
        ):
            return False
        data = self._config_maps[NamespacedName(source.namespace, source.name)]
        place = f"ConfigMap {source.namespace}/{source.name}"
        text = None if data is None else data.get(source.key)
        if text is not None:
            return polled.held.answer(text.encode(), self._now())
        remedy = "create it with the issuer's JWKS"
        if data is None:
            what = f"{place} is missing"
        elif source.key in data:
            what = f"the entry {source.key} of {place} is in binaryData, and is read from data"
            remedy = "write the JWKS as text in UTF-8, so that it is an entry of data"
        else:
            what = f"{place} has no entry {source.key}"
        return polled.held.trouble(Verdict.UNREACHABLE.with_message(what, remedy), self._now())
