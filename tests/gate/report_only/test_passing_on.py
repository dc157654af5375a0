# SPDX-License-Identifier: Apache-2.0
"""What passes on while a service only reports, what the app gets of it, and that nothing outlives the end."""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode
from collections.abc import Awaitable, Callable, Iterator

import pytest

from testing.tokens import NOW, Signer, token
from tests.gate.fast_path.ways import Connection, RecordingTransport
from tests.gate.proxy.in_process import Gates, Run, in_process, quiet
from tests.gate.report_only.rules import UNTIL, enforcing, reporting

IDENTITY = (b"subject", b"issuer", b"workload", b"scopes", b"accounts", b"account", b"project", b"grants")
LATER = {"exp": int(UNTIL) + 300, "iat": int(NOW) - 60}


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    """Runs work on gates of this process."""
    with in_process() as runner:
        yield runner


def request(*lines: bytes, path: bytes = b"/app/acme", method: bytes = b"GET", body: bytes = b"") -> bytes:
    return b"\r\n".join([method + b" " + path + b" HTTP/1.1", b"Host: gate", *lines, b"", body])


def bearer(value: bytes) -> bytes:
    return b"Authorization: Bearer " + value


def trusted(**changes: object) -> bytes:
    """The workload that is trusted; its token outlives report only."""
    return bearer(token(**(LATER | changes)))


def shown(head: bytes, name: bytes) -> list[bytes]:
    """The values of a header, by a name in lower case."""
    lines = [each.partition(b":") for each in head.split(b"\r\n")[1:]]
    return [value.strip() for key, _, value in lines if key.lower() == name]


async def ask(transport: RecordingTransport, message: bytes) -> tuple[bytes, bytes]:
    """The head of the answer, and the request as the app got it (or the body of a refusal)."""
    transport.written.clear()
    transport.arrive(message)
    await quiet(transport)
    head, _, body = bytes(transport.written).partition(b"\r\n\r\n")
    return head, body


async def reported(transport: RecordingTransport, message: bytes, reason: bytes) -> bytes:
    """What the app got of a request that would be refused for a reason."""
    head, got = await ask(transport, message)
    assert head.startswith(b"HTTP/1.1 200 "), (head, got)
    assert shown(head, b"x-watchword-would-refuse") == [reason]
    assert shown(got, b"x-watchword-would-refuse") == [reason]
    for name in IDENTITY:
        assert shown(got, b"x-watchword-" + name) == [b""], name
    assert len(shown(got, b"x-watchword-decision-id")) == 1
    return got


async def refused(transport: RecordingTransport, message: bytes, reason: bytes) -> None:
    head, body = await ask(transport, message)
    assert json.loads(body)["reason"].encode() == reason, (head, body)
    assert shown(head, b"x-watchword-would-refuse") == []


def at_a_gate(run: Run, work: Callable[[Connection], Awaitable[None]]) -> None:
    """Run work on a gate that only reports, with an app behind it."""

    async def whole(gates: Gates) -> None:
        gate = gates(True, given=reporting())
        gate.transport = gate.another()
        await work(gate)

    run(whole)


WOULD_REFUSE: dict[str, tuple[Callable[[], bytes], bytes]] = {
    "no credential": (request, b"missing_credential"),
    "Basic": (lambda: request(b"Authorization: Basic eDp5"), b"malformed_credential"),
    "opaque": (lambda: request(bearer(b"s3cr3t")), b"malformed_token"),
    "too large": (lambda: request(bearer(b"x" * 9000)), b"token_too_large"),
    "another cluster's": (lambda: request(bearer(token(Signer("strange")))), b"unknown_key"),
    "a bad signature": (lambda: request(bearer(token().rpartition(b".")[0] + b".AAAA")), b"bad_signature"),
    "another audience": (lambda: request(trusted(aud=["other"])), b"wrong_audience"),
    "expired": (lambda: request(bearer(token(exp=int(NOW) - 4000, iat=int(NOW) - 5000))), b"expired"),
    "no scope": (lambda: request(trusted(), path=b"/admin"), b"insufficient_scope"),
    "another account": (lambda: request(trusted(), path=b"/app/other"), b"account_not_granted"),
    "no route": (lambda: request(trusted(), path=b"/nope"), b"no_route"),
    "a path that two read differently": (lambda: request(trusted(), path=b"/app/../x"), b"no_route"),
    "another method": (lambda: request(trusted(), method=b"DELETE"), b"no_route"),
}
SIGNED = {"another audience", "expired", "no scope", "another account", "no route", "another method"}
SIGNED.add("a path that two read differently")


@pytest.mark.parametrize("name", WOULD_REFUSE)
def test_it_passes_without_an_identity_and_says_why(run: Run, name: str) -> None:
    message, reason = WOULD_REFUSE[name][0](), WOULD_REFUSE[name][1]

    async def work(gate: Connection) -> None:
        for _ in range(3):
            got = await reported(gate.transport, message, reason)
            given = shown(message, b"authorization")
            # The app's own credential passes as it came; a token that a known key signed never does.
            assert shown(got, b"authorization") == ([] if name in SIGNED else given)
            assert got.startswith(message.split(b"\r\n")[0])
        gate.now = UNTIL
        await refused(gate.transport, message, reason)

    at_a_gate(run, work)


