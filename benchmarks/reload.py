# SPDX-License-Identifier: Apache-2.0
"""What a request feels of a new bundle of 10,000 workloads: latencies with and without reloads, in turns.

Requests are due at a fixed rate whether or not the last ones were answered (see peers/load.c): a stall is
seen by every request that it held up.
"""

import json
import statistics
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import msgspec

from benchmarks.gateprocess import bundle, gate
from benchmarks.peers.measure import build_load
from benchmarks.peers.tokens import write_requests
from benchmarks.table import markdown
from testing.tokens import Signer, token
from watchword.trust import Bundle, decode_bundle, encode_bundle, seal

WORKLOADS, RATE, SECONDS, ROUNDS, RELOADS = 10_000, 2_000, 4.0, 5, 6


def run() -> str:
    """Medians over the rounds of p99, p99.9 and the worst, in milliseconds."""
    signer = Signer("bench")
    now = int(time.time())
    given = token(signer, iat=now, nbf=now, exp=now + 3600)
    first = decode_bundle(bundle(signer, WORKLOADS))
    found: dict[str, list[list[float]]] = {"without reloads": [], "with reloads": []}
    with tempfile.TemporaryDirectory() as name, gate(Path(name), encode_bundle(first)) as (_, port, _ready):
        folder = Path(name)
        command = [str(build_load(folder)), "127.0.0.1", str(port), "8", str(RATE), "60"]
        files = write_requests(folder, [given] * int(RATE * SECONDS), "/authz")
        generation = 1
        for _ in range(ROUNDS):
            for kind, latencies in found.items():
                if kind == "with reloads":
                    # Another audience each time: a bundle that says the same would not be made ready again.
                    documents = [_changed(first, generation + place) for place in range(1, RELOADS + 1)]
                    generation += RELOADS
                    threading.Thread(target=_replace, args=(folder / "bundle.json", documents)).start()
                done = subprocess.run(
                    [*command, *map(str, files)], check=True, capture_output=True, text=True, timeout=120
                )
                said = json.loads(done.stdout)
                assert set(said["statuses"]) == {"200"}, said
                latencies.append([said[each] / 1000 for each in ("p99", "p999", "most")])
    rows = [
        (kind, *(f"{statistics.median(column):.2f}" for column in zip(*rounds, strict=True)))
        for kind, rounds in found.items()
    ]
    return markdown((f"at {RATE:,} requests a second", "p99 ms", "p99.9 ms", "worst ms"), rows)


def _changed(first: Bundle, generation: int) -> bytes:
    changed = msgspec.structs.replace(first, audiences=(*first.audiences, f"other-{generation}"))
    return encode_bundle(seal(changed, generation))


def _replace(path: Path, documents: list[bytes]) -> None:
    for document in documents:
        time.sleep(SECONDS / (len(documents) + 1))
        written = path.with_suffix(".new")
        written.write_bytes(document)
        written.replace(path)
