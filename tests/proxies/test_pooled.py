# SPDX-License-Identifier: Apache-2.0
"""Two callers behind a proxy that uses its connections to the gate again: nothing of one reaches the other.

The attack: a request with a body that is itself the head of a request, under an `Upgrade` that ends nothing.
Whoever ends the message at its head takes the next caller's request, token and all, for the attacker's body.
"""

from __future__ import annotations

import itertools
import socket
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

import h11
import pytest

from testing.framing.recorder import SERIAL
from testing.framing.run import Lab, lab
from testing.framing.strict import Answer, answers
from testing.unavailable import skip_or_fail
from tests.proxies.front import executable
from tests.proxies.pooled import PROXIES, in_front

WORDS = (
    b"h2c",
    b"websocket",
    b"TLS/1.0",
    b"foo",
    b"websocket, h2c",
    b"h2c, websocket",
    b"H2C",
    b"WebSocket",
    b"",
)
_numbers = itertools.count()


@dataclass(slots=True)
class Pool:
    """A proxy before the gate, and both callers."""

    name: str
    port: int
    place: Lab

    def ask(self, *parts: bytes, patience_seconds: float = 30) -> bytes:
        """Send in as many writes; what came until the connection closed."""
        came = bytearray()
        with socket.create_connection(("127.0.0.1", self.port), 30) as link:
            link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for part in parts:
                link.sendall(part)
            link.settimeout(patience_seconds)
            with suppress(TimeoutError):
                while not _is_over(bytes(came)):
                    if not (data := link.recv(65536)):
                        break
                    came += data
        return bytes(came)

    def ask_as_victim(self) -> None:
        """The other caller asks, and must get the answer to its own request."""
        name = b"victim-%d" % next(_numbers)
        lines = [
            b"GET /app/acme/%s HTTP/1.1" % name,
            b"Host: gate",
            self.place.credentials[1],
            b"X-Secret: " + name,
        ]
        [answer] = _answers(self.ask(b"\r\n".join([*lines, b"", b""])))
        assert answer.status == 200, (answer, self.place.app.faults)
        seen = self.place.app.seen[int(answer.value(SERIAL))]
        assert seen.target == b"/app/acme/" + name
        assert seen.values(b"x-secret") == [name]
        assert seen.values(b"x-watchword-subject") == [b"system:serviceaccount:apps:second"]


def _answers(came: bytes) -> list[Answer]:
    return answers(came, [b"POST"])[0]


def _is_over(came: bytes) -> bool:
    try:
        found = answers(came, [b"POST"], is_over=False)[0]
    except h11.RemoteProtocolError:
        return True
    return any(each.is_whole for each in found)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A gate with `--upstream`, and a recording app behind it."""
    with lab(tmp_path_factory.mktemp("pooled")) as running:
        yield running


@pytest.fixture(scope="module", params=PROXIES)
def pool(
    request: pytest.FixtureRequest, place: Lab, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pool]:
    """Each proxy in turn."""
    name: str = request.param
    if executable(name.partition("-")[0]) is None:
        skip_or_fail("proxy tests", f"{name} is not installed", required_by="WATCHWORD_REQUIRE_PROXIES")
    with in_front(name, tmp_path_factory.mktemp(name), place.gate.address) as port:
        yield Pool(name, port, place)


def attack(place: Lab, word: bytes, form: str, target: bytes) -> tuple[list[bytes], bytes]:
    """The attacker's request in its parts, and its body."""
    own = place.credentials[0]
    hidden = b"POST /app/acme/leak HTTP/1.1\r\nHost: a\r\n%s\r\nContent-Length: 400\r\n\r\n" % own
    sent = b"%x\r\n%s\r\n0\r\n\r\n" % (len(hidden), hidden) if form == "chunked" else hidden
    framing = b"Transfer-Encoding: chunked" if form == "chunked" else b"Content-Length: %d" % len(hidden)
    lines = [
        b"POST %s HTTP/1.1" % target,
        b"Host: gate",
        b"Connection: Upgrade",
        b"Upgrade: " + word,
        own,
        framing,
    ]
    return [b"\r\n".join([*lines, b"", b""]), sent], hidden


@pytest.mark.parametrize("target", [b"/app/acme/echo", b"/app/acme/early", b"/app/acme/ws", b"/nowhere"])
@pytest.mark.parametrize("form", ["length", "chunked"])
@pytest.mark.parametrize("writes", ["one", "many"])
@pytest.mark.parametrize("word", WORDS)
def test_nothing_of_one_caller_reaches_the_other(
    pool: Pool, word: bytes, writes: str, form: str, target: bytes
) -> None:
    app = pool.place.app
    before, faults = len(app.seen), len(app.faults)
    (head, sent), hidden = attack(pool.place, word, form, target)
    parts = {
        "one": [head + sent],
        "many": [head[:40], head[40:], sent[:10], sent[10:30], sent[30:]],
    }[writes]
    # Envoy takes any request for an upgrade that it knows as one, waits, and keeps the body to itself.
    is_envoys = pool.name.startswith("envoy") and word.lower() in {b"websocket", b"h2c", b"foo"}
    for _ in range(2):
        came = pool.ask(*parts, patience_seconds=1 if is_envoys else 30)
        assert b"victim" not in came
        for answer in _answers(came):
            if serial := answer.value(SERIAL):
                own = app.seen[int(serial)]
                assert own.target == target
                assert own.values(b"x-watchword-subject") == [b"system:serviceaccount:apps:first"]
        pool.ask_as_victim()
    app.settle()

    seen = app.seen[before:]
    assert app.faults[faults:] == []
    assert [each.target for each in seen if b"leak" in each.target] == []
    for each in seen:
        assert not each.values(b"authorization")
        assert b"victim" not in each.body
        if each.target == target:
            assert hidden.startswith(bytes(each.body))
        if each.target == b"/app/acme/echo" and not is_envoys:
            assert bytes(each.body) == hidden
    if (
        pool.name in {"nginx", "caddy", "traefik"}
        and target == b"/app/acme/echo"
        and word not in {b"websocket", b"WebSocket"}
    ):
        assert sum(each.target == target for each in seen) == 2, (
            "the attacker's request is a good one, and passes"
        )


def test_two_callers_take_turns_and_each_gets_its_own_answers(pool: Pool) -> None:
    for number in range(30):
        pool.ask_as_victim()
        body = b"body of %d" % number
        lines = [b"PUT /app/acme/own-%d HTTP/1.1" % number, b"Host: gate", pool.place.credentials[0]]
        [answer] = _answers(pool.ask(b"\r\n".join([*lines, b"Content-Length: %d" % len(body), b"", body])))
        seen = pool.place.app.seen[int(answer.value(SERIAL))]
        assert (seen.target, bytes(seen.body)) == (b"/app/acme/own-%d" % number, body)
