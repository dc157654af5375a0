# SPDX-License-Identifier: Apache-2.0
"""`python -m benchmarks.desk.rotation`: a thousand exchanges a second through a key rotation.

On a real API server with an operator, a desk and two gates that follow their bundle. Each token is presented
to both gates at once; one that is refused, by the desk or by a gate, is wrong. The new key signs seconds
after the gates could know it, in place of ten minutes.
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from benchmarks.desk.cluster import DESK, PATH, Installation, exchange_of, installed, own_token
from benchmarks.desk.links import Link, authz
from benchmarks.desk.load import post
from watchword.identity.compact import UnverifiedToken, parse_compact

CALLERS = 48
LEAD_SECONDS = 10.0
_PERIOD_SECONDS = 0.01


class Run:
    """What came of each exchange."""

    def __init__(self, installation: Installation, rate: float) -> None:
        self.installation, self.rate = installation, rate
        self.kids: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.latest = 0.0
        self.is_over = False
        self._due: asyncio.Queue[float] = asyncio.Queue()

    async def pace(self) -> None:
        """Let exchanges begin at the rate, each at its own time whether or not others were answered."""
        loop = asyncio.get_running_loop()
        begun, number = loop.time(), 0
        while not self.is_over:
            while number < (loop.time() - begun) * self.rate:
                self._due.put_nowait(begun + number / self.rate)
                number += 1
            await asyncio.sleep(_PERIOD_SECONDS)
        for _ in range(CALLERS):
            self._due.put_nowait(-1.0)

    async def call(self, requests: list[bytes], place: int) -> None:
        """Exchange, and present the token to every gate."""
        desk = await Link.open(self.installation.desk_url)
        gates = [await Link.open(each.url) for each in self.installation.gates]
        loop = asyncio.get_running_loop()
        while (due := await self._due.get()) >= 0:
            place += 1
            status, body = await desk.ask(requests[place % len(requests)])
            if status != 200:
                self.wrong.append(f"desk: {status} {body[:300]!r}")
                continue
            token = json.loads(body)["access_token"]
            asked = authz(token, PATH)
            for status, body in await asyncio.gather(*(each.ask(asked) for each in gates)):
                if status != 200:
                    self.wrong.append(f"gate: {status} {body[:300]!r}")
            parsed = parse_compact(token.encode())
            assert isinstance(parsed, UnverifiedToken)
            self.kids[str(parsed.header["kid"])] += 1
            self.latest = max(self.latest, loop.time() - due)
        for each in (desk, *gates):
            each.close()


async def rotate(run: Run, seconds: float) -> None:
    """Have a key made at a third of the time, and let it sign soon after."""
    installation = run.installation
    await asyncio.sleep(seconds / 3)
    before = installation.published()
    [secret] = installation.secrets()
    # As if it had signed for a whole rotation, less nine minutes.
    await asyncio.to_thread(installation.signs_from, secret, time.time() - 3600 + 540)
    spec = {"signing": {"rotateSeconds": 3600}}
    await asyncio.to_thread(lambda: installation.spec("tokendesks", *DESK, **spec))
    while not (made := installation.published() - before):  # noqa: ASYNC110 - it sets no event
        await asyncio.sleep(0.05)
    print(f"the bundle has the next key {sorted(made)}", flush=True)
    new = next(
        each for each in installation.secrets() if each["metadata"]["uid"] != secret["metadata"]["uid"]
    )
    await asyncio.to_thread(installation.signs_from, new, time.time() + LEAD_SECONDS)
    await asyncio.sleep(seconds * 2 / 3)
    run.is_over = True


async def work(run: Run, seconds: float) -> float:
    """All of it; returns the seconds that it took."""
    requests = [post("/oauth2/token", exchange_of(own_token())) for _ in range(200)]
    begun = time.monotonic()
    await asyncio.gather(
        rotate(run, seconds),
        run.pace(),
        *(run.call(requests, place * 7) for place in range(CALLERS)),
    )
    return time.monotonic() - begun


def main() -> int:
    """Rotate once under load, and say what was refused."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.desk.rotation", description=__doc__)
    parser.add_argument("--rate", type=float, default=1000.0, help="exchanges a second (1000)")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long (60)")
    options = parser.parse_args()
    print(f"load average before: {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as name, installed(Path(name)) as installation:
        run = Run(installation, options.rate)
        seconds = asyncio.run(work(run, options.seconds))
    total = run.kids.total()
    print(
        f"{total} exchanges in {seconds:.0f} s, {total / seconds:.0f} a second; asked for {options.rate:.0f}"
    )
    print(f"the latest was done {run.latest:.1f} s after it was due")
    print(f"keys that signed: {sorted(run.kids.values())}")
    print(
        f"{len(run.wrong)} refused wrongly by the desk or one of {len(installation.gates)} gates",
        run.wrong[:3],
    )
    return 0 if not run.wrong and len(run.kids) == 2 else 1


if __name__ == "__main__":
    sys.exit(main())
