# SPDX-License-Identifier: Apache-2.0
"""What the gate weighs: memory at 1 and at 10,000 workloads, and the time from start to ready."""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.gateprocess import bundle, gate
from benchmarks.load import request, resident_mebibytes, send_all
from benchmarks.table import markdown
from testing.tokens import Signer, token

STARTS = 7


def run() -> str:
    """Medians over several starts; an empty Python next to them, as what no one can go below."""
    signer = Signer("bench")
    now = int(time.time())
    calls = [request(token(signer, iat=now, nbf=now, exp=now + 3600, jti=str(n))) for n in range(2_000)]
    rows = []
    for workloads in (1, 10_000):
        document = bundle(signer, workloads)
        resident, after, seconds, python = [], [], [], []
        for _ in range(STARTS):
            python.append(_empty_python())
            with tempfile.TemporaryDirectory() as folder, gate(Path(folder), document) as (pid, port, ready):
                seconds.append(ready)
                resident.append(resident_mebibytes(pid))
                send_all(port, calls, b"200")
                after.append(resident_mebibytes(pid))
        ratio = statistics.median(ours / empty for ours, empty in zip(seconds, python, strict=True))
        figures = (statistics.median(each) for each in (resident, after, seconds))
        rows.append((f"{workloads:,}", *(f"{figure:.2f}" for figure in figures), f"{ratio:.1f}"))
    head = (
        "workloads",
        "MiB when ready",
        "MiB after 2,000 tokens",
        "seconds to ready",
        "ratio to an empty Python",
    )
    return markdown(head, rows)


def _empty_python() -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", "pass"], check=True)
    return time.perf_counter() - start
