# SPDX-License-Identifier: Apache-2.0
"""A token in a header of its own: what callers put into Authorization all the same, while refusals pass."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Awaitable, Callable, Iterator

import pytest

from testing.tokens import NOW, kubernetes, token
from tests.gate.fast_path.ways import Connection
from tests.gate.proxy.in_process import Gates, Run, in_process
from tests.gate.report_only.rules import reporting
from tests.gate.report_only.test_passing_on import ask, bearer, reported, request, shown

HEADER = {"header": "X-Watchword-Token"}


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    """Runs work on gates of this process."""
    with in_process() as runner:
        yield runner


def at_a_gate(run: Run, work: Callable[[Connection], Awaitable[None]]) -> None:
    """Run work on a gate that only reports and takes its token from X-Watchword-Token."""

    async def whole(gates: Gates) -> None:
        gate = gates(True, given=reporting(token=HEADER))
        gate.transport = gate.another()
        await work(gate)

    run(whole)


def of_no_one() -> bytes:
    """A token for this service, of a workload that no one has trusted yet."""
    account = kubernetes(namespace="reports", serviceaccount={"name": "reports", "uid": "uid-of-reports"})
    return token(sub="system:serviceaccount:reports:reports", **{"kubernetes.io": account})


FOR_THE_SERVICE = {
    "trusted": token,
    "not trusted yet": of_no_one,
    "not valid yet": lambda: token(nbf=int(NOW) + 600, exp=int(NOW) + 1200),
    "expired": lambda: token(iat=int(NOW) - 900, nbf=int(NOW) - 900, exp=int(NOW) - 300),
}


@pytest.mark.parametrize("name", FOR_THE_SERVICE)
def test_a_token_for_the_service_in_authorization_stays_here(run: Run, name: str) -> None:
    signed = FOR_THE_SERVICE[name]()

    async def work(gate: Connection) -> None:
        for line in (
            bearer(signed),
            b"Authorization: " + signed,
            b"Authorization: Basic x, Bearer " + signed,
            b"Authorization: Basic " + b64encode(b"token:" + signed),
        ):
            got = await reported(gate.transport, request(line), b"missing_credential")
            assert shown(got, b"authorization") == []
            assert signed not in got
        # One that is let in may send another one's as well.
        head, got = await ask(
            gate.transport, request(bearer(signed), b"X-Watchword-Token: " + token(jti="of-another-one"))
        )
        assert head.startswith(b"HTTP/1.1 200 ")
        assert signed not in got

    at_a_gate(run, work)


def test_what_is_not_for_the_service_stays_the_apps(run: Run) -> None:
    async def work(gate: Connection) -> None:
        for own in (b"Basic YTpi", b"Bearer a.b.c", b"Bearer " + token(aud=["of-the-app"])):
            got = await reported(gate.transport, request(b"Authorization: " + own), b"missing_credential")
            assert shown(got, b"authorization") == [own]

    at_a_gate(run, work)


MISPLACED = {
    "with a scheme": lambda signed: [b"X-Watchword-Token: Bearer " + signed],
    "twice": lambda signed: [b"X-Watchword-Token: " + signed] * 2,
    "in quotes": lambda signed: [b'X-Watchword-Token: "' + signed + b'"'],
}


@pytest.mark.parametrize("name", MISPLACED)
def test_a_copy_of_a_signed_token_stays_here_however_the_header_holds_it(run: Run, name: str) -> None:
    signed = token(aud=["other"])

    async def work(gate: Connection) -> None:
        lines = MISPLACED[name](signed)
        head, got = await ask(
            gate.transport, request(*lines, bearer(signed), b"X-Copy: " + signed, b"X-Ok: 1")
        )
        assert head.startswith(b"HTTP/1.1 200 ")
        assert shown(got, b"x-ok") == [b"1"]
        assert signed not in got

    at_a_gate(run, work)
