# SPDX-License-Identifier: Apache-2.0
"""An OpenID provider that signs whatever a test asks for, and that can be away, lie, or change its keys.

A public client with PKCE can sign people in there as well. That a provider of someone else's making does the
same is for the tests with Keycloak to show.
"""

from __future__ import annotations

import hashlib
import http.server
import json
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from testing.tokens import Signer, b64, compact, signer

CLIENT = "watchword-cli"
CAROL = "carol@corp.example"


class Issuer:
    """Answers discovery and keys on loopback.

    Attributes:
        url: its issuer identifier.
        keys: what it publishes.
        status: what it answers with.
        asked: the paths that were asked for, in order.
        people: addresses by `sub`.
    """

    def __init__(self) -> None:
        self.keys: list[Signer] = [signer("idp-1")]
        self.status = 200
        self.asked: list[str] = []
        self.people = {"carol": CAROL}
        self._codes: dict[str, dict[str, str]] = {}
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append(self.path)
                if self.path.startswith("/authorize?"):
                    self.send_response(302)
                    self.send_header("Location", outer.authorize(urlsplit(self.path).query))
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                body = json.dumps(outer.document(self.path)).encode()
                self.send_response(outer.status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_POST(self) -> None:
                form = dict(parse_qsl(self.rfile.read(int(self.headers["Content-Length"])).decode()))
                status, document = outer.token(form)
                body = json.dumps(document).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """Log nothing."""

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def document(self, path: str) -> dict[str, Any]:
        """What is at a path."""
        if path == "/jwks":
            return {"keys": [each.jwk for each in self.keys]}
        return {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/jwks",
        }

    def authorize(self, query: str) -> str:
        """Sign the person in whom the parameter `as` names; where the browser is sent."""
        asked = dict(parse_qsl(query))
        assert asked["response_type"] == "code"
        assert asked["code_challenge_method"] == "S256"
        code = secrets.token_urlsafe()
        self._codes[code] = asked
        return f"{asked['redirect_uri']}?{urlencode({'code': code, 'state': asked['state']})}"

    def token(self, form: dict[str, str]) -> tuple[int, dict[str, Any]]:
        """The ID token for a code, once, to the client that holds the verifier (RFC 7636, section 4.6)."""
        asked = self._codes.pop(form.get("code", ""), None)
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        if asked is None or asked["code_challenge"] != b64(digest):
            return 400, {"error": "invalid_grant"}
        if any(asked[name] != form.get(name) for name in ("client_id", "redirect_uri")):
            return 400, {"error": "invalid_grant"}
        sub = asked["as"]
        email = self.people.get(sub, f"{sub}@corp.example")
        return 200, {"id_token": self.id_token(asked["nonce"], aud=asked["client_id"], sub=sub, email=email)}

    def id_token(
        self, nonce: str, by: Signer | None = None, header: dict[str, Any] | None = None, /, **changes: Any
    ) -> str:
        """An ID token of Carol, as of now; `...` removes a claim."""
        now, key = int(time.time()), by or self.keys[-1]
        said = {
            "iss": self.url,
            "sub": "carol",
            "aud": CLIENT,
            "iat": now,
            "exp": now + 300,
            "nonce": nonce,
            "email": CAROL,
            "email_verified": True,
        } | changes
        head = {"alg": key.algorithm, "kid": key.kid, "typ": "JWT"} | (header or {})
        good = {name: value for name, value in said.items() if value is not ...}
        return key.sign(compact(head), compact(good)).decode()


@contextmanager
def openid_issuer() -> Iterator[Issuer]:
    """A provider on a free port until the end of the block."""
    issuer = Issuer()
    thread = threading.Thread(target=issuer.server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield issuer
    finally:
        issuer.server.shutdown()
        issuer.server.server_close()
        thread.join()
