# SPDX-License-Identifier: Apache-2.0
"""Every condition and every Event has a test that brings it about on a real API server, by a mark.

A reason that no test ever saw is one whose message nobody has read, and whose code may not be reachable.
"""

import importlib
from collections.abc import Iterator
from pathlib import Path

from docs.generate.conditions import told_again
from watchword.trust.conditions import Verdict
from watchword.trust.event_reasons import EventReason

TESTS = Path(__file__).parents[1]
MARK = "brings_about"


def stated() -> set[str]:
    """All that the operator can say: Kind/Type/Reason of a condition, Kind/Event/Reason of an Event."""
    conditions = {f"{kind}/{each.type}/{each.reason}" for each in Verdict for kind in each.kinds}
    told = {f"{kind}/Event/{each.reason}" for each in Verdict if each.is_told for kind in each.kinds}
    again = {f"{kind}/Event/{each.reason}" for each in told_again() for kind in each.kinds}
    return conditions | told | again | {f"{each.kind}/Event/{each.reason}" for each in EventReason}


def claimed() -> Iterator[tuple[str, str]]:
    """What tests are marked to bring about, and which test."""
    for path in sorted(TESTS.rglob("test_*.py")):
        if path != Path(__file__) and MARK in path.read_text():
            name = ".".join(path.relative_to(TESTS.parent).with_suffix("").parts)
            for test in vars(importlib.import_module(name)).values():
                for mark in getattr(test, "pytestmark", ()):
                    if mark.name == MARK:
                        yield from ((each, f"{name}::{test.__name__}") for each in mark.args)


def test_every_condition_and_event_has_a_test_that_brings_it_about() -> None:
    assert sorted(stated() - {name for name, _ in claimed()}) == []


def test_no_test_claims_what_the_operator_never_says() -> None:
    assert [f"{where}: {name}" for name, where in claimed() if name not in stated()] == []
