# SPDX-License-Identifier: Apache-2.0
"""A real HTTP server in a thread, that answers as a function says and keeps what it was sent."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn


@dataclass(frozen=True)
class Received:
    method: str
    path: str
    authorization: str | None
    body: bytes


@dataclass(frozen=True)
class Answer:
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b"ok"


Answers = Callable[[Received], Answer]


class LoopbackServer:
    def __init__(self, url: str) -> None:
        self.url = url
        self.answers: Answers = lambda request: Answer(404)
        self.received: list[Received] = []

    @property
    def authorizations(self) -> list[str | None]:
        return [request.authorization for request in self.received]


@contextmanager
def serve() -> Iterator[LoopbackServer]:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        body = b""
        while (message := await receive())["type"] == "http.request":
            body += message["body"]
            if not message["more_body"]:
                break
        request = Received(
            scope["method"],
            scope["path"],
            dict(scope["headers"]).get(b"authorization", b"").decode() or None,
            body,
        )
        loopback.received.append(request)
        answer = loopback.answers(request)
        headers = [(name.encode(), value.encode()) for name, value in answer.headers.items()]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})

    with socket.create_server(("127.0.0.1", 0)) as listener:
        loopback = LoopbackServer(f"http://127.0.0.1:{listener.getsockname()[1]}")
        server = uvicorn.Server(uvicorn.Config(app, lifespan="off", ws="none", log_config=None))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            while not server.started and thread.is_alive():
                time.sleep(0.005)
            yield loopback
        finally:
            server.should_exit = True
            thread.join()
