# SPDX-License-Identifier: Apache-2.0
"""A Host that is more than a host and a port reaches no app: frameworks make the path that they see of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.gate.http2.test_request_fields import with_value
from tests.gate.proxy.conftest import Front
from tests.gate.proxy.test_passing_on import status_of
from tests.gate.proxy.test_tunnel import UPGRADE
from watchword.gate.http2.request_fields import MalformedRequestError, read_request
from watchword.gate.proxy.headers import UnfitHeaderError, to_app

HOSTS = [
    b"shop.example", b"shop.example:8080", b"shop_1.example", b"SHOP.example.", b"xn--bcher-kva.example",
    b"10.0.0.1:80", b"[::1]", b"[::1]:8443", b"[::ffff:10.0.0.1]:1", b"gate:",
]  # fmt: skip
NO_HOSTS = [
    b"x/admin?", b"x/admin", b"x?admin", b"x#y", b"x\\y", b"x@y", b"x, y", b"a b", b"x\ty", b"http://x",
    b"x:abc", b"x:80:80", b"x:123456", b"[::1", b"::1", b"[x]", b"[::1]x", b"x%2Fadmin", b"x;y", b"x\xc3\xa9",
    b"/", b"?", b":80", b"[]", b"x&y", b"x=y", b'x"y', b"x'y", b"<x>", b"x|y",
]  # fmt: skip


@pytest.mark.parametrize("host", NO_HOSTS)
@pytest.mark.parametrize("more", [(), UPGRADE], ids=["request", "websocket"])
def test_what_is_no_host_and_port_does_not_reach_the_app(
    front: Front, host: bytes, more: tuple[bytes, ...]
) -> None:
    before = len(front.app.seen)
    answer = front.ask(b"GET /app/acme/thing HTTP/1.1", b"Host: " + host, *more)
    assert status_of(answer) == 400
    assert b"Host" in answer
    assert len(front.app.seen) == before


@pytest.mark.parametrize("host", HOSTS)
def test_a_host_reaches_the_app_as_it_came(front: Front, host: bytes) -> None:
    assert status_of(front.ask(b"GET /app/acme/thing HTTP/1.1", b"Host: " + host)) == 200
    assert front.app.seen[-1].values(b"host") == [host]


@pytest.mark.parametrize("host", NO_HOSTS)
def test_no_more_is_taken_for_an_authority_in_http2(host: bytes) -> None:
    with pytest.raises(MalformedRequestError):
        read_request(with_value(b":authority", host))


@given(st.binary(min_size=1, max_size=12).filter(lambda text: any(each in text for each in b"/?#\\@ \t,%;&")))
def test_nothing_with_a_delimiter_is_passed_on(host: bytes) -> None:
    with pytest.raises(UnfitHeaderError):
        to_app([(b"host", host)], (), "", "http")
