# SPDX-License-Identifier: Apache-2.0
"""H8 and H11: where a request ends. What two parsers could read in two ways is 400, an upgrade ends nothing.

Each request carries a good token, and behind it hides a second one that has a good token too.
"""

from __future__ import annotations

from functools import partial

from testing.attacks.case import Case, cases
from testing.attacks.http_requests import request

LENGTH, CODING = "Content-Length: ", "Transfer-Encoding: "
CHUNKED = f"{CODING}chunked"
NOTHING = b"0\r\n\r\n"


def post(*lines: str | bytes, body: bytes = b"") -> bytes:
    """A request with these framing headers, its body, and another request behind it."""
    return request("/authz", *lines, method="POST") + body + request()


def raw(head: bytes, body: bytes = b"") -> bytes:
    """A head as it is, and another request behind it."""
    return head.replace(b"\n", b"\r\n").replace(b"|", b"\n") + body + request()


CODINGS = [
    "gzip, chunked",
    "chunked, gzip",
    "chunked, chunked",
    "chunked,",
    ",chunked",
    "identity",
    "identity, chunked",
    "xchunked",
    "chunkedx",
    "chunked;q=1",
    '"chunked"',
    "chunked\x0b",
    "\x0bchunked",
    "",
    "deflate",
    "trailers",
]
LENGTHS = [
    "+5",
    "-5",
    "5 5",
    "5,5",
    "5, 5",
    "5;",
    "0x5",
    "5.0",
    "5e0",
    "1_0",
    "",
    " ",
    "five",
    "9" * 30,
    "\u0665",
]
CHUNKS: list[bytes] = [
    b"3 \r\nabc\r\n",
    b" 3\r\nabc\r\n",
    b"+3\r\nabc\r\n",
    b"-3\r\nabc\r\n",
    b"0x3\r\nabc\r\n",
    b"3_0\r\nabc\r\n",
    b"\r\n3\r\nabc\r\n",
    b"3\nabc\r\n",
    b"3\rabc\r\n",
    b"3\r\nabc\n",
    b"3\r\nabcd\r\n",
    b"3\r\nabc",
    b"3;a\x00b\r\nabc\r\n",
    b'3;a="\nb"\r\nabc\r\n',
    b"3\x0b\r\nabc\r\n",
    b"10000000000000000\r\nabc\r\n",
    b"0\n\n",
    b"0\r\nX: a\n\r\n",
    b"0\r\nX : a\r\n\r\n",
    b"0\r\n folded\r\n\r\n",
    b"0\r\nContent-Length: 100\r\n\r\n",
    b"0\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"0\r\nHost: other\r\n\r\n",
]
HEADS: dict[str, bytes] = {
    "a bare LF behind the first line": b"GET /authz HTTP/1.1|Host: gate\n\n",
    "a bare LF behind a header": b"GET /authz HTTP/1.1\nHost: gate|X: y\n\n",
    "a bare LF for the empty line": b"GET /authz HTTP/1.1\nHost: gate\n|",
    "a bare CR in a value": b"GET /authz HTTP/1.1\nHost: gate\nX: a\rb\n\n",
    "a bare CR that hides a coding": b"GET /authz HTTP/1.1\nHost: gate\nX: a\rTransfer-Encoding: chunked\n\n",
    "a NUL in a value": b"GET /authz HTTP/1.1\nHost: gate\nX: a\x00b\n\n",
    "a NUL in a name": b"GET /authz HTTP/1.1\nHost: gate\nX\x00: a\n\n",
    "a folded header": b"GET /authz HTTP/1.1\nHost: gate\nX: a\n b\n\n",
    "a folded coding": b"GET /authz HTTP/1.1\nHost: gate\nTransfer-Encoding:\n chunked\n\n",
    "a folded first header": b"GET /authz HTTP/1.1\n Host: gate\n\n",
    "a space before a colon": b"GET /authz HTTP/1.1\nHost: gate\nContent-Length : 5\n\n",
    "a tab before a colon": b"GET /authz HTTP/1.1\nHost: gate\nTransfer-Encoding\t: chunked\n\n",
    "a header without a name": b"GET /authz HTTP/1.1\nHost: gate\n: x\n\n",
    "a header without a colon": b"GET /authz HTTP/1.1\nHost: gate\nX\n\n",
    "no Host": b"GET /authz HTTP/1.1\nX: y\n\n",
    "two Hosts": b"GET /authz HTTP/1.1\nHost: gate\nHost: gate\n\n",
    "two Hosts that differ": b"GET /authz HTTP/1.1\nHost: gate\nhost: other\n\n",
    "HTTP/0.9": b"GET /authz\n\n",
    "HTTP/1.2": b"GET /authz HTTP/1.2\nHost: gate\n\n",
    "HTTP/2.0 in words": b"GET /authz HTTP/2.0\nHost: gate\n\n",
    # Whole, it begins HTTP/2: tests/gate/http2.
    "the preface of HTTP/2 but for a letter": b"PRI * HTTP/2.0\n\nSN\n\n",
    "another protocol": b"GET /authz RTSP/1.0\nHost: gate\n\n",
    "two spaces": b"GET  /authz HTTP/1.1\nHost: gate\n\n",
    "a space behind the version": b"GET /authz HTTP/1.1 \nHost: gate\n\n",
    "a tab for the space": b"GET\t/authz HTTP/1.1\nHost: gate\n\n",
    "a target with a space": b"GET /authz x HTTP/1.1\nHost: gate\n\n",
    "a method in lower case": b"get /authz HTTP/1.1\nHost: gate\n\n",
    "CONNECT": b"CONNECT gate:80 HTTP/1.1\nHost: gate\n\n",
    "chunked in HTTP/1.0": b"POST /authz HTTP/1.0\nTransfer-Encoding: chunked\n\n0\n\n",
}
FRAMING: list[Case[bytes]] = [
    *cases(
        "H8", "400", [(f"coding {each!r}", partial(post, CODING + each, body=NOTHING)) for each in CODINGS]
    ),
    *cases("H8", "400", [(f"length {each!r}", partial(post, (LENGTH + each).encode())) for each in LENGTHS]),
    *cases("H8", "400", [(name, partial(raw, head)) for name, head in HEADS.items()]),
    *cases(
        "H8",
        "400",
        [
            ("length and coding", partial(post, f"{LENGTH}5", CHUNKED, body=NOTHING)),
            ("coding and length", partial(post, CHUNKED, f"{LENGTH}5", body=NOTHING)),
            ("coding in two headers", partial(post, CHUNKED, CHUNKED, body=NOTHING)),
            ("coding in two headers that differ", partial(post, f"{CODING}gzip", CHUNKED, body=NOTHING)),
            ("two lengths that differ", partial(post, f"{LENGTH}0", f"{LENGTH}60")),
            ("two lengths alike", partial(post, f"{LENGTH}0", f"{LENGTH}0")),
            ("a length with an underscore", partial(post, "Content_Length: 60")),
            ("a coding with an underscore", partial(post, "Transfer_Encoding: chunked", body=NOTHING)),
        ],
    ),
]
# Chunks are read behind the head, so that the answer to the head may come first. No case of these is a yes to
# what hides behind them: see `test_a_body_of_two_lengths_hides_no_second_request`.
BAD_CHUNKS = [(f"chunks {each!r}", [CHUNKED], each) for each in CHUNKS]


