# SPDX-License-Identifier: Apache-2.0
"""One value for each name, or a refusal: what two readers could take differently is not read at all."""

from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchword.desk.forms import MAX_FORM_BYTES, Form, parse_form
from watchword.desk.refusals import DeskRefusal

FORM = [b"application/x-www-form-urlencoded"]
_text = st.text(st.characters(exclude_categories=["C", "Z"]) | st.just(" "), min_size=1, max_size=20)


@given(st.dictionaries(_text, _text, max_size=8))
def test_what_was_encoded_is_read_back(values: dict[str, str]) -> None:
    form = parse_form(urlencode(values).encode(), FORM)

    assert isinstance(form, Form), form
    assert {name: form.one(name) for name in values} == values


@given(st.binary(max_size=200))
def test_any_bytes_are_a_form_or_a_refusal(body: bytes) -> None:
    form = parse_form(body, FORM)

    if isinstance(form, Form):
        assert all(value for each in form.values.values() for value in each)
    else:
        assert form.error == "invalid_request"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"a=1&a=2", "repeated_parameter"),
        (b"a=&a=2", "repeated_parameter"),
        (b"a=1&%61=2", "repeated_parameter"),
        (b"a", "malformed_form"),
        (b"a=1&&b=2", "malformed_form"),
        (b"a=1&", "malformed_form"),
        (b"=1", "malformed_form"),
        (b"a=%", "malformed_form"),
        (b"a=%2", "malformed_form"),
        (b"a=%zz", "malformed_form"),
        (b"a=%+1", "malformed_form"),
        (b"a=%00", "malformed_form"),
        (b"a=%0a", "malformed_form"),
        (b"a=\x00", "malformed_form"),
        (b"a=%ff", "malformed_form"),
        (b"a=%ed%a0%80", "malformed_form"),
        (b"a=%c0%80", "malformed_form"),
        (b"a=%e2%80%a8", "malformed_form"),
        (b"&".join(b"a%d=1" % number for number in range(33)), "malformed_form"),
        (b"a=" + b"x" * MAX_FORM_BYTES, "form_too_large"),
    ],
)
def test_what_is_no_strict_form_is_refused(body: bytes, code: str) -> None:
    refusal = parse_form(body, FORM)
    assert isinstance(refusal, DeskRefusal)
    assert refusal.code == code


@pytest.mark.parametrize(
    "content_types",
    [
        [],
        [b"application/json"],
        [b"application/x-www-form-urlencoded, application/json"],
        [b"application/x-www-form-urlencoded", b"application/x-www-form-urlencoded"],
        [b"application/x-www-form-urlencoded; charset=utf-7"],
        [b"application/x-www-form-urlencoded; charset=utf-8; charset=utf-8"],
        [b"multipart/form-data; boundary=x"],
        [b"text/application/x-www-form-urlencoded"],
    ],
)
def test_what_is_not_declared_as_a_form_is_refused(content_types: list[bytes]) -> None:
    refusal = parse_form(b"a=1", content_types)
    assert isinstance(refusal, DeskRefusal)
    assert refusal.code == "wrong_media_type"


@pytest.mark.parametrize(
    "content_type",
    [b"Application/X-WWW-Form-Urlencoded", b'application/x-www-form-urlencoded; charset="UTF-8"'],
)
def test_what_clients_send_is_a_form(content_type: bytes) -> None:
    assert isinstance(parse_form(b"a=1", [content_type]), Form)


def test_only_audience_and_resource_may_be_sent_several_times() -> None:
    form = parse_form(b"audience=a&audience=b&resource=c&resource=d", FORM)
    assert isinstance(form, Form)
    assert form.all("audience") == ("a", "b")
    assert form.all("resource") == ("c", "d")


def test_an_empty_value_counts_as_none_and_an_unknown_name_as_nothing() -> None:
    form = parse_form(b"scope=&x-y=1", FORM)
    assert isinstance(form, Form)
    assert form.one("scope") is None
    assert isinstance(form.required("scope"), DeskRefusal)


def test_no_value_is_in_the_repr() -> None:
    form = parse_form(b"subject_token=secret", FORM)
    assert "secret" not in repr(form)
