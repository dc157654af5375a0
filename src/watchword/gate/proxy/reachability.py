# SPDX-License-Identifier: Apache-2.0
"""Whether the app behind the gate accepts connections.

An app on loopback cannot be probed from outside of its pod, so no one but the gate can tell a cluster that it
is not there yet: a pod that is ready without its app answers callers with 502.
"""

import asyncio
import contextlib
from typing import Final

from watchword.gate.proxy.target import UpstreamAddress

CONNECT_SECONDS: Final = 1.0


async def accepts_connections(address: UpstreamAddress) -> bool:
    """Whether a connection to the app can be made within a second; nothing is sent on it."""
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            _, writer = await asyncio.open_connection(address.host, address.port)
    except OSError:  # TimeoutError is one
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True
