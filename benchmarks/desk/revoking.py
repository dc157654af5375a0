# SPDX-License-Identifier: Apache-2.0
"""`python -m benchmarks.desk.revoking [--seconds 600]`: one workload mints and revokes as fast as it can.

On a real API server with an operator, a desk and two gates. What must not grow or be emptied by it is looked
at each ten seconds: the bundle, the list of revocations, and what gates remember of another workload.
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.desk.cluster import PATH, Installation, exchange_of, installed, own_token
from benchmarks.desk.links import Link, authz
from benchmarks.desk.load import post
from benchmarks.load import resident_mebibytes
from testing.running_desk import ISSUER, NAMESPACE, SERVICE, account_token, workload_object
from watchword.trust.desk_revocations import MAX_TOKENS_OF_SUBJECT, read_service_document

LOOK_SECONDS = 10.0
CALLERS = 4


class Revoking:
    """The loop, and what is seen meanwhile."""

    def __init__(self, installation: Installation) -> None:
        self.installation = installation
        self.revoked = 0
        self.is_over = False
        self.wrong: list[str] = []
        self.rows: list[tuple[Any, ...]] = []

    async def loop(self) -> None:
        """Mint and revoke until it is over."""
        desk = await Link.open(self.installation.desk_url)
        requests = [post("/oauth2/token", exchange_of(own_token())) for _ in range(20)]
        number = 0
        while not self.is_over:
            number += 1
            status, body = await desk.ask(requests[number % len(requests)])
            if status != 200:
                self.wrong.append(f"exchange: {status} {body[:200]!r}")
                continue
            token = _token(body)
            status, body = await desk.ask(post("/oauth2/revoke", {"token": token}))
            if status != 200:
                self.wrong.append(f"revoke: {status} {body[:200]!r}")
            self.revoked += 1
        desk.close()

    async def watch(self, seconds: float) -> None:
        """Look each ten seconds; each look asks every gate about another workload's token twice."""
        begun = time.monotonic()
        bundle = await asyncio.to_thread(self._config_map, f"watchword-bundle-{SERVICE}")
        gates = [await Link.open(each.url) for each in self.installation.gates]
        subject = exchange_of(account_token("atlas-production", "beta", ISSUER))
        other = await self._minted(subject)
        for each in gates:
            assert (await each.ask(authz(other, PATH)))[0] == 200
        made_at = time.monotonic()
        while time.monotonic() - begun < seconds:
            await asyncio.sleep(LOOK_SECONDS)
            if time.monotonic() - made_at > 400:
                # Before it ends.
                other, made_at = await self._minted(subject), time.monotonic()
                for each in gates:
                    assert (await each.ask(authz(other, PATH)))[0] == 200
            before = [await asyncio.to_thread(self._hits, place) for place in range(len(gates))]
            for each in gates:
                if (await each.ask(authz(other, PATH)))[0] != 200:
                    self.wrong.append("a gate refused another workload's token")
            after = [await asyncio.to_thread(self._hits, place) for place in range(len(gates))]
            if [now - then for now, then in zip(after, before, strict=True)] != [1.0] * len(gates):
                self.wrong.append(f"a gate had forgotten a token: {before} {after}")
            now = await asyncio.to_thread(self._config_map, f"watchword-bundle-{SERVICE}")
            if now["metadata"]["resourceVersion"] != bundle["metadata"]["resourceVersion"]:
                self.wrong.append("the bundle was written again")
            listed = await asyncio.to_thread(self._config_map, f"watchword-revocations-{SERVICE}")
            entry = listed["data"]["revocations.json"]
            revocations = read_service_document(entry.encode()).revocations
            size = len(revocations.tokens) + len(revocations.subjects)
            if size > MAX_TOKENS_OF_SUBJECT + 1:
                self.wrong.append(f"the list has {size} entries")
            self.rows.append((round(time.monotonic() - begun), self.revoked, size, len(entry)))
        self.is_over = True
        for each in gates:
            each.close()

    async def _minted(self, form: dict[str, str]) -> str:
        # On a connection of its own: a kept one is closed in the minutes between.
        desk = await Link.open(self.installation.desk_url)
        status, body = await desk.ask(post("/oauth2/token", form))
        desk.close()
        assert status == 200, body
        return _token(body)

    def _config_map(self, name: str) -> dict[str, Any]:
        return self.installation.cluster.request("GET", f"/api/v1/namespaces/{NAMESPACE}/configmaps/{name}")

    def _hits(self, place: int) -> float:
        return self.installation.gates[place].metric("watchword_cache_lookups_total", result="hit")


def _token(body: bytes) -> str:
    token: str = json.loads(body)["access_token"]
    return token


async def run(revoking: Revoking, seconds: float) -> None:
    """All of it."""
    await asyncio.gather(revoking.watch(seconds), *(revoking.loop() for _ in range(CALLERS)))


def main() -> int:
    """Run, print, and say what was wrong."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.desk.revoking", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0, help="how long (600)")
    options = parser.parse_args()
    print(f"load average before: {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as name, installed(Path(name)) as installation:
        installation.cluster.apply(workload_object("beta", "beta"))
        time.sleep(5)
        revoking = Revoking(installation)
        pids = [each.pid for each in installation.gates]
        before = [resident_mebibytes(pid) for pid in (installation.desk_pid, *pids)]
        asyncio.run(run(revoking, options.seconds))
        after = [resident_mebibytes(pid) for pid in (installation.desk_pid, *pids)]
    for row in revoking.rows[:: max(1, len(revoking.rows) // 10)]:
        print("after {} s: {} revoked, {} entries of {} bytes in the list".format(*row))
    resident = [f"{was:.0f} to {now:.0f}" for was, now in zip(before, after, strict=True)]
    print(f"MiB of the desk and of each gate: {', '.join(resident)}")
    print(f"{revoking.revoked} minted and revoked; {len(revoking.wrong)} wrong", revoking.wrong[:3])
    return 1 if revoking.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
