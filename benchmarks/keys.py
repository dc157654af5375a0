# SPDX-License-Identifier: Apache-2.0
"""What following the keys of many clusters costs: time until all are trusted, memory, and what hangers do.

Every issuer is fetched over TLS from one endpoint in another process; every tenth accepts and says nothing.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from ipaddress import ip_network
from pathlib import Path

from benchmarks.load import resident_mebibytes
from benchmarks.table import markdown
from testing.keys.authority import Authority
from testing.keys.endpoint import Visit, always, answer, endpoint
from testing.keys.polling import World, issuer, jwks, running
from testing.tokens import Signer
from watchword.operator.keys.addresses import AddressRules

SIZES = (100, 1_000)


def run() -> str:
    """One child for each size; its own figures."""
    rows = []
    authority, signer = Authority(), Signer("bench", "ES256")
    with tempfile.TemporaryDirectory() as folder:
        context = authority.server(Path(folder))
        with (
            endpoint(context, always(answer(jwks(signer)))) as good,
            endpoint(None, Visit.hold) as hanging,
        ):
            for size in SIZES:
                arguments = [json.dumps([size, good.url(), hanging.url(), authority.pem])]
                command = [sys.executable, "-m", "benchmarks.keys", *arguments]
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                rows.append((f"{size:,}", *(f"{each:.1f}" for each in json.loads(done.stdout))))
    head = ("issuers", "seconds until every healthy one is trusted", "MiB before", "MiB after")
    return markdown(head, rows)


async def _follow(size: int, good: str, hanging: str, authority: str) -> list[float]:
    world = World(AddressRules((ip_network("127.0.0.0/8"),)))
    before = resident_mebibytes(os.getpid())
    start = time.perf_counter()
    async with running(world):
        for number in range(size):
            url = hanging if number % 10 == 0 else f"{good}/{number}"
            source = {"discovery": {"jwksURL": url, "caBundle": authority}}
            world.sync.set_issuer(issuer(source, name=f"issuer-{number}"), ())
        healthy = [f"issuer-{number}" for number in range(size) if number % 10]
        while not all(world.sync.keys_of(name).jwks for name in healthy):  # noqa: ASYNC110 - a plain question
            await asyncio.sleep(0.05)
        return [time.perf_counter() - start, before, resident_mebibytes(os.getpid())]


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_follow(*json.loads(sys.argv[1])))))
