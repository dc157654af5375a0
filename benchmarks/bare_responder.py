# SPDX-License-Identifier: Apache-2.0
"""The floor: the least that a Python process can do and still answer HTTP.

httptools parses, uvloop moves bytes, and the answer is a constant as long as the gate's. It prints its port.
"""

import asyncio
import sys
from typing import cast

import httptools
import uvloop

_ANSWER = (
    b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\ncache-control: no-store\r\n"
    b"x-watchword-subject: system:serviceaccount:atlas-production:atlas\r\n"
    b"x-watchword-issuer: atlas-production\r\nx-watchword-workload: tuist/atlas\r\n"
    b"x-watchword-scopes: account:usage:read\r\nx-watchword-accounts: *\r\n"
    b"x-watchword-account: \r\nx-watchword-project: \r\n"
    b'x-watchword-grants: [{"scopes":["account:usage:read"],"accounts":["*"]}]\r\n'
    b"x-watchword-decision-id: 0123456789abcdef-1\r\n\r\n"
)


class _Responder(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transport is none of asyncio's classes; it has the same methods.
        self.transport = cast("asyncio.Transport", transport)
        self.parser = httptools.HttpRequestParser(self)

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_message_complete(self) -> None:
        self.transport.write(_ANSWER)


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(_Responder, "127.0.0.1", port)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1]) if len(sys.argv) > 1 else 0))
