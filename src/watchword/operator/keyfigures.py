# SPDX-License-Identifier: Apache-2.0
"""How old each issuer's keys are, and how many wait for approval: what alerts are raised by.

A new process has fetched nothing yet. If it counted from its own start, an issuer that is away for a week
would look fresh after each restart; so what the issuer's status says is counted from, where it says so.
"""

from collections.abc import Mapping

from watchword.operator.keys.sync import KeySync, Progress
from watchword.operator.store import Store
from watchword.trust.conditions import ISSUER, ConditionType, Verdict
from watchword.trust.rules import parse_time


class KeyFigures:
    """The figures of all issuers; from any thread."""

    def __init__(self, store: Store, keys: KeySync) -> None:
        """Of the issuers that are followed, with what a store holds of their statuses."""
        self._store, self._keys = store, keys

    def ages(self) -> Mapping[str, float]:
        """Seconds since each issuer's keys were read; those with keys in the object itself left out."""
        progress = self._keys.progress()
        return {name: self._age(name, each) for name, each in progress.items() if each.has_source}

    def pending(self) -> Mapping[str, float]:
        """How many keys of each issuer wait for approval."""
        return {
            name: float(sum(key.state == "Pending" for key in each.keys.held))
            for name, each in self._keys.progress().items()
        }

    def _age(self, name: str, each: Progress) -> float:
        if each.is_watched and each.keys.fresh.verdict is Verdict.FETCHED:
            # A ConfigMap that nobody changes is as good as it was.
            return 0.0
        read_at = each.keys.fetched_at
        if read_at is None:
            read_at = self._stale_since(name)
        return max(each.now - (each.begun_at if read_at is None else read_at), 0.0)

    def _stale_since(self, name: str) -> float | None:
        """Since when the issuer's status says that its keys are not fresh; None: it does not."""
        entry = self._store.entry(ISSUER, "", name)
        for condition in entry.status.conditions if entry is not None else ():
            if condition.type == ConditionType.KEYS_FRESH and condition.status != "True":
                return parse_time(condition.last_transition_time)
        return None
