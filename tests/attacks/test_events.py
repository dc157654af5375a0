# SPDX-License-Identifier: Apache-2.0
"""Hostile usage: no text of an event or a meter ever becomes part of a query, and none is counted wrongly."""

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from testing.attacks.case import Case, ids
from testing.attacks.events import EVENTS, HARMLESS, POINTERS
from testing.usage_samples import NOW, batched, envelope, events
from watchword.usage import Event, EventProblem, Meter, SQLiteStore, UsageQuery, parse_query, render


@pytest.mark.parametrize("case", EVENTS, ids=ids(EVENTS))
def test_a_hostile_event_is_refused_and_its_neighbour_stands(case: Case[dict[str, Any]]) -> None:
    for _ in range(2):
        answer = batched([case.build(), envelope(id="good")])
        assert isinstance(answer, list)
        assert isinstance(answer[0], EventProblem)
        assert answer[0].code == case.reason
        assert isinstance(answer[1], Event)


@pytest.mark.parametrize("case", POINTERS, ids=ids(POINTERS))
def test_a_hostile_meter_is_no_meter(case: Case[dict[str, Any]]) -> None:
    for _ in range(2):
        with pytest.raises(ValueError, match="must"):
            Meter(**case.build())


@pytest.mark.parametrize("pointer", HARMLESS)
def test_hostile_text_in_every_place_is_stored_and_summed_as_text(pointer: str, tmp_path: Path) -> None:
    # U1: the pointer, the meter, the account and the id are all the same hostile text.
    text = pointer[1:]
    meter = Meter(text, "cache.hit", "sum", "/" + text.replace("~", "~0").replace("/", "~1"))
    with closing(SQLiteStore(str(tmp_path / "usage.db"))) as store:
        store.use_meters([meter])
        store.ingest(events(envelope(subject=text, id=text, data={text: 5})), [meter])
        query = parse_query(text, [], NOW)
        assert isinstance(query, UsageQuery)
        answer = store.read(query)
        assert answer is not None
        assert render(query, answer, [meter])["meters"] == {text: 5}
        other = parse_query("acme", [], NOW)
        assert isinstance(other, UsageQuery)
        assert store.read(other) is None
