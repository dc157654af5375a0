# SPDX-License-Identifier: Apache-2.0
"""A load from one thread, and what it cost the server in CPU seconds.

CPU time of the server's process is steadier than requests a second where cores are shared: it does not count
the time in which someone else had the core. Sixteen connections, one request in flight on each.
"""

import os
import selectors
import socket
from collections.abc import Sequence
from pathlib import Path

CONNECTIONS = 16
_TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """User and system CPU seconds of a process so far (proc(5), /proc/PID/stat)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def resident_mebibytes(pid: int) -> float:
    """Resident memory of a process in MiB (proc(5), /proc/PID/status)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise LookupError(f"process {pid} has no VmRSS")


def request(token: bytes, path: str = "/authz") -> bytes:
    """One HTTP request with a Bearer token."""
    return b"GET %s HTTP/1.1\r\nhost: gate\r\nauthorization: Bearer %s\r\n\r\n" % (path.encode(), token)


def send_all(port: int, requests: Sequence[bytes], expected_status: bytes) -> None:
    """Send every request once and read its answer; raises when one answer has another status."""
    waiting = iter(requests)
    left = len(requests)
    with selectors.DefaultSelector() as selector:
        for _ in range(min(CONNECTIONS, left)):
            connection = socket.create_connection(("127.0.0.1", port))
            connection.sendall(next(waiting))
            selector.register(connection, selectors.EVENT_READ, bytearray())
        while left:
            for event, _ in selector.select(timeout=30):
                connection, buffer = event.fileobj, event.data
                assert isinstance(connection, socket.socket)
                buffer += connection.recv(65536)
                if not _is_whole(buffer):
                    continue
                if buffer[9:12] != expected_status:
                    raise RuntimeError(f"expected {expected_status!r}, got {bytes(buffer[:300])!r}")
                buffer.clear()
                left -= 1
                following = next(waiting, None)
                if following is None:
                    selector.unregister(connection)
                    connection.close()
                else:
                    connection.sendall(following)


def _is_whole(buffer: bytearray) -> bool:
    head, end, body = buffer.partition(b"\r\n\r\n")
    if not end:
        return False
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return len(body) >= int(line[15:])
    return True
