# SPDX-License-Identifier: Apache-2.0
"""What the gate weighs in the end: after a million requests of known callers, and after a million new tokens.

10,000 workloads, and tokens by ES256, of which a million are signed in a minute. By hand: about six minutes.
"""

import json
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.gateprocess import bundle, gate
from benchmarks.load import resident_mebibytes
from benchmarks.peers.measure import build_load
from benchmarks.peers.tokens import write_requests
from benchmarks.table import markdown
from testing.tokens import Signer, token

WORKLOADS, MILLION, CHUNK = 10_000, 1_000_000, 20_000


def run() -> str:
    """MiB when ready, and after each million."""
    signer = Signer("bench", "ES256")
    now = int(time.time())

    def fresh(first: int) -> list[bytes]:
        numbers = range(first, first + CHUNK)
        return [token(signer, iat=now, nbf=now, exp=now + 36_000, jti=f"{n:036d}") for n in numbers]

    with (
        tempfile.TemporaryDirectory() as name,
        gate(Path(name), bundle(signer, WORKLOADS)) as (pid, port, _),
    ):
        folder = Path(name)
        program = build_load(folder)
        rows = [("when ready", resident_mebibytes(pid), resident_mebibytes(pid))]
        known = fresh(0)[:10_000] * (CHUNK // 10_000)
        streams: dict[str, Iterator[list[bytes]]] = {
            "a million requests of 10,000 tokens": (known for _ in range(MILLION // CHUNK)),
            "a million tokens, each once": (fresh(first) for first in range(CHUNK, CHUNK + MILLION, CHUNK)),
        }
        for what, stream in streams.items():
            most = 0.0
            for tokens in stream:
                files = write_requests(folder, tokens, "/authz")
                command = [str(program), "127.0.0.1", str(port), "32", "0", "300", *map(str, files)]
                done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=400)
                said = json.loads(done.stdout)
                assert said["statuses"] == {"200": CHUNK}, said
                most = max(most, resident_mebibytes(pid))
            rows.append((what, resident_mebibytes(pid), most))
    return markdown(("", "MiB", "MiB at most"), [(what, f"{a:.1f}", f"{b:.1f}") for what, a, b in rows])
