# SPDX-License-Identifier: Apache-2.0
"""The loopback port at which a browser comes back from a provider (RFC 8252, section 7.3).

Every page that the browser shows can reach this port, so nothing here is believed but the one answer that
has the state of this very sign-in, at this very address. Whatever else comes changes nothing, and is told
nothing.
"""

import collections
import contextlib
import hmac
import http.server
import socket
import threading
from typing import Any, Final
from urllib.parse import parse_qsl

import msgspec

HOST: Final = "127.0.0.1"
PATH: Final = "/callback"
_MAX_TARGET: Final = 8 * 1024
_MAX_PARAMETERS: Final = 16
_CONNECTION_SECONDS: Final = 5.0
_MAX_CONNECTIONS: Final = 16
_EVICTION_SECONDS: Final = 0.2
# How long the browser may take to read its page, before the process that serves it may end.
_PAGE_SECONDS: Final = 2.0
_TAKEN: Final = "Return to the terminal: it says who is signed in now. You can close this page."
_FAILED: Final = "The sign-in failed. The terminal says why; you can close this page."
_HEADERS: Final = (
    ("Content-Type", "text/html; charset=utf-8"),
    ("Cache-Control", "no-store"),
    ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
    ("Referrer-Policy", "no-referrer"),
    ("X-Content-Type-Options", "nosniff"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
)


class Answered(msgspec.Struct, frozen=True):
    """The provider's answer. Its repr shows no code.

    Attributes:
        code: the authorization code; empty: there is none.
        problem: why there is none, as one sentence without its end; empty: there is one.
    """

    code: str = ""
    problem: str = ""

    def __repr__(self) -> str:
        return f"Answered(problem={self.problem!r})"


class Loopback:
    """Listens on 127.0.0.1 for one answer. A context manager."""

    def __init__(self, state: str, issuer: str, *, must_name_issuer: bool, port: int = 0) -> None:
        """Wait for the answer with a state.

        Args:
            state: what the provider was sent.
            issuer: the provider's issuer identifier.
            must_name_issuer: the provider says that its answers have `iss` (RFC 9207, section 3).
            port: where to listen; 0: any that is free.

        Raises:
            OSError: the port is not to be had.
        """
        self._state, self._issuer, self._must_name_issuer = state, issuer, must_name_issuer
        self._is_answered, self._is_told = threading.Event(), threading.Event()
        self._answer = Answered()
        self._lock = threading.Lock()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            timeout = _CONNECTION_SECONDS
            _is_answer = False
            server_version, sys_version = "watchword", ""

            def do_GET(self) -> None:
                hosts = self.headers.get_all("Host") or []
                status, text = outer._take(hosts, self.path)
                self._is_answer = text in (_TAKEN, _FAILED)
                body = f"<!doctype html><title>Watchword</title><p>{text}</p>".encode()
                self.send_response(status)
                for name, value in _HEADERS:
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.send_header("Connection", "close")
                self.end_headers()
                self.wfile.write(body)

            def finish(self) -> None:
                super().finish()
                if self._is_answer:
                    outer._is_told.set()

            def log_message(self, *_: Any) -> None:
                """Log nothing: the request line has the code in it."""

        self._server = _Server((HOST, port), Handler)
        self.authority = f"{HOST}:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def redirect_uri(self) -> str:
        """Where the provider is to send the browser."""
        return f"http://{self.authority}{PATH}"

    def __enter__(self) -> "Loopback":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def wait(self, seconds: float) -> Answered | None:
        """The answer, once the browser has its page; None: none came in time."""
        if not self._is_answered.wait(seconds):
            return None
        self._is_told.wait(_PAGE_SECONDS)
        return self._answer

    def _take(self, hosts: list[str], target: str) -> tuple[int, str]:
        """Judge one request; returns the status and what its page says."""
        # A name that someone else's DNS leads to this machine is another Host (DNS rebinding).
        if hosts != [self.authority]:
            return 421, "This address is for a sign-in, by its own name only."
        path, _, query = target.partition("?")
        if len(target) > _MAX_TARGET or path != PATH:
            return 404, "There is nothing here."
        try:
            pairs = parse_qsl(
                query, keep_blank_values=True, strict_parsing=True, max_num_fields=_MAX_PARAMETERS
            )
        except ValueError:
            pairs = []
        given = dict(pairs)
        state = given.get("state", "").encode("utf-8", "replace")
        if len(given) != len(pairs) or not hmac.compare_digest(state, self._state.encode()):
            return 400, "This is not the answer to the sign-in that waits here. Nothing was changed."
        with self._lock:
            if self._is_answered.is_set():
                return 410, "The sign-in was answered before."
            self._answer = self._judge(given)
            self._is_answered.set()
        if self._answer.problem:
            return 400, _FAILED
        return 200, _TAKEN

    def _judge(self, given: dict[str, str]) -> Answered:
        named = given.get("iss")
        if named != self._issuer and (named is not None or self._must_name_issuer):
            return Answered(problem="another provider than the one that was asked has answered")
        if "error" in given:
            said = given["error"] if given["error"].isprintable() else ascii(given["error"])
            return Answered(problem=f"the provider says {said[:64]!a}")
        code = given.get("code", "")
        return Answered(code) if code else Answered(problem="the provider sent no code")


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = False
    block_on_close = False
    # A browser opens connections ahead of need, and lets them wait.
    request_queue_size = 16

    def __init__(self, *given: Any) -> None:
        self._free = threading.BoundedSemaphore(_MAX_CONNECTIONS)
        self._open: collections.deque[socket.socket] = collections.deque()
        super().__init__(*given)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Give a connection a thread, of which there are few: the oldest connection makes room for a new one.

        Any program of this machine can open connections and say nothing. The browser's is new, and has its
        answer before so many others are newer.
        """
        is_free = self._free.acquire(blocking=False)
        while not is_free:
            # Its thread is woken by the end of what it reads, and closes it.
            with contextlib.suppress(OSError, IndexError):
                self._open[0].shutdown(socket.SHUT_RDWR)
            is_free = self._free.acquire(timeout=_EVICTION_SECONDS)
        self._open.append(request)
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve a connection, and make room."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            with contextlib.suppress(ValueError):
                self._open.remove(request)
            self._free.release()

    def server_bind(self) -> None:
        """Bind without asking DNS for a name of this machine, as the base class does."""
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = HOST, self.server_address[1]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a connection that broke: a browser drops them at will."""
