# SPDX-License-Identifier: Apache-2.0
"""No request makes the gate call anyone: a listener counts, and a tracer lists what the gate's process calls.

Other verifiers fetch keys on an unknown `kid` or on each bad signature, so that a stranger with a loop of bad
tokens has them flood somebody's API server. Here every address that a token or a request can name is a
listener's, which would gladly answer, and is never asked.
"""

import base64
import contextlib
import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import pytest

from testing import manifests, tokens
from testing.attacks.gate_process import Gate, read, running_gate
from testing.desk import desk, desk_claims, desk_signer, desk_token, desk_world
from testing.gate_process import issuer, service, workload, write_bundle
from testing.tokens import Signer, signer
from testing.unavailable import needed_program
from watchword.trust import encode_bundle

TIMES = 20
EVENTS = "/api/internal/usage/events"


class Listener:
    """Serves the keys at every path, and counts who comes."""

    def __init__(self, body: bytes) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._body, self.calls = body, 0
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                link, _ = self._socket.accept()
            except OSError:
                return
            self.calls += 1
            with contextlib.suppress(OSError), link:
                link.recv(65536)
                head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
                link.sendall(head % len(self._body) + self._body)

    def close(self) -> None:
        """Take no more calls.

        Closing alone leaves the thread in accept(), which the kernel restarts after a signal by the number of
        the descriptor: that of the next listener of this process by then.
        """
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(30)
        self._socket.close()


@pytest.fixture(scope="module")
def listener() -> Iterator[Listener]:
    serving = Listener(json.dumps({"keys": [signer().jwk, signer("stranger").jwk]}).encode())
    yield serving
    serving.close()


def token(listener: Listener, by: Signer | None = None, **changes: object) -> bytes:
    now = int(time.time())
    times = {"iat": now - 60, "nbf": now - 60, "exp": now + 600, "iss": listener.url}
    return tokens.token(by, **(times | changes))  # type: ignore[arg-type]  # claims of any type


def with_header(listener: Listener, by: Signer, **members: object) -> bytes:
    header = {"alg": by.algorithm, "kid": by.kid, **members}
    return token(listener, by, header=header)


def hostile(listener: Listener) -> dict[str, tuple[int, bytes]]:
    """Requests by name, each with the status that it gets: all of them name the listener."""
    url, pinned, stranger = listener.url, signer(), signer("stranger")
    good = token(listener)
    bearer = b"Authorization: Bearer "

    def request(given: bytes, *lines: str, target: str = "/authz", method: str = "GET") -> bytes:
        head = [f"{method} {target} HTTP/1.1", f"Host: {url.removeprefix('http://')}", *lines]
        return "\r\n".join(head).encode() + b"\r\n" + bearer + given + b"\r\n\r\n"

    forwarded = (
        f"X-Original-URI: {url}/openid/v1/jwks",
        "X-Original-Method: GET",
        f"Forwarded: for={url};host={url}",
        f"X-Forwarded-Host: {url}",
        f"X-Forwarded-For: {url}",
    )
    by_name = {
        "a good token of an issuer that lives there": (200, request(good)),
        "a bad signature": (401, request(good[:-8] + b"AAAAAAAA")),
        "an unknown key that is served there": (401, request(token(listener, stranger))),
        "another issuer that lives there": (401, request(token(listener, iss=f"{url}/other"))),
        "an absolute target": (404, request(good, target=f"{url}/authz")),
        "a forwarded address": (403, request(good, *forwarded, target="/authz/nginx")),
        "a path that is one": (403, request(good, target=f"/authz/envoy/{url}")),
    }
    for member in ("jku", "x5u", "jwk", "x5c", "kid", "iss", "aud"):
        own = request(with_header(listener, stranger, **{member: f"{url}/{member}"}))
        by_name[f"{member} in a stranger's token"] = (401, own)
        if member not in {"kid", "iss", "aud"}:
            theirs = request(with_header(listener, pinned, **{member: f"{url}/{member}"}))
            by_name[f"{member} in a signed token"] = (401, theirs)
    return by_name


