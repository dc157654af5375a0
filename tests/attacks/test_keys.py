# SPDX-License-Identifier: Apache-2.0
"""Hostile keys: none is ever pinned, and none takes a good one with it."""

import pytest

from testing.attacks.case import Case, ids
from testing.attacks.keys import KEY_SETS, KEYS
from watchword.identity import KeyProblem, load_jwks, load_key


@pytest.mark.parametrize("case", KEYS, ids=ids(KEYS))
def test_a_hostile_key_is_left_out_and_its_member_named(case: Case[object]) -> None:
    for _ in range(2):
        problem = load_key(case.build())
        assert isinstance(problem, KeyProblem)
        assert problem.field == case.reason


@pytest.mark.parametrize("case", KEY_SETS, ids=ids(KEY_SETS))
def test_the_good_keys_of_a_set_stand(case: Case[bytes]) -> None:
    for _ in range(2):
        found = load_jwks(case.build())
        assert {key.kid for key in found.keys} == {"rsa", "es256"}
        assert {problem.field for problem in found.problems} == {case.reason}