def test_who_is_trusted_is_let_in_as_ever(run: Run) -> None:
    async def work(gate: Connection) -> None:
        for _ in range(4):
            head, got = await ask(gate.transport, request(trusted()))
            assert shown(got, b"x-watchword-workload") == [b"tuist/atlas"]
            assert shown(head, b"x-watchword-would-refuse") == shown(got, b"x-watchword-would-refuse") == []
            assert shown(got, b"authorization") == []
            gate.now += (UNTIL + 60 - NOW) / 3

    at_a_gate(run, work)


FORGED = (
    b"X-Watchword-Would-Refuse: nothing",
    b"x_watchword_would_refuse: nothing",
    b"X-Watchword-Subject: system:serviceaccount:kube-system:root",
    b"X_Watchword-Subject: root",
    b"X-Watchword-Scopes: admin:all",
    b"X-Watchword-Token: secret",
    b"X-Forwarded-User: root",
)


@pytest.mark.parametrize("credential", [b"", b"Authorization: Basic eDp5"])
def test_a_caller_cannot_say_what_the_gate_says(run: Run, credential: bytes) -> None:
    async def work(gate: Connection) -> None:
        reason = b"malformed_credential" if credential else b"missing_credential"
        got = await reported(gate.transport, request(*filter(None, (credential,)), *FORGED), reason)
        for word in (b"nothing", b"root", b"admin:all", b"secret"):
            assert word not in got
        # Not for one who is let in either, by the way that parses and by the one that knows the read.
        for _ in range(3):
            head, got = await ask(gate.transport, request(trusted(), *FORGED))
            assert shown(got, b"x-watchword-workload") == [b"tuist/atlas"]
            assert b"nothing" not in got
            assert b"would-refuse" not in head + got

    at_a_gate(run, work)


def test_two_credentials_are_no_message_for_the_app(run: Run) -> None:
    async def work(gate: Connection) -> None:
        twice = request(b"Authorization: Basic eDp5", b"Authorization: Basic YTpi")
        await refused(gate.transport, twice, b"unfit_request")

    at_a_gate(run, work)


SPELLED = (
    lambda signed: b"Authorization: bearer " + signed,
    lambda signed: b"Authorization: Token " + signed,
    lambda signed: b'Authorization: Bearer "' + signed + b'"',
    lambda signed: b"Authorization: Bearer " + signed + b"=",
    lambda signed: b"Authorization: Bearer x " + signed,
    lambda signed: b"Authorization: Bearer " + signed + b".x",
    lambda signed: b"Authorization: Basic " + b64encode(b"token:" + signed),
    lambda signed: b"Authorization: basic  " + b64encode(signed + b":").rstrip(b"="),
    lambda signed: b"Authorization: a.b.c, d.e.f, g.h.i, j.k.l, " + signed,
)


@pytest.mark.parametrize("place", range(len(SPELLED)))
def test_a_signed_token_stays_here_however_it_is_wrapped(run: Run, place: int) -> None:
    signed = token(aud=["other"])

    async def work(gate: Connection) -> None:
        head, got = await ask(gate.transport, request(SPELLED[place](signed), b"X-Copy: " + signed))
        assert head.startswith(b"HTTP/1.1 200 ")
        assert shown(got, b"authorization") == []
        if place < len(SPELLED) - 1:
            assert signed not in got

    at_a_gate(run, work)


def test_a_long_credential_is_looked_through_once() -> None:
    # 16 KiB of one letter took an expression for the three parts 0.7 s; counted in what is looked at.
    from watchword.gate.proxy.withheld import _tokens_in

    assert list(_tokens_in(b"a" * 16_000)) == []
    assert len(list(_tokens_in(b"a." * 8_000 + b"a"))) == 7_999


def test_no_proxy_and_no_endpoint_of_the_gates_own_is_only_reported(run: Run) -> None:
    async def work(gate: Connection) -> None:
        for path in (b"/authz", b"/authz/envoy/app/acme", b"/authz/nginx"):
            for _ in range(2):
                await refused(gate.transport, request(path=path), b"missing_credential")
                await refused(gate.transport, request(trusted(aud=["other"]), path=path), b"wrong_audience")
        await refused(gate.transport, request(trusted(), path=b"/authz/envoy/admin"), b"insufficient_scope")

    at_a_gate(run, work)


