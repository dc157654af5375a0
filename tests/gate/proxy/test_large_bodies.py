# SPDX-License-Identifier: Apache-2.0
"""Bodies that are larger than any memory they may take: 2 GiB through a gate whose own memory stays flat.

Each MiB begins with its number, so that one that is lost, doubled or out of its place is seen.
"""

from __future__ import annotations

import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from testing.unavailable import needed_program
from tests.gate.proxy.scripted import Heard, Scene, credential, read_until, request, scene
from tests.memory import MIB, forget_peak, memory_of

BLOCKS = 2048
# HTTP/2 cuts a body into frames of 16 KiB, each with its cost: four times the bound is enough to tell.
HTTP2_BLOCKS = 32
# What is under way in buffers, and what Python keeps of what was freed: 2 MiB were seen.
MOST_GROWN = 8 * MIB
UPLOAD, DOWNLOAD = b"/app/acme/upload", b"/app/acme/download"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"


def send_blocks(link: socket.socket, count: int) -> None:
    """So many MiB, each with its number in front."""
    block = bytearray(MIB)
    for number in range(count):
        block[:8] = number.to_bytes(8)
        link.sendall(block)


def take_blocks(link: socket.socket, count: int, first: bytes = b"") -> int:
    """How many MiB came whole and in their order, of so many; `first` of them is read already."""
    block = bytearray(MIB)
    for number in range(count):
        block[: len(first)] = first
        view = memoryview(block)[len(first) :]
        while view:
            if not (size := link.recv_into(view)):
                return number
            view = view[size:]
        first = b""
        if int.from_bytes(block[:8]) != number:
            return number
    return count


def answer(heard: Heard) -> bytes | bool:
    """An app that counts what is sent, and sends as much as its target says."""
    target = heard.head.split(b" ")[1]
    path, _, count = target.partition(b"?")
    if path == DOWNLOAD:
        heard.link.sendall(ANSWER % (int(count) * MIB))
        send_blocks(heard.link, int(count))
        return b""
    came = b"%d" % take_blocks(heard.link, int(count), heard.rest)
    heard.rest = b""
    return ANSWER % len(came) + came


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """A gate before that app; what it loads with its first requests is there."""
    with scene(tmp_path_factory.mktemp("large"), answer) as made:
        for way in (upload, download):
            assert way(made, 16) == 16
        yield made


def upload(place: Scene, count: int) -> int:
    """Send so many MiB to the app; how many it says that came."""
    with place.connect() as link:
        length = b"Content-Length: %d" % (count * MIB)
        link.sendall(request(b"POST %s?%d HTTP/1.1" % (UPLOAD, count), length, b"Connection: close"))
        send_blocks(link, count)
        head, _, body = read_until(link, b"\r\n\r\n").partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 "), head
        while data := link.recv(100):
            body += data
    return int(body)


def download(place: Scene, count: int) -> int:
    """Have the app send so many MiB; how many came."""
    with place.connect() as link:
        link.sendall(request(b"GET %s?%d HTTP/1.1" % (DOWNLOAD, count)))
        head, _, first = read_until(link, b"\r\n\r\n").partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 "), head
        return take_blocks(link, count, first)


@pytest.mark.parametrize("way", [upload, download], ids=["upload", "download"])
def test_two_gibibytes_pass_at_flat_memory(place: Scene, way: object) -> None:
    forget_peak(place.gate.pid)
    before = memory_of(place.gate.pid).resident
    assert callable(way)
    assert way(place, BLOCKS) == BLOCKS
    assert memory_of(place.gate.pid).peak - before < MOST_GROWN


def test_both_ways_at_once_take_no_more(place: Scene) -> None:
    forget_peak(place.gate.pid)
    before = memory_of(place.gate.pid).resident
    found: list[int] = []
    threads = [
        threading.Thread(target=lambda way=way: found.append(way(place, 64)))  # type: ignore[misc]
        for way in (upload, download, upload, download)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(300)
    assert found == [64] * 4
    assert memory_of(place.gate.pid).peak - before < MOST_GROWN


def curl(place: Scene, *words: str | Path) -> str:
    """One request in HTTP/2; what curl says of it."""
    program = needed_program("curl", tests="tests with curl")
    flags = [
        "--silent",
        "--show-error",
        "--fail",
        "--http2-prior-knowledge",
        "--header",
        credential("one").decode(),
    ]
    command = [
        program,
        *flags,
        "--write-out",
        "%{stderr}%{http_version} %{size_upload} %{size_download}",
        *words,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return f"{done.stdout} {done.stderr}".strip()


def test_http2_takes_no_more(place: Scene, tmp_path: Path) -> None:
    path, size = tmp_path / "blocks", HTTP2_BLOCKS * MIB
    with path.open("wb") as file:
        for number in range(HTTP2_BLOCKS):
            file.seek(number * MIB)
            file.write(number.to_bytes(8))
        file.truncate(size)
    forget_peak(place.gate.pid)
    before = memory_of(place.gate.pid).resident
    url = f"{place.gate.url}{UPLOAD.decode()}?{HTTP2_BLOCKS}"
    # What the app counted, and by curl the protocol and the bytes there and back.
    told = f"{HTTP2_BLOCKS}"
    assert curl(place, "--upload-file", path, "--request", "POST", url) == f"{told} 2 {size} {len(told)}"
    came = tmp_path / "came"
    url = f"{place.gate.url}{DOWNLOAD.decode()}?{HTTP2_BLOCKS}"
    assert curl(place, "--output", came, url) == f"2 0 {size}"
    assert memory_of(place.gate.pid).peak - before < MOST_GROWN
    with came.open("rb") as file:
        for number in range(HTTP2_BLOCKS):
            file.seek(number * MIB)
            assert int.from_bytes(file.read(8)) == number
