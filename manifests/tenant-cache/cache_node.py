#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A cache node that is its own gate: it decides from a token's claims, and asks the desk where it must.

An example to read and to start from, of about the length that it takes in any language. It needs Python 3.11
and `PyJWT[crypto]`:

    python cache_node.py --desk http://127.0.0.1:8444 --issuer https://desk.example.com \
      --audience watchword.dev/services/dev/cache/cache-server --token-file node-token --listen 127.0.0.1:8600

    GET|HEAD|PUT /api/cache/artifacts/ID?tenant_id=ACCOUNT[&namespace_id=PROJECT]

A read is decided from the claims if the desk was asked about this token within the last 30 seconds; a write
is asked about each time. What is answered decides then, for it says what the workload may do by now.
"""

import argparse
import hashlib
import json
import re
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jwt

SCOPES = {"GET": "cache:artifact:read", "HEAD": "cache:artifact:read", "PUT": "cache:artifact:write"}
ARTIFACT = re.compile(r"/api/cache/artifacts/([A-Za-z0-9._-]{1,128})")
# A name as grants have them; `*` is a word of grants and never a tenant.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,119}")
PARAMETER = re.compile(r"(tenant_id|namespace_id)=([A-Za-z0-9._-]*)")
KEEP_SECONDS, KEYS_SECONDS, MAX_KEPT, MAX_BODY = 30.0, 60.0, 10_000, 1024 * 1024
ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


class Refused(Exception):  # noqa: N818 - a refusal that is answered, and no error of the node's
    """A status and why; the caller is told both."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