def test_connect_and_what_is_no_message_are_refused(run: Run) -> None:
    async def work(gate: Connection) -> None:
        for message in (
            b"CONNECT app:80 HTTP/1.1\r\nHost: app:80\r\n\r\n",
            request(b"Content-Length: 1", b"Transfer-Encoding: chunked"),
            b"GET /app/acme HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
            b"GET /app/acme#x HTTP/1.1\r\nHost: gate\r\n\r\n",
        ):
            transport = gate.another()
            head, _ = await ask(transport, message)
            assert head.startswith(b"HTTP/1.1 400 "), head
            assert b"would-refuse" not in head

    at_a_gate(run, work)


def test_a_template_that_was_learned_meanwhile_lets_no_one_in_afterwards(run: Run) -> None:
    async def work(gate: Connection) -> None:
        good, other = request(trusted()), request(trusted(aud=["other"]))
        opaque = request(bearer(b"q" * 300))
        for _ in range(4):
            await ask(gate.transport, good)
        assert len(gate.templates) == 1
        # The same head with another token: what passes is as if it had been parsed.
        for _ in range(3):
            assert shown(await reported(gate.transport, other, b"wrong_audience"), b"authorization") == []
            got = await reported(gate.transport, opaque, b"malformed_token")
            assert shown(got, b"authorization") == [b"Bearer " + b"q" * 300]
        gate.now = UNTIL
        for _ in range(3):
            await refused(gate.transport, other, b"wrong_audience")
            await refused(gate.transport, opaque, b"malformed_token")
            _, got = await ask(gate.transport, good)
            assert shown(got, b"x-watchword-workload") == [b"tuist/atlas"]
        # On connections that come later too.
        await refused(gate.another(), other, b"wrong_audience")

    at_a_gate(run, work)


def test_what_would_be_refused_teaches_no_template(run: Run) -> None:
    async def work(gate: Connection) -> None:
        for _ in range(4):
            await reported(gate.transport, request(trusted(aud=["other"])), b"wrong_audience")
            await reported(gate.transport, request(trusted(), path=b"/admin"), b"insufficient_scope")
        assert len(gate.templates) == 0

    at_a_gate(run, work)


def test_pipelined_requests_each_get_their_own_answer(run: Run) -> None:
    async def work(gate: Connection) -> None:
        basic = request(b"Authorization: Basic eDp5")
        kinds = [request(), request(trusted()), request(path=b"/authz"), basic]
        for _ in range(2):
            gate.transport.written.clear()
            gate.transport.arrive(b"".join(kinds))
            await quiet(gate.transport)
            written = bytes(gate.transport.written)
            assert written.count(b"HTTP/1.1 200 OK") == 3
            assert written.count(b"HTTP/1.1 401 ") == 1
            # Twice for each of two: to the caller, and in the head that the app echoes.
            assert written.count(b"x-watchword-would-refuse: missing_credential\r\n") == 2
            assert written.count(b"x-watchword-would-refuse: malformed_credential\r\n") == 2
            assert written.count(b"x-watchword-workload: tuist/atlas\r\n") == 1
        gate.now = UNTIL
        gate.transport.written.clear()
        gate.transport.arrive(b"".join(kinds))
        await quiet(gate.transport)
        assert bytes(gate.transport.written).count(b"would-refuse") == 0

    at_a_gate(run, work)


def test_another_bundle_between_two_requests_of_a_connection(run: Run) -> None:
    async def work(gate: Connection) -> None:
        message = request(trusted(aud=["other"]))
        await reported(gate.transport, message, b"wrong_audience")
        gate.engine.adopt(enforcing())
        await refused(gate.transport, message, b"wrong_audience")
        gate.engine.adopt(reporting())
        await reported(gate.transport, message, b"wrong_audience")

    at_a_gate(run, work)


def test_a_request_that_still_waits_for_its_body_at_the_end_ends(run: Run) -> None:
    async def work(gate: Connection) -> None:
        gate.transport.arrive(request(b"Content-Length: 2", method=b"POST", body=b"a"))
        await quiet(gate.transport)
        assert len(gate.engine.long_connections) == 1
        gate.now = UNTIL
        gate.engine.long_connections._sweep()
        await quiet(gate.transport)
        assert bytes(gate.transport.written).startswith(b"HTTP/1.1 401 ")
        assert len(gate.engine.long_connections) == 0

    at_a_gate(run, work)


def test_callers_without_an_identity_share_no_connection_with_a_workload(run: Run) -> None:
    async def whole(gates: Gates) -> None:
        gate = gates(True, given=reporting())
        gate.transport = gate.another()
        before = len(gates.links)
        await ask(gate.transport, request(trusted()))
        await reported(gate.transport, request(), b"missing_credential")
        await reported(gate.transport, request(b"Authorization: NTLM abc"), b"malformed_credential")
        await reported(gate.transport, request(b"Authorization: NTLM def"), b"malformed_credential")
        await ask(gate.transport, request(trusted()))
        await reported(gate.transport, request(b"Authorization: Basic eDp5"), b"malformed_credential")
        # One of the workload's, one for all that would be refused, and one for each that signs it in.
        assert len(gates.links) - before == 4
        await asyncio.sleep(0)

    run(whole)
