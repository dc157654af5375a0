# SPDX-License-Identifier: Apache-2.0
"""`python -m benchmarks.peers`: the gate next to its peers, on this machine, in about ten minutes.

Needs two cores, a C compiler for the load program, and nginx; Envoy comes with `make setup`.
"""

import argparse
import platform
import tempfile
from pathlib import Path

from benchmarks.peers.contestants import contestants
from benchmarks.peers.measure import Measurement
from benchmarks.peers.report import chart, tables, write_docs
from benchmarks.peers.tokens import KINDS, World

_PAGE = Path(__file__).parents[2] / "docs" / "performance.md"


def main() -> None:
    """Measure, print, and write the page if asked to."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument("--bin", type=Path, metavar="DIR", help="folder with other binaries: oauth2-proxy")
    parser.add_argument("--rounds", type=int, default=7, help="turns at full speed (7)")
    parser.add_argument("--latency-rounds", type=int, default=3, help="turns at a fixed rate (3)")
    parser.add_argument("--only", help="only contestants whose name holds this text")
    parser.add_argument("--write-docs", action="store_true", help="write the tables into docs/performance.md")
    options = parser.parse_args()
    takes_part = [each for each in contestants(options.bin) if (options.only or "") in each.name]
    print("making tokens", flush=True)
    world = World()
    with tempfile.TemporaryDirectory() as folder:
        measurement = Measurement(takes_part, world, Path(folder))
        figures = measurement.run(options.rounds, options.latency_rounds)
    rates = {kind: measurement.fixed_rate(kind) for kind in KINDS}
    python = f"Python {platform.python_version()}, {platform.machine()}."
    text = f"{python}\n\n{tables(figures, rates, options.rounds)}"
    print(text)
    if options.write_docs:
        write_docs(_PAGE, text, chart(figures))


if __name__ == "__main__":
    main()
