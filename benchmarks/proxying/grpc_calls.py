# SPDX-License-Identifier: Apache-2.0
"""Unary gRPC calls by h2load, to each proxy in turn: one more kind of load in the rounds of `measure`.

h2load sends the same fields with each call, so all are of one known caller; it does not read a call's status.
A refusal has no message, so the bytes of messages that came say whether each call was answered by the app.
"""

import re
import shutil
import subprocess
from pathlib import Path

from benchmarks.peers.measure import LOAD_CORE
from benchmarks.peers.process import on_core
from testing.grpc_server import CHECK, SERVICE

GRPC = "gRPC calls"
CALLS = 6_000
# So many calls under way as `measure` has requests, and a few more for what HTTP/2 is for.
CONNECTIONS, STREAMS = 4, 8
_SECONDS = 180
# `HealthCheckResponse{status: SERVING}` behind a prefix of five bytes.
_ANSWER_BYTES = 5 + 2


def is_here() -> bool:
    """Whether h2load is installed."""
    return shutil.which("h2load") is not None


def question() -> bytes:
    """`HealthCheckRequest{service}` in a gRPC message: not compressed, its length, and it."""
    message = b"\x0a" + bytes([len(SERVICE)]) + SERVICE.encode()
    return b"\0" + len(message).to_bytes(4) + message


def run_calls(port: int, token: bytes, folder: Path, calls: int = CALLS) -> float:
    """Make calls as fast as they are answered; how many a second.

    Args:
        port: of the proxy, on loopback.
        token: of the caller.
        folder: for the message.
        calls: how many.

    Raises:
        RuntimeError: a call was not answered by the app.
    """
    body = folder / "question"
    body.write_bytes(question())
    fields = ["content-type: application/grpc", "te: trailers", f"authorization: Bearer {token.decode()}"]
    command = ["h2load", "-n", str(calls), "-c", str(CONNECTIONS), "-m", str(STREAMS), "-d", str(body)]
    command += [word for each in fields for word in ("-H", each)]
    with on_core(LOAD_CORE):
        done = subprocess.run(
            [*command, f"http://127.0.0.1:{port}{CHECK}"],
            check=False,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
        )
    said = done.stdout
    rate = re.search(r"^finished in .*?, ([0-9.]+) req/s", said, re.MULTILINE)
    messages = re.search(r"\((\d+)\) data$", said, re.MULTILINE)
    is_answered = f"{calls} succeeded, 0 failed" in said and f"status codes: {calls} 2xx" in said
    if rate is None or messages is None or not is_answered or int(messages[1]) != calls * _ANSWER_BYTES:
        raise RuntimeError(f"port {port} did not answer {calls} calls: {said}{done.stderr}")
    return float(rate[1])
