# SPDX-License-Identifier: Apache-2.0
"""One text for one value: the two decoders against definitions that are too slow to ship."""

import base64
import binascii
import json
import math
import string

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from watchword.identity.encoding import (
    EncodingError,
    _parse_strictly,  # the private long way is what the short one must agree with
    decode_base64url,
    encode_base64url,
    parse_json_object,
)

unhurried = settings(deadline=None, max_examples=500)
ALPHABET = (string.ascii_letters + string.digits + "-_").encode()
NEAR_BASE64URL = st.lists(st.sampled_from(ALPHABET + b"+/= \n\0%."), max_size=12).map(bytes)


def base64url_by_definition(text: bytes) -> bytes | None:
    """RFC 4648, section 5, word for word: what decodes, and encodes to the same text again."""
    if not text or set(text) - set(ALPHABET):
        return None
    try:
        data = base64.urlsafe_b64decode(text + b"=" * (-len(text) % 4))
    except binascii.Error:
        return None
    return data if base64.urlsafe_b64encode(data).rstrip(b"=") == text else None


def decoded(text: bytes) -> bytes | None:
    try:
        return decode_base64url(text)
    except EncodingError:
        return None


@unhurried
@given(st.one_of(st.binary(max_size=40), NEAR_BASE64URL))
@example(b"AA+A")
@example(b"+AAA")
@example(b"A=AA")
@example(b"++AA")
@example(b"AAA\0")
def test_base64url_is_what_its_definition_says(text: bytes) -> None:
    assert decoded(text) == base64url_by_definition(text)


@unhurried
@given(st.binary(min_size=1, max_size=200))
def test_what_was_encoded_decodes_to_itself(data: bytes) -> None:
    assert decode_base64url(encode_base64url(data).encode()) == data


@pytest.mark.parametrize(
    "text",
    [b"", b"A", b"AAAAA", b"AA==", b"AAA=", b"AB", b"AAB", b" AAA", b"AAA\n", b"AA A", b"AA%3D"]
    + [bytes([65, 65, 65, byte]) for byte in range(256) if byte not in ALPHABET],
)
def test_another_form_of_base64_is_refused(text: bytes) -> None:
    with pytest.raises(EncodingError):
        decode_base64url(text)


def test_the_problem_does_not_quote_what_it_refuses() -> None:
    with pytest.raises(EncodingError) as caught:
        decode_base64url(b"secret+part")
    assert "secret" not in str(caught.value)


SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text()
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
    ),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.sampled_from(["a", "b", "aud", "é", ""]), VALUES, max_size=4)
SPACED = st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", "\t:")])


def object_by_definition(data: bytes) -> dict[str, object] | None:
    """RFC 8259 with the interoperable choices of its sections 4, 6 and 8.2: what json.loads gives, unless."""
    unsound: list[str] = []

    def members(pairs: list[tuple[str, object]]) -> dict[str, object]:
        if len({name for name, _ in pairs}) != len(pairs):
            unsound.append("a repeated name")
        return dict(pairs)

    def sound(value: object) -> bool:
        match value:
            case str():
                return not any("\ud800" <= character <= "\udfff" for character in value)
            case float():
                return math.isfinite(value)
            case list():
                return all(sound(item) for item in value)
            case dict():
                return all(sound(name) and sound(item) for name, item in value.items())
        return True

    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=members)
    except ValueError:
        return None
    return value if isinstance(value, dict) and not unsound and sound(value) else None


def parsed(data: bytes) -> dict[str, object] | None:
    try:
        return parse_json_object(data)
    except EncodingError:
        return None


@unhurried
@given(OBJECTS, SPACED, st.booleans())
def test_an_object_is_what_json_says_it_is(
    value: dict[str, object], separators: tuple[str, str], escaped: bool
) -> None:
    data = json.dumps(value, separators=separators, ensure_ascii=escaped).encode("utf-8", "surrogatepass")
    # repr, since 1 and 1.0 and True are equal and yet not the same claim.
    assert repr(parsed(data)) == repr(object_by_definition(data))


FRAGMENTS = st.sampled_from(
    [
        *('"a"', '"b"', r'"\u0061"', r'"\ud800"', r'"\ud83d\ude00"', '"', "\\", "\ufeff", " ", "9" * 25),
        *(":", ":", ",", "{", "}", "[", "]", "1", "-0", "01", "0.10", "1E5", "1e400"),
        *("NaN", "Infinity", "null", "true"),
    ]
)


@unhurried
@given(st.lists(FRAGMENTS, max_size=12).map(lambda parts: "{" + "".join(parts) + "}"))
@example('{"a":1,"a":1}')
@example('{"a":1,"\\u0061":2}')
@example('{"a":{"b":1,"b":2}}')
@example('{"a":[{"b":1,"b":2}]}')
@example('{"a":"\\ud800"}')
@example('{"\\udfff":1}')
@example('{"a":1}{"a":1}')
@example("{}{}")
def test_text_that_is_nearly_json_is_taken_or_refused_as_the_definition_says(text: str) -> None:
    data = text.encode()
    assert repr(parsed(data)) == repr(object_by_definition(data))


@unhurried
@given(st.binary(max_size=30))
def test_bytes_of_any_kind_never_crash_the_parser(data: bytes) -> None:
    assert repr(parsed(data)) == repr(object_by_definition(data))


@unhurried
@given(OBJECTS)
def test_the_fast_way_and_the_long_way_agree(value: dict[str, object]) -> None:
    data = json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass")
    try:
        long_way: dict[str, object] | None = _parse_strictly(data)
    except EncodingError:
        long_way = None
    assert repr(parsed(data)) == repr(long_way)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[]",
        b'"a"',
        b"{",
        b'{"a":1,}',
        b"{'a':1}",
        b'{"a":NaN}',
        b'{"a":-Infinity}',
        b'{"a":1e400}',
        b'{"a":' + b"9" * 5000 + b"}",
        b'{"a":' * 100_000,
        b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'\xef\xbb\xbf{"a":1}',
        b'{"a":"\xff"}',
        b'{"a":"\xed\xa0\x80"}',
        '{"a":1}'.encode("utf-16"),
        b'{"a":1}\0',
        b'{"a":"\n"}',
        b'{"a":1/*c*/}',
    ],
    ids=range(20),
)
def test_what_is_no_sound_object_is_refused(data: bytes) -> None:
    with pytest.raises(EncodingError):
        parse_json_object(data)
