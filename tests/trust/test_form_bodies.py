# SPDX-License-Identifier: Apache-2.0
"""Which bodies could be a form for some server, judged by models of servers and by the parser of Werkzeug."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from werkzeug.formparser import parse_form_data

from watchword.trust import form_flaw, form_flaw_behind_proxy
from watchword.trust.form_bodies import PLAIN_SUFFIXES, PLAIN_TYPES

BODY = b"tenant_id=evil"


def headers(*types: bytes) -> list[tuple[bytes, bytes]]:
    return [(b"accept", b"multipart/form-data"), *((b"content-type", each) for each in types)]


FORMS = [
    b"application/x-www-form-urlencoded",
    b" Application/X-WWW-Form-URLEncoded; charset=utf-8",
    b"application/x-www-urlencoded",
    b"application/x-url-encoded",
    b"multipart/form-data; boundary=a",
    b"multipart/mixed; boundary=a",
    b"multipart/related; boundary=a",
    b"multipart/",
    b"multipart",
    b"text/plain",
    b"text/plain;charset=UTF-8",
    b"text/xml",
    b"text/html",
    b"application/xml",
    b"application/soap+xml",
    b"image/svg+xml",
    b"message/rfc822",
    b"",
    b" \t",
    b"*/*",
    b"application",
    b"application/",
    b"/json",
    b"json",
    b"application/json, application/x-www-form-urlencoded",
    b"application/json,application/json",
    b"application/json application/x-www-form-urlencoded",
    b"application/json; x=application/x-www-form-urlencoded",
    b'application/json; x="multipart/form-data"',
    b"application/json; x=application/xml",
    b"application/json; charset",
    b"application/json; =x",
    b'application/json; x="a',
    b"application/json; x=a b",
    b"application/jsonp",
    b"application/json\xa0",
    b"application/x-www-form-urlencoded+json",
    b"application/vnd.x",
    b"application/json; charset=ibm037",
    b'application/json; CHARSET="UTF-16"',
    b"application/json; charset=utf-7; charset=utf-8",
    b"application/json; charset=utf-8; charset=utf-7",
    b"application/json; charset=utf-80",
    b"application/json; x=" + b"a" * 300,
    b"image/" + b"png" * 100,
]
PLAIN = [
    b"application/json",
    b"Application/JSON; Charset=utf-8",
    b'application/json ; profile="https://example.com/a;b=c"',
    b"application/json;",
    b'application/json; charset="UTF-8"; version=1',
    b"application/octet-stream; charset=us-ascii",
    b"application/vnd.api+json",
    b"application/merge-patch+json",
    b"application/octet-stream",
    b"application/x-protobuf",
    b"application/connect+proto",
    b"application/x-tar",
    b"image/png",
    b"video/mp4",
]


@pytest.mark.parametrize("value", FORMS)
def test_a_type_that_some_server_reads_as_a_form_is_one_on_every_way(value: bytes) -> None:
    assert form_flaw(headers(value), has_body=True) is not None
    assert form_flaw(headers(value), has_body=False) is None
    for method in ("GET", "POST", "DELETE"):
        assert form_flaw_behind_proxy(method, headers(value)) is not None


@pytest.mark.parametrize("value", PLAIN)
def test_the_types_of_apis_and_stores_are_none_unless_there_are_two(value: bytes) -> None:
    assert form_flaw(headers(value), has_body=True) is None
    assert form_flaw(headers(value, value), has_body=True) is not None
    for method in ("GET", "POST", "DELETE"):
        assert form_flaw_behind_proxy(method, headers(value)) is None
        assert (
            form_flaw_behind_proxy(method, headers(value, b"application/x-www-form-urlencoded")) is not None
        )


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "PROPFIND", "TRACE", "get", ""])
def test_behind_a_proxy_that_hands_no_type_over_only_methods_without_a_body_pass(method: str) -> None:
    flaw = form_flaw_behind_proxy(method, headers())
    assert flaw is not None
    assert "proxy" in flaw.hint
    assert form_flaw(headers(), has_body=True) is not None
    for safe in ("GET", "HEAD", "OPTIONS"):
        assert form_flaw_behind_proxy(safe, headers()) is None


# What real servers do with a body of a type, from their source. Each returns whether it reads a form.


def rack(method: str, value: str) -> bool:
    """Rack 3: `form_data?` or `parseable_data?`."""
    kind = value.split(";", maxsplit=1)[0].split(",", maxsplit=1)[0].strip().lower()
    forms = (
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "multipart/related",
        "multipart/mixed",
    )
    return (method == "POST" and not kind) or kind in forms


def python_cgi(method: str, value: str) -> bool:
    """`cgi.FieldStorage`."""
    default = "application/x-www-form-urlencoded" if method == "POST" else "text/plain"
    kind = value.split(";", maxsplit=1)[0].strip().lower() if value else default
    return kind == "application/x-www-form-urlencoded" or kind.startswith("multipart/")


def http_body(method: str, value: str) -> bool:
    """Perl's `HTTP::Body` (Catalyst): the first type that is anywhere in the value."""
    del method
    forms = (
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "multipart/related",
        "application/xml",
    )
    return any(each in value.lower() for each in forms)