@dataclass
class Node:
    """What the node knows: where the desk is, which service it is a part of, and what it was told."""

    desk: str
    issuer: str
    audience: str
    token_file: Path
    _keys: dict[str, jwt.PyJWK] = field(default_factory=dict)
    _keys_at: float = -KEYS_SECONDS
    _answers: dict[str, tuple[float, dict[str, Any]]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    asked: int = 0

    def decide(self, token: str, method: str, account: str, project: str | None) -> None:
        """Return if the token's holder may do this; raise Refused if not."""
        claims = self.verify(token)
        # The claims first: the desk never says more than they do, so a no of theirs is final.
        allow(claims, SCOPES[method], account, project)
        if method != "PUT":
            with self._lock:
                known = self._answers.get(digest(token))
            if known is not None and time.monotonic() < known[0]:
                allow(known[1], SCOPES[method], account, project)
                return
        answer = self.introspect(token)
        if not answer.get("active"):
            raise Refused(401, "the token is not active any more")
        allow(answer, SCOPES[method], account, project)
        with self._lock:
            if len(self._answers) >= MAX_KEPT:
                self._answers.clear()
            self._answers[digest(token)] = (time.monotonic() + KEEP_SECONDS, answer)

    def verify(self, token: str) -> dict[str, Any]:
        """The claims of a desk token for this service (RFC 9068, section 4); raises Refused."""
        try:
            header = jwt.get_unverified_header(token)
            if header.get("typ") != "at+jwt":
                raise Refused(401, "the token is no access token of the desk")
            key = self.key(str(header.get("kid")))
            claims: dict[str, Any] = jwt.decode(
                token,
                key.key,
                # Never what the token says of itself.
                algorithms=["ES256"],
                issuer=self.issuer,
                audience=self.audience,
                options={"require": ["exp", "iat", "iss", "aud", "sub", "jti"], "strict_aud": True},
            )
        except jwt.PyJWTError as error:
            raise Refused(401, f"the token is not valid: {type(error).__name__}") from None
        if claims.get("purpose") is not None:
            raise Refused(403, "the token is for one purpose, and this is none")
        return claims

    def key(self, kid: str) -> jwt.PyJWK:
        """A public key of the desk; read again at most once a minute, whatever callers send."""
        with self._lock:
            if kid not in self._keys and time.monotonic() - self._keys_at >= KEYS_SECONDS:
                self._keys_at = time.monotonic()
                found = self._get("/.well-known/jwks.json")["keys"]
                self._keys = {each["kid"]: jwt.PyJWK(each, "ES256") for each in found}
            if kid not in self._keys:
                raise Refused(401, "the token is signed by no key of the desk")
            return self._keys[kid]

    def introspect(self, token: str) -> dict[str, Any]:
        """What the desk says of a token; raises Refused where it does not say it."""
        self.asked += 1
        # Read again each time: the kubelet renews it.
        own = self.token_file.read_text().strip()
        form = {"token": token, "client_assertion": own, "client_assertion_type": ASSERTION}
        try:
            return self._get("/oauth2/introspect", urllib.parse.urlencode(form).encode())
        except (OSError, ValueError):
            # A 401 is about the node's own token, a 429 or 503 about the desk: not the caller's fault.
            raise Refused(503, "the desk does not answer; retry") from None

    def _get(self, path: str, body: bytes | None = None) -> dict[str, Any]:
        with urllib.request.urlopen(self.desk + path, body, timeout=5) as answer:  # noqa: S310 - from our own flag
            said: dict[str, Any] = json.load(answer)
        return said


def allow(said: dict[str, Any], scope: str, account: str, project: str | None) -> None:
    """Return if one entry of the details holds all of the request; raise Refused if not."""
    for detail in said.get("authorization_details") or ():
        accounts, projects = detail.get("accounts") or (), detail.get("projects") or ()
        if detail.get("type") != "watchword_grant" or scope not in detail.get("actions", ()):
            continue
        if account not in accounts and "*" not in accounts:
            continue
        # Without projects, an entry is for what is about the whole account, and for nothing else.
        if (project in projects or "*" in projects) if project is not None else not projects:
            return
    where = account if project is None else f"{account}/{project}"
    raise Refused(403, f"the token does not allow {scope} for {where}")


def target(path: str) -> tuple[str, str, str | None]:
    """The artifact, account and project that a request target names; raises Refused."""
    place, _, query = path.partition("?")
    found = ARTIFACT.fullmatch(place)
    if found is None:
        raise Refused(404, "there is no such path")
    named: dict[str, str] = {}
    for part in query.split("&"):
        parameter = PARAMETER.fullmatch(part)
        # One name twice is how a request is checked as one thing and served as another.
        if parameter is None or parameter[1] in named or not NAME.fullmatch(parameter[2]):
            raise Refused(
                400, "tenant_id, and namespace_id if there is one, must be there once and be plain names"
            )
        named[parameter[1]] = parameter[2]
    if "tenant_id" not in named:
        raise Refused(400, "tenant_id is missing")
    return found[1], named["tenant_id"], named.get("namespace_id")


def digest(token: str) -> str:
    """What a token is remembered by: never the token."""
    return hashlib.sha256(token.encode()).hexdigest()


def handler(node: Node) -> type[BaseHTTPRequestHandler]:
    """The node's requests; artifacts are kept in memory, by account and project."""
    artifacts: dict[tuple[str, str | None, str], bytes] = {}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 10

        def do_GET(self) -> None:
            self.serve()

        do_HEAD = do_PUT = do_GET  # noqa: N815 - and these

        def serve(self) -> None:
            try:
                name, account, project = target(self.path)
                scheme, _, token = self.headers.get("Authorization", "").partition(" ")
                if (
                    scheme.lower() != "bearer"
                    or not token
                    or len(self.headers.get_all("Authorization", [])) != 1
                ):
                    raise Refused(401, "one Authorization: Bearer <token> is needed")
                node.decide(token, self.command, account, project)
                if self.command == "PUT":
                    length = self.headers.get("Content-Length", "")
                    if not length.isdigit() or int(length) > MAX_BODY:
                        raise Refused(413, f"a Content-Length of at most {MAX_BODY} is needed")
                    artifacts[account, project, name] = self.rfile.read(int(length))
                    self.answer(201, b"")
                elif (account, project, name) in artifacts:
                    self.answer(200, artifacts[account, project, name])
                else:
                    raise Refused(404, "there is no such artifact")
            except Refused as refused:
                self.close_connection = True
                self.answer(refused.status, json.dumps({"detail": refused.reason}).encode() + b"\n")

        def answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cache-Control", "no-store")
            if status == 401:
                self.send_header("WWW-Authenticate", 'Bearer error="invalid_token"')
            if status == 503:
                self.send_header("Retry-After", "2")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Log nothing: a request line may hold a token or a name."""

    return Handler


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for flag in ("--desk", "--issuer", "--audience"):
        parser.add_argument(flag, required=True)
    parser.add_argument("--token-file", required=True, type=Path, help="the node's own projected token")
    parser.add_argument("--listen", default="127.0.0.1:8600")
    given = parser.parse_args()
    host, _, port = given.listen.rpartition(":")
    node = Node(given.desk.rstrip("/"), given.issuer, given.audience, given.token_file)
    server = ThreadingHTTPServer((host, int(port)), handler(node))
    print(f"listening on {host}:{server.server_port}", flush=True)  # noqa: T201 - for the person at the terminal
    server.serve_forever()


if __name__ == "__main__":
    main()
