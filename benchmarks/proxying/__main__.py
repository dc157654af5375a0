# SPDX-License-Identifier: Apache-2.0
"""`python -m benchmarks.proxying --bin DIR`: the gate with `--upstream` next to other proxies.

DIR holds kube-rbac-proxy and oauth2-proxy; who is not there does not take part. Needs two cores, the
control plane of `make control-plane`, a C compiler for the load program, and nginx as the app; for gRPC, Go
for the app, and h2load, without which that column is left out. Seven minutes.
"""

import argparse
import platform
import tempfile
from pathlib import Path

from benchmarks.peers.measure import SERVER_CORE
from benchmarks.proxying.contestants import contestants
from benchmarks.proxying.measure import Measurement
from benchmarks.proxying.report import tables, write_page
from benchmarks.proxying.world import running_world

_PAGE = Path(__file__).parents[2] / "docs" / "performance-proxying.md"


def main() -> None:
    """Measure, print, and write the page if asked to."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.proxying", description=__doc__)
    parser.add_argument("--bin", type=Path, required=True, metavar="DIR", help="folder with the others")
    parser.add_argument("--rounds", type=int, default=7, help="turns at full speed (7)")
    parser.add_argument("--latency-rounds", type=int, default=9, help="turns at a fixed rate (9)")
    parser.add_argument(
        "--other",
        metavar="PYTHON",
        help="the Python of another installation of the gate, such as an older one",
    )
    parser.add_argument("--only", help="only proxies whose name holds this text, and the app alone")
    parser.add_argument("--write-docs", action="store_true", help=f"write the tables into docs/{_PAGE.name}")
    options = parser.parse_args()
    takes_part = [
        each
        for each in contestants(options.bin, options.other)
        if each.command is None or (options.only or "") in each.name
    ]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with running_world(folder, SERVER_CORE) as world:
            measurement = Measurement(takes_part, world, folder)
            rate = measurement.run(options.rounds, options.latency_rounds)
    machine = f"Python {platform.python_version()}, {platform.machine()}, {options.rounds} rounds."
    text = f"{machine}\n\n{tables(takes_part, measurement.figures, rate)}"
    print(text)
    if options.write_docs:
        write_page(_PAGE, text)


if __name__ == "__main__":
    main()
