# SPDX-License-Identifier: Apache-2.0
"""Ages of watches: silence grows, any word ends it, and one that never spoke is found sooner."""

from __future__ import annotations

import asyncio
import socket
import threading

import aiohttp
import pytest

from watchword.operator.hearing import Ears


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_an_age_grows_in_silence_and_a_word_ends_it(clock: Clock) -> None:
    ears = Ears(["pods", "nodes"], clock)
    clock.now += 7
    ears.hear("pods")
    clock.now += 2
    assert ears.ages() == {"pods": 2, "nodes": 9}


def test_what_nobody_asked_to_hear_is_not_kept(clock: Clock) -> None:
    ears = Ears(["pods"], clock)
    ears.hear("customresourcedefinitions")
    assert ears.ages() == {"pods": 0}


def test_one_that_never_spoke_is_silent_sooner_than_one_that_did(clock: Clock) -> None:
    ears = Ears(["pods", "nodes"], clock)
    ears.hear("pods")
    assert not ears.is_complete()
    clock.now += 61
    assert ears.silent(first_word_seconds=60, silence_seconds=150) == {"nodes": 61}
    ears.hear("nodes")
    assert ears.is_complete()
    clock.now += 151
    assert ears.silent(first_word_seconds=60, silence_seconds=150).keys() == {"pods", "nodes"}


@pytest.mark.parametrize(("status", "words"), [("200 OK", 3), ("403 Forbidden", 0)])
def test_each_piece_of_a_streamed_answer_is_a_word_and_a_refusal_is_none(status: str, words: int) -> None:
    """The head of the answer and two chunks of it."""
    heard: list[str] = []

    class Counting(Ears):
        def hear(self, resource: str) -> None:
            heard.append(resource)

    async def read(port: int) -> bytes:
        pieces = b""
        async with (
            aiohttp.ClientSession(response_class=Counting([]).response_class()) as session,
            session.get(
                f"http://127.0.0.1:{port}/apis/watchword.dev/v1alpha1/trustedworkloads?watch=1"
            ) as answer,
        ):
            async for piece in answer.content.iter_chunked(1 << 20):
                pieces += piece
                go_on.set()
        return pieces

    go_on = threading.Event()

    def serve(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(
                f"HTTP/1.1 {status}\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n".encode()
            )
            go_on.wait(30)
            connection.sendall(b"3\r\ntwo\r\n0\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=serve, args=(listener,))
        server.start()
        assert asyncio.run(read(listener.getsockname()[1])) == b"onetwo"
        server.join()
    assert heard == ["trustedworkloads"] * words
