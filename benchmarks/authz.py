# SPDX-License-Identifier: Apache-2.0
"""`/authz` per core: CPU time a request next to a bare httptools+uvloop responder, in one interleaved run.

Warm: one token, again and again. Cold: every token new. Hostile: every token new, and its signature broken.
"""

import statistics
import tempfile
import time
from operator import truediv
from pathlib import Path

from benchmarks.gateprocess import bare_responder, bundle, gate
from benchmarks.load import cpu_seconds, request, send_all
from benchmarks.table import markdown
from testing.tokens import Signer, token

ROUNDS, WARM_REQUESTS, COLD_REQUESTS = 5, 20_000, 4_000


def run() -> str:
    """Requests per core-second of the server's CPU, and the ratio to the floor."""
    signer = Signer("bench")
    now = int(time.time())

    def fresh(number: int) -> bytes:
        return token(signer, iat=now, nbf=now, exp=now + 3600, jti=f"token-{number}")

    warm = [request(fresh(0))] * WARM_REQUESTS
    numbers = iter(range(1, 10**9))
    figures: dict[str, list[float]] = {"bare": [], "warm": [], "cold": [], "hostile": []}
    with (
        tempfile.TemporaryDirectory() as folder,
        bare_responder() as (floor_pid, floor_port),
        gate(Path(folder), bundle(signer)) as (pid, port, _),
    ):
        for _ in range(ROUNDS):
            good = [fresh(next(numbers)) for _ in range(COLD_REQUESTS)]
            # The next token's signature is a well-formed one, and wrong here.
            bad = [
                a[: a.rindex(b".")] + b[b.rindex(b".") :]
                for a, b in zip(good, good[1:] + good[:1], strict=True)
            ]
            figures["bare"].append(_rate(floor_pid, floor_port, warm, b"200"))
            figures["warm"].append(_rate(pid, port, warm, b"200"))
            figures["cold"].append(_rate(pid, port, [request(each) for each in good], b"200"))
            figures["hostile"].append(_rate(pid, port, [request(each) for each in bad], b"401"))
    rows = [
        (
            name,
            f"{statistics.median(rates):,.0f}",
            f"{statistics.median(map(truediv, rates, figures['bare'])):.3f}",
        )
        for name, rates in figures.items()
    ]
    return markdown(("what", "requests per core-second", "ratio to the bare responder"), rows)


def _rate(pid: int, port: int, requests: list[bytes], status: bytes) -> float:
    before = cpu_seconds(pid)
    send_all(port, requests, status)
    return len(requests) / max(cpu_seconds(pid) - before, 0.01)
