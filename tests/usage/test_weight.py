# SPDX-License-Identifier: Apache-2.0
"""What a body would come to is known before anything is made of it, and never said to be less than it is."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testing.usage_samples import NOW, batched, envelope, structured, unhurried
from watchword.usage import (
    BATCHED,
    MAX_BATCH_EVENTS,
    MAX_BODY_BYTES,
    MAX_VALUES,
    STRUCTURED,
    BodyProblem,
    Event,
    parse_events,
    weigh,
)

# What a parse may take besides: the interpreter's own, the first time that it does something.
SLACK_BYTES = 256 * 1024


def filled(start: str, repeated: str, end: str, size: int = MAX_BODY_BYTES) -> bytes:
    """As many repetitions as fit into a body of this size."""
    count = (size - len((start + end).encode())) // len(repeated.encode())
    return (start + repeated * count + end).encode()


def within(start: str, repeated: str, end: str, values_each: int) -> bytes:
    """As many repetitions as there may be values, and bytes."""
    count = min((MAX_VALUES - 64) // values_each, (MAX_BODY_BYTES - 1024) // len(repeated.encode()))
    return (start + repeated * count + end).encode()


HEAD = json.dumps(envelope(data=...))[:-1] + ', "data": '
TOO_MANY: dict[str, bytes] = {
    "numbers in a batch": filled("[", "1,", "1]"),
    "numbers in an event": filled(HEAD + "[", "1,", "1]}"),
    "numbers in an array of a batch": filled("[[", "1,", "1]]"),
    "empty objects": filled("[[", "{},", "1]]"),
    "empty arrays": filled("[[", "[],", "1]]"),
    "objects of one member": filled("[[", '{"a":1},', "1]]"),
    "members": filled("[{", '"a":1,', '"a":1}]'),
    "texts": filled("[[", '"",', "1]]"),
    "texts with escapes": filled("[[", '"\\"",', "1]]"),
    "literals": filled("[[", "null,", "1]]", 700_000),
    "numbers that never end": filled("[[", "1,", ""),
    "numbers and a text that never ends": filled("[[", "1,", '"x'),
    "numbers behind texts of structure": filled('[["[[[[,,,,", ', "1,", "1]]"),
    "nested arrays": filled("", "[", "", 200_000),
    "members of nested objects": filled("", '{"a":', "", 600_000),
}
HEAVY: dict[str, bytes] = {
    "numbers": within("[[", "1,", "1]]", 1),
    "long numbers": within("[[", "1234567890.12345678901234567890,", "1]]", 1),
    "empty arrays": within("[[", "[],", "1]]", 2),
    "empty objects": within("[[", "{},", "1]]", 2),
    "objects of one member": within("[[", '{"a":1},', "1]]", 3),
    "members": ("[{" + ",".join(f'"k{number}":1' for number in range(MAX_VALUES // 2 - 64)) + "}]").encode(),
    "short texts": within("[[", '"é😀",', "1]]", 1),
    "one long text": b'[["' + b"x" * (MAX_BODY_BYTES - 64) + b'"]]',
    "one long text with a character of four bytes": ('[["😀' + "x" * 1_000_000 + '"]]').encode(),
    "one long text with escapes": ('[["' + "\\ud83d\\ude00" * 80_000 + '"]]').encode(),
    "events of 64 KiB of numbers": (
        "[" + ",".join(json.dumps(envelope(id=str(n), data=[1] * 4000)) for n in range(15)) + "]"
    ).encode(),
    "events with a long text": json.dumps(
        [envelope(id=str(n), data={"pad": "😀" + "x" * 60_000}) for n in range(15)], ensure_ascii=False
    ).encode(),
    "a thousand events": json.dumps(
        [envelope(id=str(n), data={"bytes": n, "user": f"u{n}"}) for n in range(1000)]
    ).encode(),
}


def taken(body: bytes, kind: str) -> tuple[int, object]:
    """How many bytes reading a body takes at its peak, and what comes of it."""
    headers = [(b"content-type", kind.encode())]
    weight = weigh(body)
    tracemalloc.start()
    try:
        parsed = parse_events(body, headers, NOW, weight=weight)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return peak, parsed


@pytest.mark.parametrize("kind", [BATCHED, STRUCTURED])
@pytest.mark.parametrize("name", TOO_MANY)
def test_nothing_is_made_of_a_body_with_too_many_values(name: str, kind: str) -> None:
    peak, parsed = taken(TOO_MANY[name], kind)
    assert isinstance(parsed, BodyProblem)
    assert (parsed.status, parsed.code) == (413, "too_many_values")
    assert peak < 64 * 1024


def test_binary_mode_is_bounded_alike() -> None:
    body = filled("[", "1,", "1]")
    headers = [(b"content-type", b"application/json"), (b"ce-specversion", b"1.0")]
    parsed = parse_events(body, headers, NOW)
    assert isinstance(parsed, BodyProblem)
    assert parsed.code == "too_many_values"


@pytest.mark.parametrize("name", HEAVY)
def test_reading_takes_no_more_than_what_was_said_beforehand(name: str) -> None:
    body = HEAVY[name]
    assert len(body) <= MAX_BODY_BYTES
    weight = weigh(body)
    assert weight.values <= MAX_VALUES
    peak, parsed = taken(body, BATCHED)
    assert isinstance(parsed, list)
    assert peak <= weight.bytes + SLACK_BYTES


def test_too_many_events_are_refused_before_the_first_is_made() -> None:
    one = json.dumps(envelope(data=...))
    assert len(batched(f"[{','.join([one] * MAX_BATCH_EVENTS)}]".encode())) == MAX_BATCH_EVENTS  # type: ignore[arg-type]  # a list
    peak, parsed = taken(f"[{','.join([one] * (MAX_BATCH_EVENTS + 1))}]".encode(), BATCHED)
    assert isinstance(parsed, BodyProblem)
    assert (parsed.status, parsed.code) == (413, "too_many_events")
    assert peak < 64 * 1024


def test_an_event_of_as_many_numbers_as_may_be_is_taken() -> None:
    found = structured(envelope(data=list(range(5000))))
    assert isinstance(found, Event)


documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=4), inner, max_size=6),
    max_leaves=40,
)


def count(document: Any) -> int:
    """Each value, and each name of a member."""
    if isinstance(document, dict):
        return 1 + sum(1 + count(each) for each in document.values())
    return 1 + sum(map(count, document)) if isinstance(document, list) else 1


@given(documents)
@unhurried
def test_no_document_has_more_values_than_were_counted(document: Any) -> None:
    for text in (json.dumps(document), json.dumps(document, ensure_ascii=False, indent=1)):
        body = text.encode("utf-8", "surrogatepass")
        weight = weigh(body)
        assert weight.values >= count(document)
        assert weight.values <= 2 * count(document) + 1
        if isinstance(document, list):
            assert weight.elements == len(document)


@given(st.binary(max_size=200) | st.text('[]{},:"\\ 1a', max_size=60).map(str.encode))
@unhurried
def test_any_bytes_can_be_weighed_and_read(body: bytes) -> None:
    assert weigh(body).bytes >= len(body)
    for kind in (BATCHED, STRUCTURED):
        parse_events(body, [(b"content-type", kind.encode())], NOW)
