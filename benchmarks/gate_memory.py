# SPDX-License-Identifier: Apache-2.0
"""What a ready gate with 100 workloads holds in memory, and what importing its parts takes.

`python -m benchmarks.gate_memory` prints both as Markdown. The parts are imported in this order by one fresh
interpreter, so that what two of them share counts for the first.
"""

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from testing.gate_process import issuer, running_gate, service, workload, write_bundle
from testing.tokens import signer

WORKLOADS = 100
PARTS = (
    ("the interpreter", "sys"),
    ("logging, typing", "logging"),
    ("click", "click"),
    ("msgspec", "msgspec"),
    ("asyncio and ssl", "asyncio"),
    ("uvloop", "uvloop"),
    ("cryptography: signatures", "cryptography.hazmat.primitives.asymmetric.ec"),
    ("uvicorn and httptools", "uvicorn"),
    ("starlette", "starlette.applications"),
    ("prometheus_client", "prometheus_client"),
    ("SQLite", "sqlite3"),
    ("the gate itself", "watchword.gate.serve"),
)
_PROGRAM = """
import importlib, re, sys
before = 0
for name in sys.argv[1:]:
    importlib.import_module(name)
    now = int(re.search(r"Rss:\\s+(\\d+)", open("/proc/self/smaps_rollup").read())[1])
    print(name, now - before)
    before = now
"""


def imported() -> Iterator[tuple[str, int]]:
    """Each part with the KiB that importing it added."""
    names = [name for _, name in PARTS]
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, *names], capture_output=True, text=True, check=True
    )
    for (title, _), line in zip(PARTS, done.stdout.splitlines(), strict=True):
        yield title, int(line.split()[1])


def ready(*flags: str) -> dict[str, int]:
    """KiB of a ready gate, by kind of page."""
    with tempfile.TemporaryDirectory() as folder:
        objects = [issuer("production", {"keys": [signer().jwk]}), service()]
        objects += [
            workload(f"w{number}", "production", ("default", f"w{number}")) for number in range(WORKLOADS)
        ]
        bundle = write_bundle(Path(folder) / "bundle.json", *objects)
        with running_gate(bundle, *flags) as gate:
            text = Path(f"/proc/{gate.pid}/smaps_rollup").read_text()
    return {name: int(size) for name, size in re.findall(r"^(\w+):\s+(\d+) kB$", text, re.MULTILINE)}


def main() -> None:
    """Print both tables."""
    print("| imported | MiB |\n|---|---|")
    for title, size in imported():
        print(f"| {title} | {size / 1024:.1f} |")
    print("\n| a ready gate | resident | of it files | its own |\n|---|---|---|---|")
    for title, flags in (("as it is", ()), ("with `--trace-sample-ratio 1`", ("--trace-sample-ratio", "1"))):
        found = ready(*flags)
        whole, files = found["Rss"], found["Shared_Clean"] + found["Private_Clean"]
        print(f"| {title} | {whole / 1024:.0f} | {files / 1024:.0f} | {(whole - files) / 1024:.0f} |")


if __name__ == "__main__":
    main()
