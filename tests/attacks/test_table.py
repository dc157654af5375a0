# SPDX-License-Identifier: Apache-2.0
"""The published table says what is tried, no more and no less."""

from tests.attacks import test_gate
from tests.attacks.table import ATTACKS, LATER, PAGE, SCENARIOS, counts, page
from tests.cluster.keys import test_conditions
from tests.operator.keys import test_fetch


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
    tests = {**vars(test_gate), **vars(test_fetch), **vars(test_conditions)}
    for attack, name in SCENARIOS.items():
        assert attack == "H10" or callable(tests.get(name)), name
