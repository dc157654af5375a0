# SPDX-License-Identifier: Apache-2.0
"""What an event contributes to a meter, exactly, and where a pointer leads."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testing.usage_samples import HITS, event, unhurried
from watchword.usage import EventProblem, Meter, measure, parse_pointer

# The document and pointers of RFC 6901, section 5, and the one that section 4 warns of ("~01" is not "/").
RFC_DOCUMENT = {
    "foo": ["bar", "baz"], "": 0, "a/b": 1, "c%d": 2, "e^f": 3, "g|h": 4, "i\\j": 5, 'k"l': 6, " ": 7,
    "m~n": 8, "~1": 9,
}  # fmt: skip
RFC_POINTERS = [
    ("/foo/0", '"bar"'), ("/", "0"), ("/a~1b", "1"), ("/c%d", "2"), ("/e^f", "3"), ("/g|h", "4"),
    ("/i\\j", "5"), ('/k"l', "6"), ("/ ", "7"), ("/m~0n", "8"), ("/~01", "9"),
]  # fmt: skip

NOWHERE = [
    "/foo/2",
    "/foo/-",
    "/foo/00",
    "/foo/01",
    "/foo/+1",
    "/foo/ 1",
    "/foo/1e0",
    "/foo/٠",
    "/foo/bar",
    "/foo/0/0",
]
NOWHERE += ["/a/b", "/m~01n", "/foo/" + "9" * 200, "//", "/A~1b"]

HOSTILE = [
    "/'; DROP TABLE event; --",
    '/" OR 1=1 --',
    "/$.bytes",
    "/%s",
    "/?1",
    "/bytes')) UNION SELECT 1 --",
    "/\x00",
]


@pytest.mark.parametrize(("pointer", "expected"), RFC_POINTERS)
def test_a_pointer_leads_where_rfc_6901_says(pointer: str, expected: str) -> None:
    assert measure(Meter("m", "cache.hit", "unique_count", pointer), event(data=RFC_DOCUMENT)) == expected


@pytest.mark.parametrize("pointer", [*NOWHERE, *HOSTILE])
def test_a_pointer_to_nothing_is_a_missing_value(pointer: str) -> None:
    found = measure(Meter("m", "cache.hit", "unique_count", pointer), event(data=RFC_DOCUMENT))
    assert isinstance(found, EventProblem)
    assert (found.code, found.field) == ("value_missing", f"data{pointer}")


@pytest.mark.parametrize("pointer", HOSTILE)
def test_a_hostile_pointer_is_only_a_name(pointer: str) -> None:
    assert measure(Meter("m", "cache.hit", "sum", pointer), event(data={pointer[1:]: 5})) == Decimal(5)


@pytest.mark.parametrize("pointer", ["bytes", "/~", "/a~2", "/~~1", "#/bytes", "/" + "a" * 256])
def test_what_is_not_a_pointer_makes_no_meter(pointer: str) -> None:
    with pytest.raises(ValueError, match=r"^value must"):
        Meter("m", "cache.hit", "sum", pointer)
    with pytest.raises(ValueError, match=r"^value must"):
        parse_pointer(pointer)


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (("", "t", "count"), "name"),
        (("n" * 254, "t", "count"), "name"),
        (("a\nb", "t", "count"), "name"),
        (("m", "", "count"), "event_type"),
        (("m", "t", "average"), "aggregation"),
        (("m", "t", "count", "/a"), "value"),
        (("m", "t", "sum"), "value"),
        (("m", "t", "max"), "value"),
        (("m", "t", "unique_count"), "value"),
    ],
)
def test_an_impossible_meter_is_refused_by_field(arguments: tuple[str, ...], field: str) -> None:
    with pytest.raises(ValueError, match=f"^{field} must"):
        Meter(*arguments)  # type: ignore[arg-type]  # wrong on purpose


def test_an_event_of_another_type_is_nothing_to_a_meter() -> None:
    assert measure(HITS, event(type="cache.miss")) is None


def test_the_empty_pointer_is_the_whole_data() -> None:
    assert measure(Meter("m", "cache.hit", "sum", ""), event(data=1.5)) == Decimal("1.5")


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (None, "value_missing"),
        ("12", "value_not_a_number"),
        (True, "value_not_a_number"),
        ([1], "value_not_a_number"),
        ({}, "value_not_a_number"),
        (10**18, "value_out_of_range"),
        (1e300, "value_out_of_range"),
        (1e-31, "value_out_of_range"),
    ],
)
@pytest.mark.parametrize("aggregation", ["sum", "max"])
def test_what_cannot_be_added_up_is_refused(aggregation: str, value: object, code: str) -> None:
    meter = Meter("m", "cache.hit", aggregation, "/v")  # type: ignore[arg-type]  # of the two above
    found = measure(meter, event(data={"v": value}))
    assert isinstance(found, EventProblem)
    assert found.code == code


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ([], "value_not_distinct"),
        ({}, "value_not_distinct"),
        (None, "value_missing"),
        ("x" * 1025, "value_too_long"),
    ],
)
def test_what_cannot_be_told_apart_is_refused(value: object, code: str) -> None:
    found = measure(Meter("m", "cache.hit", "unique_count", "/v"), event(data={"v": value}))
    assert isinstance(found, EventProblem)
    assert found.code == code


@pytest.mark.parametrize("changes", [{"data": ...}, {"data": None}, {"data": "text"}])
def test_data_without_the_value_is_refused(changes: dict[str, object]) -> None:
    found = measure(Meter("m", "cache.hit", "sum", "/v"), event(**changes))
    assert isinstance(found, EventProblem)
    assert found.code == "value_missing"


def test_binary_data_counts_but_has_no_values() -> None:
    binary = event(data=..., data_base64="AAAA")
    found = measure(Meter("m", "cache.hit", "sum", "/v"), binary)
    assert measure(HITS, binary) == Decimal(1)
    assert isinstance(found, EventProblem)
    assert found.code == "data_is_binary"


def test_equal_values_are_one_and_values_of_two_kinds_are_two() -> None:
    meter = Meter("m", "cache.hit", "unique_count", "/v")
    found = [measure(meter, event(data={"v": value})) for value in (1, 1.0, "1", True, "true", -0.0, 0)]
    assert found == ["1", "1", '"1"', "true", '"true"', "0", "0"]


@unhurried
@given(st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=20), st.integers(-9, 9), max_size=5))
def test_any_member_is_found_by_its_escaped_name(data: dict[str, int]) -> None:
    for name, number in data.items():
        pointer = "/" + name.replace("~", "~0").replace("/", "~1")
        assert measure(Meter("m", "cache.hit", "sum", pointer), event(data=data)) == Decimal(number)


@unhurried
@given(st.text(max_size=50))
def test_arbitrary_pointers_are_read_or_refused(pointer: str) -> None:
    try:
        meter = Meter("m", "cache.hit", "sum", pointer)
    except ValueError:
        return
    assert isinstance(measure(meter, event(data=[])), EventProblem)
