# SPDX-License-Identifier: Apache-2.0
"""`python -m docs.generate write|check`: write the generated pages, or fail when one is out of date."""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from docs.generate import commands, metrics, reasons, resources

REFERENCE = Path(__file__).parents[1] / "reference"
PAGES: Mapping[str, Callable[[], str]] = {
    "reasons.md": reasons.page,
    "resources.md": resources.page,
    "cli.md": commands.page,
    "metrics.md": metrics.page,
}


def main() -> int:
    """Write or check; returns the exit code."""
    mode = sys.argv[1] if len(sys.argv) == 2 else ""
    if mode not in {"write", "check"}:
        print("use: python -m docs.generate write|check", file=sys.stderr)
        return 2
    stale = []
    for name, page in PAGES.items():
        path, text = REFERENCE / name, page()
        if mode == "write":
            path.write_text(text)
        elif not path.exists() or path.read_text() != text:
            stale.append(name)
    if stale:
        print(f"out of date: docs/reference/{', '.join(stale)}. Run `make generate`.", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
