# SPDX-License-Identifier: Apache-2.0
"""Forms as requests, and a load that sends them from another core: what is measured is the other side."""

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from benchmarks.peers.measure import run_load
from testing.running_desk import CLIENT_ASSERTION, account_token, exchange_form

CONNECTIONS = 32
# More than the desk remembers of tokens that it proved, so that in turn each is new to it.
FRESH = 4096
REPEATED = 200


def post(path: str, form: Mapping[str, str], authorization: str = "") -> bytes:
    """A POST of a form as bytes."""
    body = urlencode(form).encode()
    more = f"Authorization: {authorization}\r\n" if authorization else ""
    return (
        f"POST {path} HTTP/1.1\r\nHost: desk\r\nContent-Type: application/x-www-form-urlencoded\r\n"
        f"{more}Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body


def exchanges(number: int) -> list[bytes]:
    """Exchange requests of so many subject tokens."""
    return [post("/oauth2/token", exchange_form()) for _ in range(number)]


def introspections(tokens: Sequence[str]) -> list[bytes]:
    """Introspection requests of these tokens by one client."""
    form = {"client_assertion": account_token("caches", "cache"), "client_assertion_type": CLIENT_ASSERTION}
    return [post("/oauth2/introspect", form | {"token": each}) for each in tokens]


def send(program: Path, folder: Path, port: int, requests: Sequence[bytes], count: int) -> dict[str, Any]:
    """Send `count` requests in turn as fast as they are answered; each answer must be a 200.

    Returns:
        What the load program says: requests, seconds, and latencies in microseconds.
    """
    sent, order = folder / "requests", folder / "order"
    sent.write_bytes(b"".join(struct.pack("<I", len(each)) + each for each in requests))
    order.write_bytes(struct.pack(f"<{count}I", *(place % len(requests) for place in range(count))))
    said = run_load(program, port, CONNECTIONS, 0, (sent, order))
    if said["statuses"] != {"200": count}:
        raise RuntimeError(f"port {port}: {said}")
    return said
