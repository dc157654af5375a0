# SPDX-License-Identifier: Apache-2.0
"""The bare work that the desk is compared with: signatures, a row read by its key, an answer sent."""

import asyncio
import sqlite3
import sys
import time
from collections.abc import Callable

from starlette.types import Receive, Scope, Send

from testing.running_desk import subject_token
from testing.tokens import signer
from watchword.desk.minting import SigningKey
from watchword.desk.serve import DESK_BOUNDS
from watchword.identity.compact import UnverifiedToken, parse_compact
from watchword.identity.desk_claims import DeskClaims
from watchword.identity.signature import signature_holds
from watchword.process.listening import address_of, listen_on, serving
from watchword.process.server import bounded_server


def seconds_each(work: Callable[[], object], count: int = 3000) -> float:
    """CPU seconds of one call, the best of five rounds."""
    rounds = []
    for _ in range(5):
        begun = time.process_time()
        for _ in range(count):
            work()
        rounds.append((time.process_time() - begun) / count)
    return min(rounds)


def verify_and_sign(claims: DeskClaims) -> float:
    """CPU seconds of one RS256 signature checked and one ES256 token signed."""
    unverified = parse_compact(subject_token().encode())
    assert isinstance(unverified, UnverifiedToken)
    key, signing = signer().key, SigningKey.generate()

    def work() -> None:
        assert signature_holds(key, unverified.signed, unverified.signature)
        assert signing.sign(claims)

    return seconds_each(work)


def indexed_read(path: str, token_id: str) -> float:
    """CPU seconds of one row read by its key."""
    connection = sqlite3.connect(path)
    statement = "SELECT subject, service, expires_at FROM token WHERE token_id = ?"
    found = seconds_each(lambda: connection.execute(statement, (token_id,)).fetchone(), 20_000)
    connection.close()
    return found


async def _answer(scope: Scope, receive: Receive, send: Send) -> None:
    """Read a form and answer 200 with 700 bytes of JSON, and do nothing else."""
    del scope
    while (await receive()).get("more_body"):
        pass
    body = b'{"active":true,"padding":"' + b"x" * 700 + b'"}'
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _serve() -> None:
    listener = listen_on("--listen", "127.0.0.1:0")
    async with serving(bounded_server(_answer, DESK_BOUNDS), listener):
        print(address_of(listener), flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    # `python -m benchmarks.desk.bare`: the bare answer, on the same server, until killed.
    try:
        asyncio.run(_serve())
    except KeyboardInterrupt:
        sys.exit(0)
