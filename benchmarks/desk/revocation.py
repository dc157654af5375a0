# SPDX-License-Identifier: Apache-2.0
"""`python -m benchmarks.desk.revocation`: from a revocation's 200 to the first refusal at every gate.

On a real API server with an operator, a desk and two gates. Then the same for a workload that is suspended:
its own token and its desk tokens at the same gates.
"""

import argparse
import asyncio
import json
import os
import random
import statistics
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.desk.cluster import PATH, Installation, exchange_of, installed, own_token
from benchmarks.desk.links import Link, authz
from benchmarks.desk.load import post
from benchmarks.table import markdown
from testing.running_desk import NAMESPACE, TARGET_AUDIENCE
from testing.tokens import claims_of

PATIENCE_SECONDS = 60.0


async def minted(desk: Link) -> str:
    """A desk token, as soon as the desk gives one: it may hear later than gates that a workload is back."""
    begun = time.monotonic()
    while True:
        status, body = await desk.ask(post("/oauth2/token", exchange_of(own_token())))
        if status == 200:
            token: str = json.loads(body)["access_token"]
            return token
        assert time.monotonic() - begun < PATIENCE_SECONDS, body
        await asyncio.sleep(0.05)


async def until_answered(gates: Iterable[Link], token: str, status: int) -> list[float]:
    """Ask each gate again and again; returns when each gave this status, on the monotonic clock."""

    async def one(gate: Link) -> float:
        begun = time.monotonic()
        while (await gate.ask(authz(token, PATH)))[0] != status:
            assert time.monotonic() - begun < PATIENCE_SECONDS, f"no {status} within {PATIENCE_SECONDS} s"
            await asyncio.sleep(0.002)
        return time.monotonic()

    return list(await asyncio.gather(*(one(each) for each in gates)))


async def revoked(installation: Installation, times: int) -> list[float]:
    """Seconds from each revocation's answer to the refusal at the last gate."""
    desk = await Link.open(installation.desk_url)
    gates = [await Link.open(each.url) for each in installation.gates]
    chance, seconds = random.Random(1), list[float]()
    for _ in range(times):
        token = await minted(desk)
        await until_answered(gates, token, 200)
        # At any moment of the desk's and the operator's own rhythm.
        await asyncio.sleep(chance.uniform(0, 1.5))
        status, body = await desk.ask(post("/oauth2/revoke", {"token": token}))
        begun = time.monotonic()
        assert status == 200, body
        seconds.append(max(await until_answered(gates, token, 401)) - begun)
    for each in (desk, *gates):
        each.close()
    return seconds


async def suspended(installation: Installation, times: int) -> tuple[list[float], list[float]]:
    """Seconds from each suspension to the last gate's refusal of the own token, and of the desk token."""
    desk = await Link.open(installation.desk_url)
    first = [await Link.open(each.url) for each in installation.gates]
    second = [await Link.open(each.url) for each in installation.gates]
    audience = claims_of(await minted(desk))["aud"]
    assert audience.rpartition("/")[2] == TARGET_AUDIENCE.rpartition("/")[2]
    own, of_desk = list[float](), list[float]()
    for number in range(times):
        tokens = (own_token(aud=[audience]), await minted(desk))
        for links, token in zip((first, second), tokens, strict=True):
            await until_answered(links, token, 200)
        await asyncio.sleep(0.3 + (number % 10) * 0.05)
        begun = time.monotonic()
        await asyncio.to_thread(
            lambda: installation.spec("trustedworkloads", NAMESPACE, "atlas", suspend=True)
        )
        ends = await asyncio.gather(
            *(until_answered(links, token, 403) for links, token in zip((first, second), tokens, strict=True))
        )
        own.append(max(ends[0]) - begun)
        of_desk.append(max(ends[1]) - begun)
        await asyncio.to_thread(
            lambda: installation.spec("trustedworkloads", NAMESPACE, "atlas", suspend=False)
        )
        await until_answered(first, own_token(aud=[audience]), 200)
        await asyncio.sleep(0.5)
    return own, of_desk


def row(what: str, seconds: Sequence[float]) -> tuple[str, ...]:
    """A row of the table."""
    cuts = statistics.quantiles(seconds, n=100, method="inclusive")
    return what, str(len(seconds)), *(f"{each * 1000:,.0f}" for each in (cuts[49], cuts[98], max(seconds)))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.desk.revocation", description=__doc__)
    parser.add_argument("--revocations", type=int, default=100)
    parser.add_argument("--suspensions", type=int, default=20)
    options = parser.parse_args()
    print(f"load average before: {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as name, installed(Path(name)) as installation:
        taken_back = asyncio.run(revoked(installation, options.revocations))
        own, of_desk = asyncio.run(suspended(installation, options.suspensions))
    rows = [
        row("a desk token revoked at the desk", taken_back),
        row("a workload suspended: its own token", own),
        row("a workload suspended: its desk tokens", of_desk),
    ]
    print(markdown(("until every gate refuses", "times", "p50 ms", "p99 ms", "slowest ms"), rows))


if __name__ == "__main__":
    main()
