# SPDX-License-Identifier: Apache-2.0
"""Events in: what CloudEvents allows is read, everything else is refused with its own code."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from testing.usage_samples import NOW, TYPED, batched, envelope, event, structured, unhurried
from watchword.usage import (
    MAX_BATCH_EVENTS,
    MAX_BODY_BYTES,
    MAX_EVENT_BYTES,
    STRUCTURED,
    BodyProblem,
    Event,
    EventProblem,
    parse_events,
)

JSON_TYPE = (TYPED, b"application/json")
CE = [
    (b"ce-specversion", b"1.0"),
    (b"ce-id", b"1"),
    (b"ce-source", b"/ci"),
    (b"ce-type", b"cache.hit"),
    (b"ce-subject", b"acme"),
]

FLAWED_EVENTS = [
    # what is wrong, the event, code, field
    ("no specversion", envelope(specversion=...), "missing_attribute", "specversion"),
    ("specversion 0.3", envelope(specversion="0.3"), "unsupported_specversion", "specversion"),
    ("specversion 1.0.2", envelope(specversion="1.0.2"), "unsupported_specversion", "specversion"),
    ("specversion a number", envelope(specversion=1.0), "not_a_string", "specversion"),
    ("no id", envelope(id=...), "missing_attribute", "id"),
    ("id null", envelope(id=None), "missing_attribute", "id"),
    ("id empty", envelope(id=""), "empty_attribute", "id"),
    ("id a number", envelope(id=7), "not_a_string", "id"),
    ("id too long", envelope(id="x" * 257), "attribute_too_long", "id"),
    ("id with NUL", envelope(id="a\x00b"), "invalid_characters", "id"),
    ("id half a surrogate pair", envelope(id="\ud800"), "invalid_characters", "id"),
    ("no source", envelope(source=...), "missing_attribute", "source"),
    ("source not a URI", envelope(source="my source"), "invalid_source", "source"),
    ("source bad percent", envelope(source="/a%zz"), "invalid_source", "source"),
    ("source too long", envelope(source="/" * 1025), "attribute_too_long", "source"),
    ("no type", envelope(type=...), "missing_attribute", "type"),
    ("type too long", envelope(type="t" * 254), "attribute_too_long", "type"),
    ("no subject", envelope(subject=...), "missing_attribute", "subject"),
    ("subject a list", envelope(subject=["acme"]), "not_a_string", "subject"),
    ("subject empty", envelope(subject=""), "invalid_account", "subject"),
    ("subject too long", envelope(subject="a" * 254), "invalid_account", "subject"),
    ("subject with newline", envelope(subject="acme\n"), "invalid_account", "subject"),
    ("subject with DEL", envelope(subject="ac\x7fme"), "invalid_account", "subject"),
    ("subject with C1", envelope(subject="ac\x85me"), "invalid_account", "subject"),
    ("subject noncharacter", envelope(subject="ac\uffffme"), "invalid_account", "subject"),
    ("time without zone", envelope(time="2026-11-03T10:00:00"), "invalid_time", "time"),
    ("time only a date", envelope(time="2026-11-03"), "invalid_time", "time"),
    ("time with space", envelope(time="2026-11-03 10:00:00Z"), "invalid_time", "time"),
    ("time a number", envelope(time=1762164000), "invalid_time", "time"),
    ("time empty", envelope(time=""), "invalid_time", "time"),
    ("time 29 February", envelope(time="2026-02-29T00:00:00Z"), "invalid_time", "time"),
    ("time hour 24", envelope(time="2026-11-03T24:00:00Z"), "invalid_time", "time"),
    ("time zone +25:00", envelope(time="2026-11-03T10:00:00+25:00"), "invalid_time", "time"),
    ("time newline", envelope(time="2026-11-03T10:00:00Z\n"), "invalid_time", "time"),
    ("time other digits", envelope(time="२०२६-11-03T10:00:00Z"), "invalid_time", "time"),
    ("time far too long", envelope(time="2026-11-03T10:00:00." + "1" * 99 + "Z"), "invalid_time", "time"),
    ("time leap second", envelope(time="2016-12-31T23:59:60Z"), "leap_second", "time"),
    ("time 1969", envelope(time="1969-12-31T23:59:59Z"), "time_before_1970", "time"),
    ("time 1969 by zone", envelope(time="1970-01-01T00:00:00+00:01"), "time_before_1970", "time"),
    ("time in 301 s", envelope(time="2026-11-24T12:05:01Z"), "event_from_the_future", "time"),
    ("time in 7973 years", envelope(time="9999-12-31T23:59:59-23:59"), "event_from_the_future", "time"),
    ("attribute upper case", envelope(Subject="acme"), "invalid_attribute_name", "Subject"),
    ("attribute with dash", envelope(**{"ce-id": "1"}), "invalid_attribute_name", "ce-id"),
    ("attribute without name", envelope(**{"": "x"}), "invalid_attribute_name", ""),
    ("attribute name newline", envelope(**{"a\n": "x"}), "invalid_attribute_name", "a\\n"),
    ("attribute name too long", envelope(**{"a" * 65: "x"}), "invalid_attribute_name", "a" * 65),
    ("extension an object", envelope(trace={}), "invalid_attribute_value", "trace"),
    ("extension a fraction", envelope(trace=0.5), "invalid_attribute_value", "trace"),
    ("extension 33 bits", envelope(trace=2**31), "invalid_attribute_value", "trace"),
    ("extension with NUL", envelope(trace="\x00"), "invalid_characters", "trace"),
    ("data in XML", envelope(datacontenttype="text/xml"), "unsupported_data_type", "datacontenttype"),
    (
        "data in Latin-1",
        envelope(datacontenttype="a/json;charset=l1"),
        "unsupported_data_type",
        "datacontenttype",
    ),
    ("data twice", envelope(data_base64="AA=="), "two_data_members", "data_base64"),
    ("base64 unpadded", envelope(data=..., data_base64="AA"), "malformed_base64", "data_base64"),
    ("base64 trailing bits", envelope(data=..., data_base64="AB=="), "malformed_base64", "data_base64"),
    ("base64 not a string", envelope(data=..., data_base64=1), "malformed_base64", "data_base64"),
    ("data half a surrogate pair", envelope(data={"user": "\udfff"}), "invalid_characters", "data"),
    ("an array", [1], "not_an_object", "event"),
    ("null", None, "not_an_object", "event"),
    ("too large", envelope(data="x" * MAX_EVENT_BYTES), "event_too_large", "event"),
    ("too large in UTF-8", None, "event_too_large", "event"),
    ("65 levels", envelope(data=json.loads("[" * 65 + "]" * 65)), "nested_too_deep", "event"),
]

FLAWED_JSON = [
    (b'{"id":"1","id":"2"}', "duplicate_name"),
    (b'{"data":{"bytes":1,"bytes":9}}', "duplicate_name"),
    (b'{"data":NaN}', "not_finite"),
    (b'{"data":-Infinity}', "not_finite"),
    (b'{"data":1e400}', "number_out_of_range"),
    (b'{"data":1e-400}', "number_out_of_range"),
    (b'{"data":0e99999999999999999999}', "number_out_of_range"),
    (b'{"data":1' + b"0" * 400 + b"}", "number_out_of_range"),
    (b'{"data":' + b"9" * 20_000 + b"}", "number_out_of_range"),
]

UNREADABLE = [
    # what, body, headers, status, code
    ("no content type", b"{}", [], 415, "unsupported_content_type"),
    ("plain JSON without ce-*", b"{}", [JSON_TYPE], 415, "unsupported_content_type"),
    ("form", b"a=b", [(TYPED, b"application/x-www-form-urlencoded"), *CE], 415, "unsupported_content_type"),
    ("XML events", b"<e/>", [(TYPED, b"application/cloudevents+xml")], 415, "unsupported_content_type"),
    ("no format", b"{}", [(TYPED, b"application/cloudevents")], 415, "unsupported_content_type"),
    ("UTF-16", b"{}", [(TYPED, STRUCTURED.encode() + b"; charset=utf-16")], 415, "unsupported_content_type"),
    (
        "gzip",
        b"{}",
        [(TYPED, STRUCTURED.encode()), (b"Content-Encoding", b"gzip")],
        415,
        "unsupported_encoding",
    ),
    ("two types", b"{}", [(TYPED, STRUCTURED.encode())] * 2, 400, "repeated_content_type"),
    ("binary in XML", b"<e/>", [(TYPED, b"text/xml"), *CE], 415, "unsupported_content_type"),
]

MALFORMED = [
    b"",
    b" ",
    b"{",
    b"{}}",
    b"{} {}",
    b"\xff",
    b"\xef\xbb\xbf{}",
    b"nul",
    b"{'a':1}",
    b"[" * 50_000,
]


@pytest.mark.parametrize(
    ("raw", "code", "field"), [pytest.param(*row[1:], id=row[0]) for row in FLAWED_EVENTS]
)
def test_a_flawed_event_is_refused_with_its_code(raw: object, code: str, field: str) -> None:
    if code == "event_too_large" and raw is None:
        text = json.dumps(envelope(data="é" * (MAX_EVENT_BYTES // 2)), ensure_ascii=False)
        assert len(text) < MAX_EVENT_BYTES
        answer = structured(text.encode())
    else:
        answer = structured(raw)
    assert isinstance(answer, EventProblem), answer
    assert (answer.code, answer.field, answer.index) == (code, field, 0)
    assert answer.remedy


@pytest.mark.parametrize(("raw", "code"), FLAWED_JSON)
def test_json_that_two_parsers_may_read_differently_is_refused(raw: bytes, code: str) -> None:
    answer = structured(raw)
    assert isinstance(answer, EventProblem), answer
    assert answer.code == code


@pytest.mark.parametrize(
    ("body", "headers", "status", "code"), [pytest.param(*row[1:], id=row[0]) for row in UNREADABLE]
)
def test_a_message_of_another_format_is_refused_whole(
    body: bytes, headers: list[tuple[bytes, bytes]], status: int, code: str
) -> None:
    answer = parse_events(body, headers, NOW)
    assert isinstance(answer, BodyProblem)
    assert (answer.status, answer.code) == (status, code)


@pytest.mark.parametrize("body", MALFORMED)
@pytest.mark.parametrize("parse", [structured, batched])
def test_a_body_that_is_not_json_is_refused_whole(parse: object, body: bytes) -> None:
    assert callable(parse)
    answer = parse(body)
    assert isinstance(answer, BodyProblem)
    assert (answer.status, answer.code) == (400, "malformed_body")


@pytest.mark.parametrize("body", [b"{}", b"[,]", b"[{},]", b"[{}", b"[{}}", b"[] []", b"[1 2]"])
def test_a_batch_is_one_well_formed_array(body: bytes) -> None:
    answer = batched(body)
    assert isinstance(answer, BodyProblem)
    assert (answer.status, answer.code) == (400, "malformed_body")


def test_a_body_of_more_than_a_mebibyte_is_too_large() -> None:
    fits = structured(b" " * (MAX_BODY_BYTES - 2) + b"{}")
    answer = structured(b" " * (MAX_BODY_BYTES - 1) + b"{}")
    assert isinstance(fits, EventProblem)
    assert isinstance(answer, BodyProblem)
    assert (answer.status, answer.code) == (413, "body_too_large")


def test_a_batch_has_at_most_a_thousand_events() -> None:
    assert len(events_of(batched([1] * MAX_BATCH_EVENTS))) == MAX_BATCH_EVENTS
    answer = batched([1] * (MAX_BATCH_EVENTS + 1))
    assert isinstance(answer, BodyProblem)
    assert (answer.status, answer.code) == (413, "too_many_events")


def test_one_bad_event_leaves_the_others_of_its_batch() -> None:
    good = json.dumps(envelope()).encode()
    answer = events_of(batched(b"[" + good + b',{"a":1,"a":2},7, ' + good + b" ]"))
    assert [type(item) for item in answer] == [Event, EventProblem, EventProblem, Event]
    assert [item.index for item in answer] == [0, 1, 2, 3]


def test_an_event_of_a_batch_is_measured_in_bytes() -> None:
    text = json.dumps([envelope(data="é" * (MAX_EVENT_BYTES // 2)), envelope()], ensure_ascii=False)
    large, fits = events_of(batched(text.encode()))
    assert isinstance(large, EventProblem)
    assert large.code == "event_too_large"
    assert isinstance(fits, Event)


def test_an_empty_batch_has_no_events() -> None:
    assert batched(b" [ ] ") == []


def test_an_event_is_read_as_it_was_sent() -> None:
    sent = envelope(
        subject="acme/Émile *", time="2026-11-03T01:30:00.123456789+02:00", trace="t", level=3, ok=True
    )
    read = structured(sent)
    assert read == Event(
        index=0,
        id="1",
        source="/ci",
        type="cache.hit",
        account="acme/Émile *",
        time=int(datetime(2026, 11, 2, 23, 30, tzinfo=UTC).timestamp()) * 1_000_000 + 123_456,
        data={"bytes": Decimal(1), "user": "u1"},
        data_text='{"bytes":1,"user":"u1"}',
        extensions='{"trace":"t","level":3,"ok":true}',
    )


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T23:59:59.999999999z", 0),
        ("1970-01-02t00:00:00-00:00", 1),
        ("2024-02-29T23:59:59Z", 19782),
        ("2024-02-29T23:59:59-00:01", 19783),
        ("2026-11-24T12:05:00Z", 20781),
    ],
)
def test_an_event_counts_for_its_utc_day(text: str, day: int) -> None:
    assert event(time=text).day == day


def test_an_event_without_time_counts_when_it_was_received() -> None:
    for absent in (..., None):
        read = event(time=absent)
        assert (read.time, read.time_given) == (int(NOW) * 1_000_000, False)


def test_the_allowed_skew_is_a_parameter() -> None:
    body = json.dumps(envelope(time="2026-11-24T12:00:11Z")).encode()
    headers = [(TYPED, STRUCTURED.encode())]
    (strict,) = events_of(parse_events(body, headers, NOW, future_skew_seconds=10))
    (lenient,) = events_of(parse_events(body, headers, NOW, future_skew_seconds=11))
    assert (type(strict), type(lenient)) == (EventProblem, Event)


def test_null_attributes_are_absent_ones() -> None:
    assert event(trace=None) == event()


def test_binary_data_is_kept_as_it_came() -> None:
    sent = base64.b64encode(b"\x00\xff").decode()
    read = event(data=..., data_base64=sent)
    assert (read.data_text, read.data_base64) == (None, sent)


def test_binary_mode_takes_attributes_from_headers() -> None:
    headers = [
        *CE[:-1],
        (b"Ce-Subject", b'"ac%C3%A9\\"me"'),
        (b"ce-time", b"2026-11-03T10:00:00Z"),
        JSON_TYPE,
    ]
    (read,) = events_of(parse_events(b' {"bytes": 0.10} ', headers, NOW))
    assert isinstance(read, Event)
    assert read.account == 'acé"me'
    assert (read.data, read.data_text) == ({"bytes": Decimal("0.10")}, '{"bytes":0.10}')


def test_binary_mode_may_have_no_data() -> None:
    (read,) = events_of(parse_events(b"", CE, NOW))
    assert isinstance(read, Event)
    assert read.data_text is None


@pytest.mark.parametrize(
    ("headers", "body", "code"),
    [
        ([(b"ce-id", b"2")], b"{}", "repeated_header"),
        ([(b"CE-ID", b"2")], b"{}", "repeated_header"),
        ([(b"ce-trace", b"%zz")], b"{}", "malformed_header"),
        ([(b"ce-trace", b"%ff")], b"{}", "malformed_header"),
        ([(b"ce-trace", b"\xc3\xa9")], b"{}", "malformed_header"),
        ([(b"ce-trace", b"%0a")], b"{}", "invalid_characters"),
        ([(b"ce-datacontenttype", b"application/json")], b"{}", "unexpected_header"),
        ([(b"ce-tra_ce", b"x")], b"{}", "invalid_attribute_name"),
        ([], b"{", "malformed_data"),
        ([], b"\xff", "malformed_data"),
        ([], b"{} {}", "malformed_data"),
        ([], b'{"a":1,"a":2}', "duplicate_name"),
        ([], b'"' + b"x" * MAX_EVENT_BYTES + b'"', "event_too_large"),
    ],
)
def test_a_flawed_binary_message_is_refused(
    headers: list[tuple[bytes, bytes]], body: bytes, code: str
) -> None:
    (answer,) = events_of(parse_events(body, [*CE, *headers, JSON_TYPE], NOW))
    assert isinstance(answer, EventProblem)
    assert answer.code == code


@unhurried
@given(
    body=st.binary(max_size=300),
    kind=st.sampled_from([b"cloudevents+json", b"cloudevents-batch+json", b"json"]),
)
@example(body=b"[" * 200_000, kind=b"json")
def test_arbitrary_bytes_never_crash_the_parser(body: bytes, kind: bytes) -> None:
    answer = parse_events(body, [(TYPED, b"application/" + kind), *CE], NOW)
    assert isinstance(answer, (BodyProblem, list))


@unhurried
@given(
    headers=st.lists(
        st.tuples(st.sampled_from([TYPED, b"ce-id", b"ce-", b"content-encoding"]), st.binary(max_size=40))
    )
)
def test_arbitrary_headers_never_crash_the_parser(headers: list[tuple[bytes, bytes]]) -> None:
    assert isinstance(parse_events(b"{}", headers, NOW), (BodyProblem, list))


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@unhurried
@given(changes=st.dictionaries(st.sampled_from([*envelope(), "data_base64", "x"]), JSON_VALUES))
def test_arbitrary_members_give_an_event_or_a_problem(changes: dict[str, object]) -> None:
    (answer,) = events_of(batched(json.dumps([{**envelope(), **changes}]).encode()))
    assert isinstance(answer, (Event, EventProblem))


def events_of(answer: list[Event | EventProblem] | BodyProblem) -> list[Event | EventProblem]:
    assert isinstance(answer, list), answer
    return answer


def test_late_and_future_events_are_refused_by_name_beyond_their_window() -> None:
    def told(time: str) -> str | None:
        body = json.dumps(envelope(time=time)).encode()
        parsed = parse_events(
            body, [(b"content-type", STRUCTURED.encode())], NOW, future_skew_seconds=60, late_days=30
        )
        assert isinstance(parsed, list)
        (one,) = parsed
        return one.code if isinstance(one, EventProblem) else None

    assert told("2026-10-25T00:00:00Z") is None
    assert told("2026-10-24T23:59:59.999999Z") == "event_too_late"
    assert told("2026-11-24T12:01:00Z") is None
    assert told("2026-11-24T12:01:01Z") == "event_from_the_future"