def ncgi(method: str, value: str) -> bool:
    """Tcl's `ncgi`."""
    del method
    forms = ("text/xml", "application/x-www-form-urlencoded", "application/x-www-urlencoded", "multipart/")
    kind = value.split(";", maxsplit=1)[0].lower()
    return not kind or kind.startswith(forms)


def php(method: str, value: str) -> bool:
    """PHP's `sapi_read_post_data`: up to the first of `;`, `,` and a space."""
    for end in ";, ":
        value = value.partition(end)[0]
    return method == "POST" and value.lower() in {"application/x-www-form-urlencoded", "multipart/form-data"}


def html(method: str, value: str) -> bool:
    """The three types of an HTML form, for whoever reads all that a form may send."""
    del method
    forms = ("application/x-www-form-urlencoded", "multipart/form-data", "text/plain")
    return value.split(";", maxsplit=1)[0].strip().lower() in forms


def werkzeug(method: str, value: str) -> bool:
    """Flask, with Werkzeug's own parser: whether a field of the body is found."""
    boundary = value.partition("boundary=")[2]
    part = f"--{boundary}\r\nContent-Disposition: form-data; name=tenant_id\r\n\r\nevil\r\n--{boundary}--\r\n"
    body = part.encode() if boundary else BODY
    environ = {"CONTENT_LENGTH": str(len(body)), "CONTENT_TYPE": value, "REQUEST_METHOD": method}
    form = parse_form_data({**environ, "wsgi.input": BytesIO(body)})[1]
    return bool(form)


SERVERS: list[Callable[[str, str], bool]] = [rack, python_cgi, http_body, ncgi, php, html, werkzeug]
PIECES = st.sampled_from(
    [
        "application/",
        "x-www-form-urlencoded",
        "multipart/",
        "form-data",
        "mixed",
        "related",
        "text/",
        "plain",
        "xml",
        "json",
        "octet-stream",
        "application/json",
        "APPLICATION/JSON",
        "image/png",
        "+json",
        ";",
        "; charset=utf-8",
        "; boundary=a",
        ",",
        " ",
        '"',
        "=",
        "x=",
        "\t",
        "",
    ]
)
TYPES = st.lists(PIECES, max_size=5).map("".join)


@settings(max_examples=4000, deadline=None)
@given(TYPES, st.sampled_from(["POST", "PUT", "GET"]))
def test_what_passes_is_a_form_for_no_server(value: str, method: str) -> None:
    if form_flaw(headers(value.encode()), has_body=True) is None:
        assert [each.__name__ for each in SERVERS if each(method, value)] == []


@pytest.mark.parametrize("kind", [*PLAIN_TYPES, *("application/x" + each for each in PLAIN_SUFFIXES)])
def test_every_listed_type_is_a_form_for_no_server(kind: str) -> None:
    for method in ("POST", "PUT", "GET"):
        assert [each.__name__ for each in SERVERS if each(method, kind)] == []
        assert form_flaw(headers(kind.encode()), has_body=True) is None


def test_the_models_see_what_they_are_there_to_see() -> None:
    seen = {
        "rack": "multipart/mixed",
        "python_cgi": "",
        "http_body": "application/json; x=multipart/form-data",
        "ncgi": "text/xml",
        "php": "application/x-www-form-urlencoded,application/json",
        "html": "text/plain",
        "werkzeug": "multipart/form-data; boundary=a",
    }
    for server in SERVERS:
        assert server("POST", seen[server.__name__])
        assert not server("POST", "application/json")
