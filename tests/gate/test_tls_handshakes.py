# SPDX-License-Identifier: Apache-2.0
"""Strangers who begin a TLS handshake at a gate and go no further are counted, and keep no one out."""

from __future__ import annotations

import os
import socket
import ssl
import time
from contextlib import ExitStack
from pathlib import Path

from testing.gate_process import running_gate, write_bundle
from testing.manifests import issuer, service, workload
from tests.gate.certificates import certificate, write_pair
from watchword.gate.protocol import BOUNDS
from watchword.process.bounds import TLS_CONNECTION_BYTES

HALF_A_HANDSHAKE = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"a" * 40
STALLED = 900
# New connections may take twice the bound in all (`Bounds.buffered_bytes`).
MOST = 2 * BOUNDS.buffered_bytes // TLS_CONNECTION_BYTES


def sockets_of(process: int) -> int:
    """How many sockets a process has open."""
    found = 0
    for each in Path(f"/proc/{process}/fd").iterdir():
        try:
            found += os.readlink(each).startswith("socket:")
        except FileNotFoundError:
            continue
    return found


def test_stalled_handshakes_are_bounded_and_a_good_caller_is_answered(tmp_path: Path) -> None:
    assert MOST < STALLED < BOUNDS.connections
    pair = [str(each) for each in write_pair(tmp_path, certificate("gate"))]
    bundle = write_bundle(tmp_path / "bundle.json", issuer(), service(), workload())
    with running_gate(bundle, "--tls-cert", pair[0], "--tls-key", pair[1]) as gate, ExitStack() as links:
        host, port = gate.address.rsplit(":", 1)
        before, most = sockets_of(gate.pid), 0
        for _ in range(STALLED):
            link = links.enter_context(socket.create_connection((host, int(port)), 60))
            link.sendall(HALF_A_HANDSHAKE)
            most = max(most, sockets_of(gate.pid))
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        # Behind all of them in the queue of the kernel.
        with context.wrap_socket(socket.create_connection((host, int(port)), 60)) as good:
            good.sendall(b"GET /authz HTTP/1.1\r\nHost: gate\r\nConnection: close\r\n\r\n")
            assert good.recv(4096).startswith(b"HTTP/1.1 401 ")
        most = max(most, sockets_of(gate.pid))
        assert most - before <= MOST + 1
        links.close()
        deadline = time.monotonic() + 60
        while sockets_of(gate.pid) > before:
            assert time.monotonic() < deadline
            time.sleep(0.05)
