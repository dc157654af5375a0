# SPDX-License-Identifier: Apache-2.0
"""`python -m testing.fuzz --seconds 60`: every parser of strangers' bytes, each in a process of its own.

Exits with 1 on a crash or a hang and prints the bytes that cause it as hex; `--replay TARGET HEX` runs them.
"""

import argparse
import importlib.util
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
TARGETS = ("token", "claims", "jwks", "bundle", "manifest", "event", "answer", "http2")
INPUT_SECONDS = 5
MAX_INPUT_BYTES = 16 * 1024
# Start-up and the corpus are not fuzzing; past this, the process itself hangs.
GRACE_SECONDS = 60


def fuzz(target: str, seconds: int) -> bool:
    """Fuzz one target; whether it kept its promise."""
    # Imported late, so that a Python without atheris gets its clear message first.
    from testing.fuzz.corpus import seeds

    with tempfile.TemporaryDirectory(prefix="watchword-fuzz-") as folder:
        corpus, artifacts = Path(folder, "corpus"), Path(folder, "artifacts")
        corpus.mkdir()
        artifacts.mkdir()
        for number, seed in enumerate(seeds(target)):
            Path(corpus, f"seed-{number}").write_bytes(seed)
        command = [
            *(sys.executable, "-m", "testing.fuzz.one", target, str(corpus)),
            *(f"-max_total_time={seconds}", f"-timeout={INPUT_SECONDS}", f"-max_len={MAX_INPUT_BYTES}"),
            *(f"-artifact_prefix={artifacts}/", "-print_final_stats=1", "-rss_limit_mb=1024"),
        ]
        try:
            done = subprocess.run(
                command,
                check=False,
                cwd=ROOT,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=seconds + GRACE_SECONDS,
            )
            output, failed = done.stdout + done.stderr, done.returncode != 0
        except subprocess.TimeoutExpired:
            output, failed = "the process did not end", True
        executions = re.search(r"stat::number_of_executed_units:\s*(\d+)", output)
        count = int(executions[1]) if executions else 0
        print(
            f"{target:9} {count:9} inputs  {count // max(seconds, 1):7}/s  {'FAILED' if failed else 'ok'}",
            flush=True,
        )
        for artifact in sorted(artifacts.iterdir()):
            print(
                f"  {artifact.name}: python -m testing.fuzz --replay {target} {artifact.read_bytes().hex()}"
            )
        if failed:
            lines = [line for line in output.splitlines() if not line.startswith(("#", "INFO"))]
            print("\n".join(f"  {line}" for line in lines[-40:]))
        return not failed


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m testing.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="in all, shared by the targets (default 60)")
    parser.add_argument("--target", choices=TARGETS, action="append", help="only this one; may be repeated")
    parser.add_argument(
        "--replay", nargs=2, metavar=("TARGET", "HEX"), help="run one input and show what happens"
    )
    arguments = parser.parse_args()
    if importlib.util.find_spec("atheris") is None:
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        print(
            f"fuzzing needs atheris, and there is no atheris for Python {version}; use Python 3.11",
            file=sys.stderr,
        )
        return 2
    if arguments.replay:
        from testing.fuzz.one import target

        target(arguments.replay[0])(bytes.fromhex(arguments.replay[1]))
        return 0
    chosen = arguments.target or TARGETS
    share = max(1, arguments.seconds // len(chosen))
    kept = [fuzz(target, share) for target in chosen]
    return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(main())
