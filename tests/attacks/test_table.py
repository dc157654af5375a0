# SPDX-License-Identifier: Apache-2.0
"""The published table says what is tried, no more and no less."""

from tests.attacks import test_gate
from tests.attacks.table import ATTACKS, LATER, PAGE, SCENARIOS, counts, page


def test_the_page_is_what_the_cases_say() -> None:
    assert PAGE.read_text() == page(), "run python -m tests.attacks.table"


def test_there_are_at_least_200_cases_and_none_of_an_unknown_class() -> None:
    assert counts().total() >= 200
    assert counts().keys() <= ATTACKS.keys()


def test_every_class_has_cases_or_a_scenario_or_says_why_not() -> None:
    without = {attack for attack in ATTACKS if not counts()[attack]}
    assert without <= SCENARIOS.keys() | LATER.keys()
    assert not LATER.keys() & counts().keys()


def test_every_scenario_is_a_test() -> None:
    for attack, name in SCENARIOS.items():
        assert attack == "H10" or callable(getattr(test_gate, name))
