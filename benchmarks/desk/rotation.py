# SPDX-License-Identifier: Apache-2.0
"""`python -m benchmarks.desk.rotation [TOKENS]`: exchanges as fast as they go while the desk's key changes.

A real desk on a folder. Each token is judged at once as a gate with the bundle of that moment judges it; one
that is refused, by the desk or by the gate, is wrong. Prints how many there were of each key, and the rate.
"""

import asyncio
import os
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import httpx

from testing.desk_process import DeskProcess
from testing.running_desk import exchange_form
from watchword.desk.configuration import KeyRecord
from watchword.desk.minting import SigningKey
from watchword.identity import Identity, Policy, verify
from watchword.identity.compact import UnverifiedToken, parse_compact
from watchword.trust import load

COUNT = int(sys.argv[1]) if len(sys.argv) > 1 else 60_000
CALLERS = 16


class Rotation:
    """A desk, the policy of a gate next to it, and what came of each exchange."""

    def __init__(self, desk: DeskProcess) -> None:
        self.desk = desk
        self.policy: Policy
        self.kids: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.publish()

    def publish(self) -> None:
        """Write the keys and the bundles of now, and let the gate have them."""
        self.desk.write()
        # A key of a folder signs some minutes after its file was made: here at once, the newest first.
        made = time.time() - 7200
        for place, path in enumerate(sorted((self.desk.folder / "config" / "keys").iterdir())):
            os.utime(path, (made + place, made + place))
        self.policy = load(self.desk.source.bundles[0]).policy

    def rotate(self) -> None:
        """Make a key that signs from now on; the one before stays in the bundles."""
        self.desk.source.keys.insert(0, KeyRecord(SigningKey.generate()))
        self.publish()

    async def exchange(self, client: httpx.AsyncClient, form: dict[str, str]) -> None:
        """Exchange, and judge the token."""
        answer = await client.post("/oauth2/token", data=form)
        if answer.status_code != 200:
            self.wrong.append(answer.text)
            return
        token = answer.json()["access_token"].encode()
        parsed = parse_compact(token)
        assert isinstance(parsed, UnverifiedToken)
        self.kids[str(parsed.header["kid"])] += 1
        decision = verify(token, self.policy, time.time())
        if not isinstance(decision, Identity):
            self.wrong.append(f"{decision}")


async def run(rotation: Rotation, url: str) -> float:
    """All exchanges, with a new key after each third; returns the seconds that they took."""
    forms = [exchange_form() for _ in range(200)]
    left = iter(range(COUNT))
    changes = {COUNT // 3, 2 * COUNT // 3}

    async def one(client: httpx.AsyncClient) -> None:
        for number in left:
            if number in changes:
                rotation.rotate()
            await rotation.exchange(client, forms[number % len(forms)])

    begun = time.monotonic()
    async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=60) as client:
        await asyncio.gather(*(one(client) for _ in range(CALLERS)))
        # Until the desk has seen the last one.
        newest = rotation.desk.source.keys[0].key.kid
        deadline = time.monotonic() + 60
        while not rotation.kids[newest] and time.monotonic() < deadline:
            await rotation.exchange(client, forms[0])
    return time.monotonic() - begun


def main() -> int:
    """Rotate twice under load, and say what was refused."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        desk = DeskProcess(folder, f"sqlite:///{folder / 'desk.db'}")
        rotation = Rotation(desk)
        url = desk.start()
        try:
            seconds = asyncio.run(run(rotation, url))
        finally:
            desk.stop()
    made = len(desk.source.keys)
    print(f"{rotation.kids.total()} exchanges, {rotation.kids.total() / seconds:.0f} a second")
    print(f"{len(rotation.kids)} of {made} keys signed: {sorted(rotation.kids.values())}")
    print(f"{len(rotation.wrong)} refused wrongly {rotation.wrong[:3]}")
    return 0 if not rotation.wrong and len(rotation.kids) == made else 1


if __name__ == "__main__":
    sys.exit(main())
