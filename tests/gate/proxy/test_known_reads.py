# SPDX-License-Identifier: Apache-2.0
"""A read that differs from a known one in its token alone is passed on for the caller that it names."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from testing.gate_process import write_bundle
from testing.manifests import issuer, service, workload
from tests.gate.proxy.conftest import GRANTS, ROUTES
from tests.gate.proxy.scripted import ACCOUNTS, Heard, Scene, credential, read_until, request, scene
from tests.gate.proxy.test_passing_on import body_of, status_of

LINES = [b"GET /app/acme/%s HTTP/1.1" % name for name in (b"a", b"b", b"a?x=1")]
EXTRAS = [(), (b"X-A: 1",), (b"X-A: 2",), (b"X-User: 1",), (b"Connection: keep-alive",), (b"X-B: Bearer x",)]


def script(heard: Heard) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(heard.head), heard.head)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Scene]:
    """A gate before an app that answers with the head that it got."""
    with scene(tmp_path, script) as running:
        yield running


def shown(head: bytes, name: bytes) -> list[bytes]:
    lines = [each.partition(b": ") for each in head.split(b"\r\n")]
    return [value for key, _, value in lines if key.lower() == name]


def read_answer(link: socket.socket) -> bytes:
    """The head that the app got of one request."""
    found = read_until(link, b"\r\n\r\n")
    assert status_of(found) == 200, found
    length = int(shown(found, b"content-length")[0])
    body = body_of(found)
    while len(body) < length:
        body += link.recv(65536)
    assert len(body) == length
    return body


def test_any_order_of_heads_and_tokens_reaches_the_app_as_each_was_sent(place: Scene) -> None:
    rng = random.Random(7)
    with place.connect() as link:
        for _ in range(400):
            line, extra, who = rng.choice(LINES), rng.choice(EXTRAS), rng.choice(ACCOUNTS)
            message = request(line, *extra, who=who)
            cut = rng.choice([0, 0, 0, rng.randrange(1, len(message))])
            if cut:
                link.sendall(message[:cut])
            link.sendall(message[cut:])
            head = read_answer(link)
            assert head.startswith(line + b"\r\n")
            assert shown(head, b"x-watchword-subject") == [b"system:serviceaccount:apps:" + who.encode()]
            wanted = [each.partition(b": ")[2] for each in extra if each.startswith(b"X-A")]
            assert shown(head, b"x-a") == wanted
            assert shown(head, b"x-user") == []
            assert shown(head, b"x-forwarded-for") == [b"127.0.0.1"]
            assert b"eyJ" not in head


def test_two_requests_in_one_read_teach_nothing_about_the_next_read(place: Scene) -> None:
    first, second = request(LINES[0]), request(LINES[1])
    with place.connect() as link:
        for _ in range(3):
            link.sendall(first)
            assert read_answer(link).startswith(LINES[0])
        for _ in range(3):
            link.sendall(first + second)
            got = b""
            while got.count(b"x-forwarded-host") < 2 or not got.endswith(b"\r\n\r\n"):
                got += link.recv(65536)
            assert [each in got for each in LINES[:2]] == [True, True]
            for message, line in ((first, LINES[0]), (second, LINES[1]), (first, LINES[0])):
                link.sendall(message)
                assert read_answer(link).startswith(line + b"\r\n")


def test_what_is_no_token_is_refused_in_a_known_head(place: Scene) -> None:
    with place.connect() as link:
        for _ in range(3):
            link.sendall(request(LINES[0]))
            read_answer(link)
        before = len(place.app.heard)
        token = credential("one").partition(b"Bearer ")[2]
        bad = [b"a b", token + b" ", token[:-3], token + b",x", b""]
        for each in bad:
            link.sendall(request(LINES[0]).replace(token, each))
            answer = read_until(link, b"}") if each != token + b" " else read_answer(link)
            assert each == token + b" " or status_of(answer) in {400, 401}
        # White space around a value is none of it (RFC 9110, section 5.5).
        assert len(place.app.heard) == before + 1


def test_a_bundle_that_withdraws_trust_holds_for_known_reads(place: Scene, tmp_path: Path) -> None:
    with place.connect() as link:
        for _ in range(3):
            link.sendall(request(LINES[0], b"X-User: mine"))
            assert shown(read_answer(link), b"x-user") == []
        objects = [issuer(), service(routes=ROUTES, proxy={"passHeaders": ["X-User"]})]
        trusted = {"name": "one", "serviceAccount": {"namespace": "apps", "name": "one"}, "grants": GRANTS}
        write_bundle(tmp_path / "bundle.json", *objects, workload(**trusted), generation=2)
        seen: list[bytes] = []
        while seen != [b"mine"]:
            link.sendall(request(LINES[0], b"X-User: mine"))
            seen = shown(read_answer(link), b"x-user")
        write_bundle(tmp_path / "bundle.json", *objects, workload(**trusted, suspend=True), generation=3)
        status = 200
        while status == 200:
            link.sendall(request(LINES[0], b"X-User: mine"))
            found = read_until(link, b"\r\n\r\n")
            status = status_of(found)
            length = int(shown(found, b"content-length")[0])
            while len(body_of(found)) < length:
                found += link.recv(65536)
        assert b"x-watchword-reason: suspended" in found
