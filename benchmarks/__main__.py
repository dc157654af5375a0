# SPDX-License-Identifier: Apache-2.0
"""`python -m benchmarks [NAME ...]`: run the benchmarks and print Markdown tables for docs/performance.md."""

import argparse
import platform
from collections.abc import Callable, Mapping

from benchmarks import authz, endurance, failover, footprint, keys, reload, verification

BENCHMARKS: Mapping[str, Callable[[], str]] = {
    "verification": verification.run,
    "authz": authz.run,
    "footprint": footprint.run,
    "reload": reload.run,
    "keys": keys.run,
    "endurance": endurance.run,
    "failover": failover.run,
}
# Too long for every day.
BY_HAND = {"endurance"}


def main() -> None:
    """Run what was named, or everything."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "names", nargs="*", choices=[*BENCHMARKS, []], metavar="NAME", help=", ".join(BENCHMARKS)
    )
    names = parser.parse_args().names or [name for name in BENCHMARKS if name not in BY_HAND]
    print(f"Python {platform.python_version()}, {platform.machine()}\n")
    for name in names:
        print(f"## {name}\n\n{BENCHMARKS[name]()}\n", flush=True)


if __name__ == "__main__":
    main()
