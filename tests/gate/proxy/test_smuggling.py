# SPDX-License-Identifier: Apache-2.0
"""However a message is framed, the app sees the one request that was decided, or none."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.gate.proxy.conftest import Front
from tests.gate.proxy.test_passing_on import status_of

HIDDEN = b"GET /other/acme/secret HTTP/1.1\r\nHost: gate\r\n\r\n"

AMBIGUOUS: list[tuple[list[bytes], bytes]] = [
    ([b"Content-Length: 4", b"Transfer-Encoding: chunked"], b"0\r\n\r\n" + HIDDEN),
    ([b"Transfer-Encoding: chunked", b"Content-Length: 4"], b"0\r\n\r\n" + HIDDEN),
    ([b"Content-Length: 0", b"Content-Length: %d" % len(HIDDEN)], HIDDEN),
    ([b"Content-Length: 0, %d" % len(HIDDEN)], HIDDEN),
    ([b"Content-Length: +0"], HIDDEN),
    ([b"Content-Length: 0x0"], HIDDEN),
    ([b"Content-Length : 0"], HIDDEN),
    ([b"Transfer-Encoding: xchunked"], b"0\r\n\r\n" + HIDDEN),
    ([b"Transfer-Encoding: identity"], HIDDEN),
    ([b"Transfer-Encoding: chunked, identity"], b"0\r\n\r\n" + HIDDEN),
    ([b"Transfer-Encoding\t: chunked"], b"0\r\n\r\n" + HIDDEN),
    ([b"X: 1\nTransfer-Encoding: chunked"], b"0\r\n\r\n" + HIDDEN),
    ([b"X: 1\r\n folded: chunked"], HIDDEN),
    ([b"Transfer-Encoding: chunked"], b'0;a="\n"\r\n\r\n' + HIDDEN),
    ([b"Transfer-Encoding: chunked"], b"-1\r\n\r\n" + HIDDEN),
    ([b"Transfer-Encoding: chunked"], b"0\n\n" + HIDDEN),
    ([b"Transfer-Encoding: chunked"], b"5\r\nabcdeX\r\n0\r\n\r\n" + HIDDEN),
    ([b"Transfer-Encoding: chunked"], b"fffffffffffffffff\r\nabc"),
    ([b"Upgrade: h2c", b"Connection: Upgrade, HTTP2-Settings", b"HTTP2-Settings: AAMAAABk"], HIDDEN),
]


@pytest.mark.parametrize(("headers", "body"), AMBIGUOUS)
def test_a_request_hidden_in_another_never_reaches_the_app(
    front: Front, headers: list[bytes], body: bytes
) -> None:
    front.ask(b"POST /app/acme/thing HTTP/1.1", *headers, body=body)
    assert not any(b"secret" in request.line for request in front.app.seen)


@pytest.mark.parametrize("header", [b"Host: a\r\nHost: b", b"X-Name: \xff\xfe"])
def test_what_cannot_be_passed_on_unchanged_is_not_passed_on(front: Front, header: bytes) -> None:
    before = len(front.app.seen)
    answer = front.ask(b"GET /app/acme/thing HTTP/1.1", header)
    assert status_of(answer) == 400
    assert len(front.app.seen) == before


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    chunks=st.lists(st.binary(min_size=1, max_size=40), max_size=5),
    cuts=st.lists(st.integers(1, 400), max_size=6),
)
def test_bodies_arrive_whole_wherever_their_bytes_are_cut(
    front: Front, chunks: list[bytes], cuts: list[int]
) -> None:
    from tests.gate.proxy.conftest import bearer

    head = [b"POST /app/acme/cut HTTP/1.1", b"Host: gate", bearer(), b"Transfer-Encoding: chunked"]
    framed = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    message = b"\r\n".join([*head, b"Connection: close", b"", framed])
    with front.connect() as link:
        start = len(message) - len(framed) - 40
        link.sendall(message[:start])
        for end in [*sorted({start + cut for cut in cuts if start + cut < len(message)}), len(message)]:
            link.sendall(message[start:end])
            start = end
        answer = b"".join(iter(lambda: link.recv(65536), b""))
    assert status_of(answer) == 200
    assert front.app.seen[-1].body == b"".join(chunks)
