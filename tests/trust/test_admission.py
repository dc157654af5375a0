# SPDX-License-Identifier: Apache-2.0
"""The parser of manifests judges as the API server does: both are asked the same table."""

import re

import pytest

from testing.manifests import parsed
from tests.trust.admission import ACCEPTED, BOUNDED, REFUSED, Bounded, Object, Refused
from tests.trust.admission_desk import null

# Admission is stricter where it can be: a private key must not be stored, and one bad key beside good ones in
# a file is left out alone.
ONLY_AT_ADMISSION = {"KeySource.inline.keys[]"}


def is_beside(one: str, other: str) -> bool:
    """Whether one path leads to the other, whatever the place in a list."""
    short, long = sorted((re.sub(r"\[\d+\]", "", one), re.sub(r"\[\d+\]", "", other)), key=len)
    return long.startswith(short)


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: f"{case.place} {case.detail}"[:80])
def test_what_a_rule_refuses_the_parser_refuses_at_the_same_field(case: Refused) -> None:
    problems = parsed(case.object).problems
    if case.place in ONLY_AT_ADMISSION:
        assert not problems
    else:
        assert problems
        assert all(is_beside(each.field, case.field or "metadata.name") for each in problems)


@pytest.mark.parametrize("case", BOUNDED, ids=lambda case: f"{case.field} {case.words}"[:80])
def test_what_a_bound_refuses_the_parser_refuses_at_the_same_field(case: Bounded) -> None:
    problems = parsed(case.object).problems
    assert problems
    assert all(is_beside(each.field, case.field) for each in problems)


@pytest.mark.parametrize("document", ACCEPTED.values(), ids=ACCEPTED)
def test_what_admission_takes_the_parser_takes(document: Object) -> None:
    assert not parsed(document).problems


@pytest.mark.parametrize("field", ["adminServiceAccount", "grantedBy", "authentication"])
def test_a_field_with_nothing_behind_it_is_named(field: str) -> None:
    """The API server drops `grantedBy: null` where there is no flag; a file is taken at its word."""
    [problem] = parsed(null(field)).problems
    assert problem.field == f"spec.{field}"
    assert problem.remedy
