# SPDX-License-Identifier: Apache-2.0
"""The development issuer over HTTP, on the loopback interface and nowhere else.

A web page that the developer has open must not get tokens from it: a request with an `Origin`, with a `Host`
that is not ours, or with a body that is not declared JSON is refused.
"""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Final

from watchword.cli.dev.issuer import DevelopmentIssuer, answer_token_request
from watchword.cli.failures import UnusableInput, os_reason
from watchword.cli.options import Address

MAX_BODY_BYTES: Final = 16 * 1024
IDLE_SECONDS: Final = 10.0


class DevelopmentIssuerServer:
    """Serves the issuers from a thread; a context manager.

    Attributes:
        url: where it answers, without a trailing slash.
    """

    def __init__(self, issuers: tuple[DevelopmentIssuer, ...], listen: Address) -> None:
        """Bind the address.

        Raises:
            UnusableInput: not a loopback address, or one that cannot be bound.
        """
        if not listen.is_loopback:
            raise UnusableInput(
                f"--issuer-listen {listen} is not a loopback address; anyone who reaches it can be anyone.",
                "Say 127.0.0.1:PORT; to reach it from elsewhere, use a real cluster's tokens.",
            )
        try:
            self._server = ThreadingHTTPServer((listen.host, listen.port), _handler(issuers))
        except OSError as error:
            raise UnusableInput(
                f"--issuer-listen {listen} cannot be bound: {os_reason(error)}.", "Choose another port, or 0."
            ) from None
        self._server.daemon_threads = True
        self.url = f"http://{Address(listen.host, self._server.server_port)}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> "DevelopmentIssuerServer":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def _handler(issuers: tuple[DevelopmentIssuer, ...]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        server_version, sys_version = "watchword-development-issuer", ""
        timeout = IDLE_SECONDS

        def do_GET(self) -> None:
            match self.path:
                case "/openid/v1/jwks":
                    self._answer(
                        200, {"keys": [issuer.jwk for issuer in issuers]}, "application/jwk-set+json"
                    )
                case "/.well-known/openid-configuration":
                    self._answer(
                        200,
                        {
                            "issuer": issuers[0].url,
                            "jwks_uri": f"http://{self.headers.get('Host', '')}/openid/v1/jwks",
                            "response_types_supported": ["id_token"],
                            "subject_types_supported": ["public"],
                            "id_token_signing_alg_values_supported": ["RS256"],
                        },
                    )
                case _:
                    self._answer(404, {"error": "There is /openid/v1/jwks and POST /token here."})

        def do_POST(self) -> None:
            if self.path != "/token":
                return self._answer(404, {"error": "There is POST /token here."})
            if self.headers.get("Origin") is not None or not self._is_for_us():
                return self._answer(403, {"error": "Web pages get no tokens here; use a command line."})
            if self.headers.get_content_type() != "application/json":
                return self._answer(415, {"error": "Send Content-Type: application/json."})
            length = self.headers.get("Content-Length", "")
            if not length.isascii() or not length.isdigit() or int(length) > MAX_BODY_BYTES:
                return self._answer(413, {"error": f"Send Content-Length, at most {MAX_BODY_BYTES} bytes."})
            return self._answer(*answer_token_request(issuers, self.rfile.read(int(length))))

        def _is_for_us(self) -> bool:
            # A name that was rebound to 127.0.0.1 arrives with its own Host.
            host, _, _ = self.headers.get("Host", "").rpartition(":")
            return host in ("127.0.0.1", "[::1]", "localhost")

        def _answer(self, status: int, body: dict[str, Any], kind: str = "application/json") -> None:
            data = json.dumps(body).encode() + b"\n"
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            self.send_header("Cache-Control", "no-store")
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(data)
            self.close_connection = True

        def log_message(self, format: str, *args: Any) -> None:
            """Log nothing: the gate's log is what one reads."""

    return Handler
