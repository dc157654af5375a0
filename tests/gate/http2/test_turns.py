# SPDX-License-Identifier: Apache-2.0
"""A turn of the loop takes little of connections that sent much: one block that is dear to read, at most."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections import Counter

import h2.events
import pytest
from hpack import Encoder
from hpack.exceptions import HPACKDecodingError
from hpack.huffman_table import decode_huffman

from tests.gate.http2.caller import head
from tests.gate.http2.test_broken_answers import CONTINUATION, END_HEADERS, END_STREAM, HEADERS, frame
from watchword.gate.first_bytes import PREFACE
from watchword.gate.http2.host import Http2Host, configuration
from watchword.gate.http2.huffman import expand

CONNECTIONS, BLOCKS = 6, 8
DEAR = b"abc0" * 13_000


def dear_requests(number: int) -> bytes:
    """Requests whose blocks are 34 KB of Huffman codes each."""
    sent = PREFACE + frame(4, 0, 0, b"")
    for each in range(number):
        block = Encoder().encode(head(b"GET", b"/x", (b"x-v", DEAR)))
        parts = [block[at : at + 16_000] for at in range(0, len(block), 16_000)]
        for part in parts:
            kind = HEADERS if part is parts[0] else CONTINUATION
            flags = (END_STREAM if part is parts[0] else 0) | (END_HEADERS if part is parts[-1] else 0)
            sent += frame(kind, flags, 1 + 2 * each, part)
    return sent


def test_one_dear_block_of_all_connections_is_read_in_a_turn_of_the_loop() -> None:
    async def run() -> tuple[Counter[int], Counter[int]]:
        loop = asyncio.get_running_loop()
        turn, begun, done = 0, Counter[int](), asyncio.Event()
        by_connection = Counter[int]()

        def count() -> None:
            nonlocal turn
            turn += 1
            if not done.is_set():
                loop.call_soon(count)

        class Host(Http2Host):
            def on_event(self, event: h2.events.Event) -> None:
                if isinstance(event, h2.events.RequestReceived):
                    begun[turn] += 1
                    by_connection[id(self)] += 1
                    if begun.total() == CONNECTIONS * BLOCKS:
                        done.set()

        made, writers = [], []
        sent = dear_requests(BLOCKS)
        for _ in range(CONNECTIONS):
            ours, theirs = socket.socketpair()
            ours.setblocking(False)
            _, host = await loop.create_connection(
                lambda: Host(configuration(client_side=False, validates=False)), sock=ours
            )
            host.connection.decoder.max_header_list_size = 1 << 20
            made.append(host)
            writers.append((threading.Thread(target=theirs.sendall, args=(sent,)), theirs))
        loop.call_soon(count)
        for thread, _ in writers:
            thread.start()
        await done.wait()
        for thread, theirs in writers:
            thread.join()
            theirs.close()
        await asyncio.sleep(0)
        return begun, by_connection

    begun, by_connection = asyncio.run(run())
    assert set(by_connection.values()) == {BLOCKS}
    # The first of each connection come as they are read; from then on they wait for one another.
    more = sorted((number for number in begun.values() if number > 1), reverse=True)
    assert sum(more) <= 3 * CONNECTIONS, begun


@pytest.mark.parametrize("rest", [b"", b"\xff", b"\x1f", b"\x00\x00", b"\xff\xff\xff\xff"])
def test_a_code_is_expanded_as_the_library_does(rest: bytes) -> None:
    """All codes of two bytes, and what may stand behind them: symbols, padding, and what is no code."""
    for number in range(65_536):
        code = number.to_bytes(2) + rest
        assert _tried(expand, code) == _tried(decode_huffman, code)


def _tried(read: object, code: bytes) -> bytes | None:
    try:
        return read(code)  # type: ignore[operator,no-any-return]
    except HPACKDecodingError:
        return None
