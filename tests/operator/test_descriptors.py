# SPDX-License-Identifier: Apache-2.0
"""Connections that are reset in the middle of their TLS handshake, as by a server that restarts.

On uvloop each such connection could leave a Python socket that still held the number of a descriptor closed
already, and closed it again later: by then it was another connection of the process. A watch was then deaf,
one connection's bytes went over another, and a deletion was never seen.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from testing.controlplane.certificates import new_authority
from tests.operator.test_connection import kubeconfig
from watchword.kube.kubeconfig import connect

_ATTEMPTS = 400


def reset_each(listener: socket.socket) -> None:
    """Reset each connection as soon as it is there; ends with the listener."""
    with contextlib.suppress(OSError):
        while True:
            connection, _ = listener.accept()
            # Without lingering, closing sends RST and not FIN.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()


@pytest.fixture
def resetting_port() -> Iterator[int]:
    """A port on 127.0.0.1 where every connection is reset."""
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listener:
        thread = threading.Thread(target=reset_each, args=(listener,), name="resets")
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


async def held_after_resets(kubeconfig_path: Path, port: int) -> list[int]:
    """The descriptors that sockets of the operator's session still hold when all of them are closed."""
    made: list[socket.socket] = []

    def keeping(address: Any) -> socket.socket:
        # As aiohappyeyeballs makes them; kept, since one that is forgotten closes what it holds.
        made.append(socket.socket(address[0], address[1], address[2]))
        return made[-1]

    async with connect(str(kubeconfig_path)).session() as session:
        assert isinstance(session.connector, aiohttp.TCPConnector)
        session.connector._socket_factory = keeping
        for _ in range(_ATTEMPTS):
            with pytest.raises(aiohttp.ClientError):
                await session.get(f"https://127.0.0.1:{port}/")
    await asyncio.sleep(0)
    assert len(made) >= _ATTEMPTS
    held = [each.detach() for each in made]
    return [number for number in held if number >= 0]


def test_a_connection_that_is_reset_while_it_is_made_leaves_no_socket_that_closes_anothers_descriptor(
    tmp_path: Path, resetting_port: int
) -> None:
    authority = str(new_authority(tmp_path).path)
    path = kubeconfig(tmp_path, **{"certificate-authority": authority})
    assert asyncio.run(held_after_resets(path, resetting_port)) == []
