# SPDX-License-Identifier: Apache-2.0
"""`python -m benchmarks.instructions [--before CHECKOUT]`: instructions of the gate for one request, counted.

A count is the same next to other work, so a percent can be told here where a timing cannot. It is taken by
valgrind's callgrind, as the difference of a long and a short run: the start counts for nothing. OpenSSL finds
no vector instructions there and needs more of the others, for both sides alike. `passed on` is a known
caller's request that a gate with an app behind it passes on; the other kinds are decided at `/authz`.
"""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import cast

from benchmarks.gateprocess import bare_responder, free_port, is_ready, objects
from benchmarks.load import request, send_all
from benchmarks.table import markdown
from testing.controlplane.process import wait_until
from testing.tokens import Signer, token

KINDS = {"warm": b"200", "cold": b"200", "hostile": b"401", "passed on": b"200"}
_PASSED_ON, _PATH = "passed on", "/app"
# The first tokens are known ones: what a gate learns of its callers' requests, it has learned by then.
_LEARNED = 40
_SHORT, _LONG = 500, 2500
_HERE = Path(__file__).resolve().parents[1]


def main() -> None:
    """Count, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.instructions", description=__doc__)
    parser.add_argument("--before", type=Path, metavar="CHECKOUT", help="another checkout to compare with")
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS), help="only these")
    options = parser.parse_args()
    before: Path | None = options.before
    signer = Signer("bench")
    rows = []
    for kind in options.kinds:
        now = _per_request(_HERE, kind, signer)
        row = [kind, f"{now:,.0f}"]
        if before is not None:
            earlier = _per_request(before.resolve(), kind, signer)
            row += [f"{earlier:,.0f}", f"{now / earlier:.3f}"]
        rows.append(tuple(row))
    head = ("what", "instructions a request")
    print(markdown((*head, "before", "ratio") if before is not None else head, rows))


def _per_request(checkout: Path, kind: str, signer: Signer) -> float:
    short, long = (_instructions(checkout, kind, signer, number) for number in (_SHORT, _LONG))
    return (long - short) / (_LONG - _SHORT)


def _instructions(checkout: Path, kind: str, signer: Signer, number: int) -> int:
    """All that a gate of a checkout takes from its start to its end, with so many requests between."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "PYTHONPATH": str(checkout / "src"), "PYTHONHASHSEED": "0"}
        watchword = [sys.executable, "-m", "watchword.cli.main"]
        path = Path(folder, "bundle.json")
        path.write_bytes(_compiled(watchword, environment, Path(folder), signer))
        port, ops_port = free_port(), free_port()
        command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={folder}/counts"]
        command += [*watchword, "sidecar", "--bundle", str(path)]
        command += ["--listen", f"127.0.0.1:{port}", "--ops-listen", f"127.0.0.1:{ops_port}"]
        command += ["--usage-dsn", f"sqlite:///{folder}/usage.db", "--audit", "off"]
        target = "/authz"
        with ExitStack() as stack:
            if kind == _PASSED_ON:
                target = _PATH
                _, app_port = stack.enter_context(bare_responder())
                command += ["--upstream", f"http://127.0.0.1:{app_port}"]
            gate = stack.enter_context(
                subprocess.Popen(
                    command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
                )
            )
            stack.callback(gate.kill)
            wait_until(lambda: is_ready(ops_port), what="a gate that is ready", timeout_seconds=120)
            send_all(port, _requests("cold", signer, _LEARNED, "known", target), KINDS["cold"])
            send_all(port, _requests(kind, signer, number, "next", target), KINDS[kind])
            gate.send_signal(signal.SIGTERM)
            said = gate.communicate(timeout=300)[1]
    found = re.search(r"Collected : (\d+)", said)
    if found is None:
        raise RuntimeError(f"valgrind counted nothing: {said[-400:]}")
    return int(found[1])


def _compiled(watchword: list[str], environment: dict[str, str], folder: Path, signer: Signer) -> bytes:
    """The bundle as the checkout itself makes it: an earlier release reads an earlier form."""
    (folder / "made").mkdir()
    for number, each in enumerate(objects(signer)):
        if each["kind"] == "ProtectedService":
            route = {"path": _PATH, "methods": ["GET"], "scope": "account:usage:read"}
            each["spec"] = {**cast("dict[str, object]", each["spec"]), "routes": [route]}
        (folder / "made" / f"{number}.json").write_text(json.dumps(each))
    command = [*watchword, "compile", str(folder / "made"), "-o", "bundle"]
    return subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE).stdout


def _requests(kind: str, signer: Signer, number: int, name: str, target: str) -> list[bytes]:
    now = int(time.time())
    good = [
        token(signer, iat=now, nbf=now, exp=now + 36_000, jti=f"{name}-{each:06d}") for each in range(number)
    ]
    if kind in {"warm", _PASSED_ON}:
        good = good[:1] * number
    if kind == "hostile":
        good = [
            a[: a.rindex(b".")] + b[b.rindex(b".") :] for a, b in zip(good, good[1:] + good[:1], strict=True)
        ]
    return [request(each, target) for each in good]


if __name__ == "__main__":
    main()
