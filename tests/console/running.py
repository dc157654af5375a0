# SPDX-License-Identifier: Apache-2.0
"""A console as it really is served, and a client that sends exactly what it is told to, byte by byte."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import urlencode

from watchword.console.app import console_app
from watchword.console.serve import BOUNDS, listen_on_loopback
from watchword.console.session import COOKIE, LINK_PREFIX, Session
from watchword.console.source import Source
from watchword.process.listening import serving
from watchword.process.server import bounded_server


class _Markup(HTMLParser):
    """The elements of a page with their attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))


def active_elements(page: str) -> list[tuple[str, dict[str, str | None]]]:
    """What could run or style something although the policy of the pages forbids it; there is none."""
    parser = _Markup()
    parser.feed(page)
    return [
        (tag, attributes)
        for tag, attributes in parser.elements
        if tag in {"style", "iframe", "object", "embed", "base", "svg"}
        or (tag == "script" and attributes != {"src": "/static/console.js", "defer": None})
        or (tag == "img" and attributes.get("src") != "/static/icon.svg")
        or any(name.startswith("on") or name == "style" for name in attributes)
        or any((attributes.get(name) or "").lower().startswith("javascript:") for name in ("href", "action"))
    ]


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


@dataclass
class Console:
    """A console that runs; `cookie` is that of the session once `open` was called."""

    session: Session
    port: int
    link: str
    was_opened: list[bool] = field(default_factory=list)
    cookie: str = ""

    @property
    def authority(self) -> str:
        return f"{self.session.host}:{self.port}"

    @property
    def origin(self) -> str:
        return f"http://{self.authority}"

    @property
    def link_path(self) -> str:
        return LINK_PREFIX + self.link.rpartition("/")[2]

    def send(
        self,
        method: str,
        target: str,
        headers: list[tuple[str, str]],
        body: bytes = b"",
        address: str = "127.0.0.1",
    ) -> Answer:
        """Send a request with these headers and no others."""
        connection = http.client.HTTPConnection(address, self.port, timeout=60)
        with contextlib.closing(connection):
            connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
            for name, value in headers:
                connection.putheader(name, value)
            if body or method == "POST":
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body or None)
            answer = connection.getresponse()
            found = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, found, answer.read())

    def open(self) -> str:
        """Use the link; the cookie's value."""
        answer = self.send("GET", self.link_path, [("Host", self.authority)])
        assert answer.status == 200, answer.text
        self.cookie = answer.headers["set-cookie"].partition(";")[0]
        assert self.cookie.startswith(f"{COOKIE}=")
        return self.cookie

    def get(self, target: str) -> Answer:
        return self.send("GET", target, [("Host", self.authority), ("Cookie", self.cookie)])

    def page(self, target: str) -> str:
        answer = self.get(target)
        assert answer.status == 200, (target, answer.text)
        return answer.text

    def post(self, target: str, fields: Mapping[str, str], *more: tuple[str, str]) -> Answer:
        headers = [
            ("Host", self.authority),
            ("Cookie", self.cookie),
            ("Origin", self.origin),
            ("Content-Type", "application/x-www-form-urlencoded"),
            *more,
        ]
        return self.send("POST", target, headers, urlencode(fields).encode())


@contextlib.contextmanager
def console_of(source: Source, *, opened: bool = True) -> Iterator[Console]:
    """Serve a source in a thread, on both loopback addresses."""
    listeners = listen_on_loopback(0)
    session = Session()
    port = listeners[0].getsockname()[1]
    console = Console(session, port, session.link(port))
    loop = asyncio.new_event_loop()
    stop, is_ready = asyncio.Event(), threading.Event()

    async def serve() -> None:
        app = console_app(source, session, console.authority, lambda: console.was_opened.append(True))
        async with serving(bounded_server(app, BOUNDS, grace_seconds=0.5), *listeners):
            is_ready.set()
            await stop.wait()

    def run() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(serve())

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert is_ready.wait(60)
    try:
        if opened:
            console.open()
        yield console
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(60)
        assert not thread.is_alive()
        for each in listeners:
            each.close()
