# SPDX-License-Identifier: Apache-2.0
"""Random lives of issuers and the ConfigMaps that they name, with watches that lag.

What is trusted is always something that the ConfigMap held at or after the moment the issuer began to name
it. The model knows nothing of caches: only which content was there when.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from testing.keys.polling import World, issuer, jwks
from testing.tokens import Signer

PLACES = ("one", "two")
NAMES = ("production", "staging")
KEYS = [Signer(f"key-{number}", "ES256") for number in range(12)]


@dataclass
class Watch:
    """A watch that has begun, and what it has still to tell: numbers of contents, in order."""

    pending: list[int | None] = field(default_factory=list)


class ConfigMapMachine(RuleBasedStateMachine):
    """Contents are numbers of keys; time is the number of contents that there were."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.step = 0
        # The present content of each place, and until which step each content was there.
        self.content: dict[str, int | None] = dict.fromkeys(PLACES)
        self.spans: dict[str, list[tuple[int | None, int, float]]] = {place: [] for place in PLACES}
        self.watches: dict[str, Watch] = {}
        self.named: dict[str, tuple[str, int]] = {}
        self.uids = 0

    def write(self, place: str, number: int | None) -> None:
        self.step += 1
        spans = self.spans[place]
        if spans:
            content, since, _ = spans[-1]
            spans[-1] = (content, since, self.step)
        spans.append((number, self.step, float("inf")))
        self.content[place] = number
        if place in self.watches:
            self.watches[place].pending.append(number)

    def follow(self) -> None:
        """What the operator does after each change of an issuer."""
        wanted = {name for _, name in self.world.sync.wanted_config_maps()}
        unread = {name for _, name in self.world.sync.take_unread_config_maps()}
        for place in PLACES:
            if place not in wanted or place in unread:
                self.watches.pop(place, None)
            if place in wanted and place not in self.watches:
                # Its first list says what is there now; it may take a while to come.
                self.watches[place] = Watch([self.content[place]])

    def trusted(self) -> dict[str, set[str]]:
        return {name: set(self.world.trusted(name)) for name in self.named}

    def check(self, before: dict[str, set[str]]) -> None:
        for name, kids in self.trusted().items():
            place, since = self.named[name]
            there = {
                KEYS[number].kid
                for number, _, until in self.spans[place]
                if number is not None and until > since
            }
            gained = kids - before.get(name, set())
            assert gained <= there, f"{name} trusts what {place} did not hold since it names it"

    @rule(place=st.sampled_from(PLACES), number=st.integers(0, len(KEYS) - 1))
    def the_config_map_is_written(self, place: str, number: int) -> None:
        self.write(place, number)

    @rule(place=st.sampled_from(PLACES))
    def the_config_map_is_deleted(self, place: str) -> None:
        self.write(place, None)

    @rule(name=st.sampled_from(NAMES), place=st.sampled_from(PLACES), is_new=st.booleans())
    def an_issuer_is_made_or_edited(self, name: str, place: str, is_new: bool) -> None:
        if is_new:
            self.world.sync.drop_issuer(name)
            self.named.pop(name, None)
        if name not in self.named:
            self.uids += 1
        before = self.trusted()
        self.step += 1
        if name not in self.named or self.named[name][0] != place:
            self.named[name] = (place, self.step)
        source = {"configMap": {"namespace": "trust", "name": place}}
        rotation = {"policy": "Follow", "retireAfterSeconds": 0}
        uid = f"{name}-{self.uids}" if is_new or name not in before else self.uid_of(name)
        self.world.sync.set_issuer(issuer(source, name=name, uid=uid, rotation=rotation), ())
        self.check(before)
        self.follow()

    def uid_of(self, name: str) -> str:
        return self.world.sync._polled[name].uid

    @precondition(lambda self: self.named)
    @rule(data=st.data())
    def an_issuer_is_deleted(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.named)))
        self.world.sync.drop_issuer(name)
        del self.named[name]
        if data.draw(st.booleans()):
            # Else it is made again before the operator has looked.
            self.follow()

    @precondition(lambda self: any(watch.pending for watch in self.watches.values()))
    @rule(data=st.data())
    def a_watch_tells(self, data: st.DataObject) -> None:
        place = data.draw(st.sampled_from(sorted(p for p, watch in self.watches.items() if watch.pending)))
        number = self.watches[place].pending.pop(0)
        before = self.trusted()
        entries = None if number is None else {"jwks.json": jwks(KEYS[number]).decode()}
        self.world.sync.set_config_map("trust", place, entries)
        self.check(before)


TestConfigMaps = ConfigMapMachine.TestCase
TestConfigMaps.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
