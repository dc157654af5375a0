# SPDX-License-Identifier: Apache-2.0
"""Hostile usage: no text of an event or a meter ever becomes part of a query, and none is counted wrongly."""

from typing import Any

import pytest

from tests.attacks.case import Case, ids
from tests.attacks.events import EVENTS, POINTERS
from tests.usage.samples import batched, envelope
from watchword.usage import Event, EventProblem, Meter


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