def bombard(gate: Gate, listener: Listener) -> None:
    """Send each hostile request many times, on one connection and on its own."""
    for name, (status, request) in hostile(listener).items():
        with gate.connection() as link:
            for _ in range(TIMES):
                link.sendall(request)
                assert read(link).status == status, name
    flood = [token(listener, signer("stranger"), jti=str(number)) for number in range(100)]
    with gate.connection() as link:
        for given in flood:
            link.sendall(b"GET /authz HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + given + b"\r\n\r\n")
            assert read(link).status == 401


def bundle(folder: Path, listener: Listener) -> bytes:
    path = write_bundle(
        folder / "made.json",
        issuer("atlas-production", {"keys": [signer().jwk]}, iss=listener.url),
        service(),
        workload("atlas", "atlas-production", ("atlas-production", "atlas")),
    )
    return path.read_bytes()


def test_no_request_makes_the_gate_call_a_listener_that_it_names(tmp_path: Path, listener: Listener) -> None:
    with running_gate(tmp_path, bundle(tmp_path, listener)) as gate:
        bombard(gate, listener)
    assert listener.calls == 0
    # The listener does count: otherwise none of this would have shown anything.
    socket.create_connection(("127.0.0.1", int(listener.url.rpartition(":")[2]))).close()
    wait_for(lambda: listener.calls == 1)


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_gate_opens_no_connection_and_sends_no_packet_at_all(tmp_path: Path, listener: Listener) -> None:
    program = needed_program("strace", tests="tests of what is sent", required_by="WATCHWORD_REQUIRE_STRACE")
    trace = tmp_path / "trace"
    # With -D the gate is our own child, and the tracer its grandchild.
    under = [program, "-D", "-f", "-qq", "-e", "trace=connect,sendto,sendmsg,sendmmsg,execve,execveat", "-o"]
    with running_gate(tmp_path, bundle(tmp_path, listener), [*under, str(trace)]) as gate:
        bombard(gate, listener)
    calls = trace.read_text().splitlines()
    # The one program that was started is the gate; whatever goes to an address says its family.
    assert len([each for each in calls if "execve" in each]) == 1
    assert [each for each in calls if "sa_family" in each] == []


MANY, BATCH = 100_000, 200
_DIGITS = 6


def with_a_desk(folder: Path, listener: Listener) -> bytes:
    """A bundle whose issuer and whose desk both live at the listener."""
    where = desk(issuer=listener.url)
    with_issuer = manifests.issuer(issuer=f"{listener.url}/issuer")
    path = folder / "with-desk.json"
    path.write_bytes(encode_bundle(desk_world(where, with_issuer).bundles[0]))
    return path.read_bytes()


def templates(listener: Listener) -> list[tuple[bytes, bytes, bytes]]:
    """Hostile tokens as their parts, with a `jti` to be filled in: all say that they are of the listener.

    Signed ones would each have to be signed: here the signature is another token's, and never holds.
    """
    url, jti = listener.url, "0" * _DIGITS
    first, stranger = desk_signer(), Signer("wd-stranger", "ES256")
    headers: list[dict[str, object]] = [
        {"alg": "ES256", "typ": "at+jwt", "kid": first.kid},
        {"alg": "ES256", "typ": "at+jwt", "kid": stranger.kid},
        {"alg": "ES256", "typ": "at+jwt", "kid": "wd-unknown"},
        {"alg": "ES256", "typ": "at+jwt", "kid": f"{url}/.well-known/jwks.json"},
        {"alg": "ES256", "typ": "at+jwt", "kid": first.kid, "jku": f"{url}/.well-known/jwks.json"},
        {"alg": "ES256", "typ": "at+jwt", "kid": first.kid, "x5u": f"{url}/x5u"},
        {"alg": "ES256", "typ": "JWT", "kid": first.kid},
        {"alg": "none", "typ": "at+jwt", "kid": first.kid},
        {"alg": "RS256", "kid": signer().kid},
        {"alg": "RS256", "kid": "unknown"},
    ]
    members: list[dict[str, object]] = [
        {"iss": url, "jti": jti},
        {"iss": url, "jti": jti, "introspection_endpoint": f"{url}/oauth2/introspect"},
        {"iss": f"{url}/elsewhere", "jti": jti, "aud": f"{url}/oauth2/token"},
        {"iss": f"{url}/issuer", "jti": jti, "sub": f"workload:{url}"},
    ]
    signature = desk_token().rpartition(b".")[2]
    return [
        (encoded(tokens.compact(header)), tokens.compact(desk_claims(**claims)), signature)
        for header in headers
        for claims in members
    ]


def next_status(answers: BinaryIO) -> int:
    """The status of the next of several answers on one connection."""
    status = answers.readline()
    assert status.startswith(b"HTTP/1.1 "), status
    length = 0
    while (line := answers.readline().strip()) != b"":
        name, _, value = line.partition(b":")
        length = int(value) if name.lower() == b"content-length" else length
    answers.read(length)
    return int(status.split()[1])


def encoded(part: bytes) -> bytes:
    return base64.urlsafe_b64encode(part).rstrip(b"=")


def test_a_hundred_thousand_hostile_desk_tokens_make_the_gate_call_no_one(
    tmp_path: Path, listener: Listener
) -> None:
    """The desk would answer each question about them, and is asked none."""
    parts, before = templates(listener), listener.calls
    statuses: Counter[int] = Counter()
    marker = b'"' + b"0" * _DIGITS + b'"'
    assert all(claims.count(marker) == 1 for _, claims, _ in parts)
    with running_gate(tmp_path, with_a_desk(tmp_path, listener)) as gate, gate.connection() as link:
        answers = link.makefile("rb")
        for first in range(0, MANY, BATCH):
            batch = []
            for number in range(first, first + BATCH):
                head, claims, signature = parts[number % len(parts)]
                payload = encoded(claims.replace(marker, b'"%0*d"' % (_DIGITS, number)))
                given = b".".join((head, payload, signature))
                batch.append(
                    b"GET /authz HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + given + b"\r\n\r\n"
                )
            writer = threading.Thread(target=link.sendall, args=(b"".join(batch),))
            writer.start()
            for _ in batch:
                statuses[next_status(answers)] += 1
            writer.join()
    assert statuses == {401: MANY}
    assert listener.calls == before
    socket.create_connection(("127.0.0.1", int(listener.url.rpartition(":")[2]))).close()
    wait_for(lambda: listener.calls == before + 1)
