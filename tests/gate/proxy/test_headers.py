# SPDX-License-Identifier: Apache-2.0
"""No header carries a second method, path, origin or identity past the decision, in any spelling or position.

The judges read names as the loosest of real servers do, and share no code with the filter: what they find is
what an app would act on.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testing.gate_process import running_gate, write_bundle
from testing.honored_headers import HONORED
from testing.manifests import compiled, issuer, service, workload
from tests.gate.proxy.app import running_app
from tests.gate.proxy.conftest import GRANTS as APP_GRANTS
from tests.gate.proxy.conftest import ROUTES, Front, bearer
from tests.gate.proxy.test_passing_on import status_of
from tests.gate.proxy.test_tunnel import UPGRADE
from watchword.gate.proxy.headers import to_app
from watchword.trust import BundleError, decode_bundle, load
from watchword.trust.bundle_forms import entries_of
from watchword.trust.request_headers import GROUPS, group_that_never_passes, is_dropped

EVIL = b"evil-value-of-the-caller"
ORDINARY = [
    (b"accept", b"*/*"),
    (b"accept-language", b"de"),
    (b"content-type", b"application/json"),
    (b"content-encoding", b"gzip"),
    (b"cookie", b"session=1"),
    (b"host", b"gate"),
    (b"if-none-match", b'"1"'),
    (b"idempotency-key", b"1"),
    (b"range", b"bytes=0-1"),
    (b"referer", b"http://gate/"),
    (b"traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    (b"tracestate", b"a=b"),
    (b"user-agent", b"curl"),
    (b"via", b"1.1 edge"),
    (b"x-api-key", b"of the app's own"),
    (b"x-request-id", b"1"),
    (b"x_tenant_hint", b"1"),
]
SEPARATORS = "-_.!#$%&'*+^`|~"


def cgi(name: bytes) -> str:
    """A name as CGI, PHP and Rack have it: everything but letters and digits is one character."""
    return "HTTP_" + "".join(chr(c).upper() if chr(c).isalnum() else "_" for c in name)


def wsgi(name: bytes) -> str:
    """A name as WSGI servers have it."""
    return "HTTP_" + name.decode().upper().replace("-", "_")


LISTED = sorted({name for group in GROUPS for name in group.names})


@st.composite
def spellings(draw: st.DrawFn) -> bytes:
    """A listed header's name as a caller may write it."""
    name = draw(st.sampled_from([*LISTED, *(each.lower() for each in HONORED)]))
    if name.endswith("*"):
        name = name[:-1] + draw(st.sampled_from(["", "a", "Id", "user-name", "x_y"]))
    separator = st.sampled_from(SEPARATORS)
    letters = [
        draw(separator) if not each.isalnum() else (each.upper() if draw(st.booleans()) else each)
        for each in name
    ]
    return "".join(letters).encode()


@settings(max_examples=1500, deadline=None)
@given(st.lists(spellings(), min_size=1, max_size=6), st.integers(0, len(ORDINARY)), st.randoms())
def test_no_spelling_of_a_listed_header_reaches_an_app_in_any_position(
    names: list[bytes], place: int, random: object
) -> None:
    # `Host` and its like in their own spelling are the message's; as twins they are the caller's.
    twins = {name.encode() for group in GROUPS if group.twins_only for name in group.names}
    hostile = [(name.lower(), EVIL) for name in names if name.lower() not in twins]
    sent = [*ORDINARY[:place], *hostile, *ORDINARY[place:]]
    got = to_app(sent, [(b"x-watchword-subject", b"proven")], "192.0.2.1", "https")
    assert [pair for pair in got if pair[1] == EVIL] == []
    for fold in (cgi, wsgi):
        environment: dict[str, list[bytes]] = {}
        for name, value in got:
            environment.setdefault(fold(name), []).append(value)
        assert environment["HTTP_X_WATCHWORD_SUBJECT"] == [b"proven"]
        assert environment["HTTP_X_FORWARDED_FOR"] == [b"192.0.2.1"]
        assert environment["HTTP_X_FORWARDED_PROTO"] == [b"https"]
        assert environment["HTTP_X_FORWARDED_HOST"] == [b"gate"]
    assert [pair for pair in ORDINARY if pair not in got] == []


@pytest.mark.parametrize("name", HONORED)
@pytest.mark.parametrize("separator", ["-", "_", "."])
def test_what_frameworks_honor_does_not_reach_a_real_app(front: Front, name: str, separator: str) -> None:
    spelled = name.replace("-", separator).replace("_", separator)
    front.ask(b"GET /app/acme/thing HTTP/1.1", f"{spelled}: {EVIL.decode()}".encode())
    seen = front.app.seen[-1]
    assert EVIL not in [value for _, value in seen.headers]
    assert seen.values(b"x-watchword-workload") == [b"tuist/atlas"]


