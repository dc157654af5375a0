# SPDX-License-Identifier: Apache-2.0
"""An API server that is a dictionary with a memory, and answers wrongly when told to.

The real one is in tests/cluster, and cannot be made to answer 410 in the middle of a list a hundred times a
second. This one keeps its rules: versions that only grow, pages of one moment, watches that begin where they
are told to, and a history that it forgets.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

# What to answer instead: the raw bytes, after which the connection is closed.
Fault = bytes

_TURNS_UNTIL_OPEN = 8


def answer(status: int, body: bytes = b"", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def status_body(code: int, reason: str, **more: object) -> bytes:
    return json.dumps({"kind": "Status", "code": code, "reason": reason, "message": reason, **more}).encode()


@dataclass
class FakeServer:
    """The world and its past.

    Attributes:
        faults: answers for the next requests, one each; None is an honest one.
        requests: the targets asked for.
    """

    version: int = 10
    compacted: int = 0
    objects: dict[str, dict[str, object]] = field(default_factory=dict)
    history: list[tuple[int, str, dict[str, object]]] = field(default_factory=list)
    faults: list[Fault | None] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    headers: list[str] = field(default_factory=list)
    port: int = 0
    _snapshots: dict[str, tuple[int, list[dict[str, object]]]] = field(default_factory=dict)
    _news: asyncio.Event = field(default_factory=asyncio.Event)
    _open: set[asyncio.StreamWriter] = field(default_factory=set)
    _endings: asyncio.Event = field(default_factory=asyncio.Event)

    def put(self, name: str, text: str, entry: str = "text") -> None:
        """Make or change an object with one entry of data."""
        kind = "MODIFIED" if name in self.objects else "ADDED"
        uid = self.objects[name]["metadata"]["uid"] if name in self.objects else f"uid-{self.version}"  # type: ignore[index]
        self._write(
            kind, name, {"data": {entry: text}, "metadata": {"name": name, "namespace": "n", "uid": uid}}
        )

    def delete(self, name: str) -> None:
        """Delete an object, if it is there."""
        if name in self.objects:
            self._write("DELETED", name, self.objects[name])

    def elsewhere(self) -> None:
        """Something is written that this resource does not hold: only a bookmark tells of it."""
        self.version += 1

    def compact(self) -> None:
        """Forget the past: whoever comes from there has to list."""
        self.compacted = self.version
        self.history.clear()
        self._snapshots.clear()

    def restore(self, version: int, objects: dict[str, dict[str, object]]) -> None:
        """Be as a backup was; whoever is connected is cut off, and a watch from later is deaf."""
        self.version, self.objects = version, dict(objects)
        self.compact()
        self.cut()

    def cut(self) -> None:
        """Reset all connections."""
        for writer in list(self._open):
            writer.transport.abort()

    @property
    def is_open(self) -> bool:
        """Whether anybody is connected."""
        return bool(self._open)

    def end_watches(self) -> None:
        """End all watches as their time-out does."""
        endings, self._endings = self._endings, asyncio.Event()
        endings.set()

    def told(self) -> dict[str, tuple[str, str]]:
        """What a follower should know: version and text by name."""
        return {
            name: (each["metadata"]["resourceVersion"], each["data"]["text"])  # type: ignore[index]
            for name, each in self.objects.items()
        }

    def _write(self, kind: str, name: str, found: dict[str, object]) -> None:
        self.version += 1
        metadata = {**found["metadata"], "resourceVersion": str(self.version)}  # type: ignore[dict-item]
        written = {**found, "metadata": metadata}
        self.history.append((self.version, kind, written))
        if kind == "DELETED":
            del self.objects[name]
        else:
            self.objects[name] = written
        news, self._news = self._news, asyncio.Event()
        news.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                self.requests.append(head.split(" ")[1])
                self.headers.append(head)
                fault = self.faults.pop(0) if self.faults else None
                if fault is not None:
                    writer.write(fault)
                    await writer.drain()
                    return
                query = {name: each[0] for name, each in parse_qs(urlsplit(self.requests[-1]).query).items()}
                if "watch" in query:
                    await self._watch(writer, int(query["resourceVersion"]))
                else:
                    writer.write(self._list(int(query["limit"]), query.get("continue", "")))
                await writer.drain()
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            writer.close()
            try:
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
            finally:
                self._open.discard(writer)

    def _list(self, limit: int, token: str) -> bytes:
        if token:
            key, start = token.split("@")
            if key not in self._snapshots:
                return answer(410, status_body(410, "Expired"))
        else:
            key, start = f"s{len(self._snapshots)}-{self.version}", "0"
            self._snapshots[key] = (self.version, list(self.objects.values()))
        version, items = self._snapshots[key]
        end = int(start) + limit
        metadata = {"resourceVersion": str(version), "continue": f"{key}@{end}" if end < len(items) else ""}
        return answer(200, json.dumps({"metadata": metadata, "items": items[int(start) : end]}).encode())

    async def _watch(self, writer: asyncio.StreamWriter, version: int) -> None:
        if version < self.compacted:
            writer.write(answer(410, status_body(410, "Expired")))
            return
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        endings = self._endings
        while True:
            news = self._news
            if version < self.compacted:
                self._notice(writer, {"type": "ERROR", "object": json.loads(status_body(410, "Expired"))})
                break
            for at, kind, found in list(self.history):
                if at > version:
                    self._notice(writer, {"type": kind, "object": found})
                    version = at
            if endings.is_set():
                mark = {"metadata": {"resourceVersion": str(self.version)}}
                self._notice(writer, {"type": "BOOKMARK", "object": mark})
                break
            await writer.drain()
            waits = [asyncio.create_task(each.wait()) for each in (news, endings)]
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for each in waits:
                    each.cancel()
        writer.write(b"0\r\n\r\n")

    def _notice(self, writer: asyncio.StreamWriter, notice: dict[str, object]) -> None:
        line = json.dumps(notice).encode() + b"\n"
        writer.write(b"%x\r\n%s\r\n" % (len(line), line))


@contextlib.asynccontextmanager
async def fake_server(make: Callable[[], FakeServer] = FakeServer) -> AsyncIterator[FakeServer]:
    """A server on a free port of the loopback interface until the block ends."""
    fake = make()
    server = await asyncio.start_server(fake.serve, "127.0.0.1", 0)
    fake.port = server.sockets[0].getsockname()[1]
    try:
        yield fake
    finally:
        server.close()
        # One that was accepted just now is open a few turns later, and nobody would close it.
        for _ in range(_TURNS_UNTIL_OPEN):
            await asyncio.sleep(0)
        fake.end_watches()
        while fake.is_open:
            fake.cut()
            await asyncio.sleep(0)