def upgrade(word: str, connection: str, framing: str, body: bytes, path: str = "/authz") -> bytes:
    """A request without a credential that asks to upgrade; in its body is one with a good token."""
    lines = [f"Upgrade: {word}", f"Connection: {connection}", framing]
    return request(path, *lines, method="POST", good=False) + body


def hidden() -> bytes:
    """What an upgrade must not bring to light."""
    return request()


def upgrade_by_length(word: str, connection: str) -> bytes:
    """The body has a length."""
    return upgrade(word, connection, f"{LENGTH}{len(hidden())}", hidden())


def upgrade_in_chunks(word: str, connection: str) -> bytes:
    """The body is chunked."""
    body = hidden()
    return upgrade(word, connection, CHUNKED, b"%x\r\n%b\r\n%b" % (len(body), body, NOTHING))


WORDS = ["h2c", "websocket", "WebSocket", "TLS/1.2", "x", "websocket, h2c", "HTTP/2.0"]
CONNECTIONS = ["Upgrade", "Upgrade, HTTP2-Settings", "keep-alive, Upgrade", "close, Upgrade"]
UPGRADES: list[Case[bytes]] = cases(
    "H11",
    "missing_credential",
    [
        (f"{how} behind `Upgrade: {word}`, `Connection: {connection}`", partial(make, word, connection))
        for how, make in (("length", upgrade_by_length), ("chunks", upgrade_in_chunks))
        for word in WORDS
        for connection in CONNECTIONS
    ],
)