@pytest.mark.parametrize(
    "twin", [b"Content_Length", b"content.length", b"Transfer_Encoding", b"Content_Type", b"CONTENT~LENGTH"]
)
def test_a_twin_of_a_framing_header_does_not_reach_a_real_app(front: Front, twin: bytes) -> None:
    before = len(front.app.seen)
    answer = front.ask(b"POST /app/acme/thing HTTP/1.1", b"Content-Length: 3", twin + b": 77", body=b"abc")
    reached = front.app.seen[before:]
    # The strict parser may refuse it before it comes to the filter, and must then pass nothing on.
    assert (status_of(answer), [each.body for each in reached]) in [(200, [b"abc"]), (400, [])]
    assert [value for each in reached for _, value in each.headers if value == b"77"] == []


def test_ordinary_headers_reach_a_real_app_as_they_came(front: Front) -> None:
    lines = [b"%s: %s" % pair for pair in ORDINARY if pair[0] not in {b"host", b"content-encoding"}]
    front.ask(b"GET /app/acme/thing HTTP/1.1", *lines)
    seen = {(name.lower(), value) for name, value in front.app.seen[-1].headers}
    assert {pair for pair in ORDINARY if pair[0] not in {b"host", b"content-encoding"}} <= seen


def test_a_trailer_does_not_reach_a_real_app(front: Front) -> None:
    body = b"3\r\nabc\r\n0\r\nX-HTTP-Method-Override: DELETE\r\nX-Watchword-Subject: evil\r\n\r\n"
    front.ask(b"POST /app/acme/thing HTTP/1.1", b"Transfer-Encoding: chunked", body=body)
    seen = front.app.seen[-1]
    assert seen.body == b"abc"
    assert seen.values(b"x-http-method-override") == []
    assert seen.values(b"x-watchword-subject") == [b"system:serviceaccount:atlas-production:atlas"]


def test_a_named_header_passes_in_its_own_spelling_and_in_no_other() -> None:
    passed = frozenset({b"x-http-method-override"})
    sent = [(b"x-http-method-override", b"PUT"), (b"x_http_method_override", EVIL), (b"x-http-method", EVIL)]
    got = to_app(sent, [], "", "http", passed)
    assert (b"x-http-method-override", b"PUT") in got
    assert EVIL not in [value for _, value in got]


def test_a_group_that_never_passes_is_told_by_name_and_the_others_are_not() -> None:
    for group in GROUPS:
        for name in group.names:
            found = group_that_never_passes(name.replace("*", "a"))
            assert (found is not None) == (group.action == "never"), name
    assert group_that_never_passes("X-HTTP-Method-Override") is None
    assert group_that_never_passes("X-Custom") is None
    assert is_dropped(b"x-http-method-override")
    assert not is_dropped(b"x-custom")


def test_what_the_service_lets_through_reaches_a_real_app_and_nothing_else_does(tmp_path: Path) -> None:
    passing = service(routes=ROUTES, proxy={"passHeaders": ["X-HTTP-Method-Override", "baggage"]})
    bundle = write_bundle(tmp_path / "bundle.json", issuer(), passing, workload(grants=APP_GRANTS))
    with running_app() as app, running_gate(bundle, "--upstream", app.url) as gate:
        lines = [
            b"x-http-method-override: PUT",
            b"X_HTTP_Method_Override: " + EVIL,
            b"X-HTTP-Method: " + EVIL,
            b"Baggage: a=b",
            b"X-Watchword-Subject: " + EVIL,
        ]
        for upgrade in ((), UPGRADE):
            path = b"frames" if upgrade else b"thing"
            head = [b"GET /app/acme/%s HTTP/1.1" % path, b"Host: gate", bearer(), *lines, *upgrade, b"", b""]
            with Front(gate, app).connect() as link:
                link.sendall(b"\r\n".join(head))
                link.recv(65536)
            seen = app.seen[-1]
            assert seen.values(b"x-http-method-override") == [b"PUT"]
            assert seen.values(b"baggage") == [b"a=b"]
            assert EVIL not in [value for _, value in seen.headers]


@pytest.mark.parametrize(
    "name", ["x-watchword-subject", "connection", "X-HTTP-Method", "x_original_url", "proxy"]
)
def test_a_bundle_that_lets_through_what_never_passes_is_refused(name: str) -> None:
    bundle = compiled(issuer(), service(), workload()).bundles[0]
    hostile = msgspec.structs.replace(bundle, pass_headers=(name,))
    with pytest.raises(BundleError, match=r"passHeaders\[0\]"):
        load(hostile)


def test_an_old_gate_is_told_nothing_of_passed_headers_and_drops_them() -> None:
    spec = {"passHeaders": ["X-HTTP-Method-Override"]}
    bundle = compiled(issuer(), service(proxy=spec), workload()).bundles[0]
    entries = entries_of(bundle)
    whole, previous = (decode_bundle(entries[name]) for name in ("bundle.v2.json", "bundle.json"))
    assert (whole.pass_headers, previous.pass_headers) == (("x-http-method-override",), ())
    assert b"passHeaders" not in entries["bundle.json"]
