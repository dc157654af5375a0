# SPDX-License-Identifier: Apache-2.0
"""`python -m benchmarks.desk`: the desk next to bare work and to Keycloak, in about eight minutes.

Needs two cores, a C compiler for the load program, and Java with Maven for Keycloak.
"""

import argparse
import platform
import tempfile
from pathlib import Path

from benchmarks.desk.growth import growth
from benchmarks.desk.measure import load_average, measure
from benchmarks.desk.report import tables, write_docs

_PAGE = Path(__file__).parents[2] / "docs" / "performance.md"


def main() -> None:
    """Measure, print, and write the page if asked to."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.desk", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="turns of each kind of work (5)")
    parser.add_argument("--count", type=int, default=4096, help="requests in each turn (4096)")
    parser.add_argument("--without-keycloak", action="store_true", help="leave it out")
    parser.add_argument("--write-docs", action="store_true", help="write the tables into docs/performance.md")
    options = parser.parse_args()
    before = load_average()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        figures = measure(
            folder, rounds=options.rounds, count=options.count, with_keycloak=not options.without_keycloak
        )
        grown = growth(folder)
    machine = f"Python {platform.python_version()}, {platform.machine()}."
    text = f"{machine}\n\n{tables(figures, grown)}"
    print(f"load average before: {before}; after: {load_average()}")
    print(text)
    if options.write_docs:
        write_docs(_PAGE, text)


if __name__ == "__main__":
    main()
