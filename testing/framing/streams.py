# SPDX-License-Identifier: Apache-2.0
"""Request streams by a grammar of good and bad framing, then mutated and cut, all from one seed.

A stream of random bytes never gets past a request line. So most streams are almost right: one field, one
length or one line end differs from what RFC 9112 says, which is where two parsers part ways.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass

CRLF = b"\r\n"
METHODS = (b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"PATCH", b"OPTIONS")
ODD_METHODS = (b"CONNECT", b"get", b"PRI", b"TRACE", b"M-SEARCH", b"PO ST", b"", b"POST\t", b"LOCK")
# The last segment tells the app how to answer (`recorder.py`).
NAMES = (b"echo", b"echo", b"echo", b"early", b"early-close", b"chunked", b"none", b"slow", b"ws")
VERSIONS = (b"HTTP/1.1",) * 30 + (
    b"HTTP/1.0",
    b"HTTP/1.2",
    b"HTTP/2.0",
    b"http/1.1",
    b"HTTP/1.1 ",
    b"HTTP/01.1",
)
UPGRADES = (
    b"h2c",
    b"websocket",
    b"WebSocket",
    b"TLS/1.0",
    b"foo",
    b"websocket, h2c",
    b"h2c, websocket",
    b"H2C",
    b"",
)
CONNECTIONS = (
    b"Upgrade",
    b"Upgrade, HTTP2-Settings",
    b"keep-alive, Upgrade",
    b"upgrade , close",
    b"keep-alive",
    b"close",
    b"X-Keep-A",
    b"Transfer-Encoding",
    b"Content-Length",
    b"Host, upgrade",
    b"Authorization",
)
LENGTHS = (
    b"+%d",
    b"-%d",
    b"%d, %d",
    b"%d ,%d",
    b"%d\x0b",
    b"0x%x",
    b"%d ",
    b"\t%d",
    b"0%d",
    b"%d.0",
    b"%d,",
    b'"%d"',
    b"1_%d",
    b"%d;",
    b"\xc2\xb2%d",
)
CODINGS = (
    b"gzip, chunked",
    b"chunked, gzip",
    b"chunked, chunked",
    b"identity",
    b"identity, chunked",
    b"xchunked",
    b"chunked;q=1",
    b"\x0bchunked",
    b"chunked\x00",
    b"CHUNKED",
    b"chunked ",
    b"\tchunked",
    b",chunked",
    b"chunked,",
    b'"chunked"',
    b"cow",
    b"",
    b"chunked\x0c",
    b"trailers",
)
CODING_NAMES = (
    b"Transfer-Encoding",
    b"transfer-encoding",
    b"Transfer_Encoding",
    b"Transfer-Encoding ",
    b"Transfer-Encoding\t",
    b" Transfer-Encoding",
    b"TE",
    b"Transfer\x00Encoding",
    b"X\rTransfer-Encoding",
    b"X\nTransfer-Encoding",
)
SIZES = (
    b"0x%x",
    b"+%x",
    b"-%x",
    b" %x",
    b"%x ",
    b"%x\t",
    b"0000000000000000%x",
    b"%xg",
    b"%x;",
    b"%x;a=b",
    b"%x ;a",
    b'%x;a="\n"',
    b"%x;a\rb",
    b"%x\r",
    b"%x,%x",
    b"_%x",
    b"%x;a=\x00",
)
LINE_ENDS = (b"\n", b"\r", b"\r\r\n", b"\r\n\r\n", b"\n\r", b"")
EXTRAS = (
    b"X-Keep-A: 1",
    b"X-Keep-B: two words",
    b"Cookie: a=b; c=d",
    b"Accept: */*",
    b"Content-Type: text/plain",
    b"X-Keep-C: \xc3\xa9",
    b"X-Keep-D:",
    b"X-Keep-E:\t tab\t",
    b"Te: trailers",
    b"Trailer: x",
    b"HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA",
)
BAD_EXTRAS = (
    b"X-Fold: a\r\n b",
    b"X-Fold: a\r\n\tTransfer-Encoding: chunked",
    b"X-Nul: a\x00b",
    b"X-Cr: a\rb",
    b"X-Lf: a\nb",
    b": empty",
    b"NoColon",
    b"X Space: a",
    b"X-Space : a",
    b"X-Bell: \x07",
    b"X-High\xff: a",
    b"X-Raw: \xff\xfe",
    b"Content_Length: 3",
    b"Content-Length : 3",
    b"X-Lf: a\nContent-Length: 3",
    b"Host : b",
    b"Expect: 200-maybe",
    b"X-Watchword-Subject: admin",
    b"x_watchword_accounts: *",
)
ALPHABET = tuple(bytes([each]) for each in b"\r\n\0 \t:;,=\"'+-0123456789abcdefxX_/\x0b\x0c\x7f\x80\xff")


@dataclass(frozen=True, slots=True)
class Stream:
    """One stream.

    Attributes:
        parts: what is sent, write by write.
        is_plain: whether every request of it is beyond doubt, so that each has to be taken.
    """

    parts: tuple[bytes, ...]
    is_plain: bool

    @property
    def whole(self) -> bytes:
        """All of its bytes."""
        return b"".join(self.parts)


def make(seed: str, credentials: Sequence[bytes]) -> Stream:
    """The stream of this seed; `credentials` are Authorization header lines that hold."""
    rng = random.Random(seed)
    # A third is beyond doubt: a gate that refuses everything would agree with any judge.
    doubt = 0.0 if rng.random() < 1 / 3 else rng.choice((0.04, 0.12, 0.3))
    whole = b"".join(_request(rng, credentials, doubt) for _ in range(rng.choice((1, 2, 2, 3, 4))))
    is_plain = doubt == 0
    if not is_plain and rng.random() < 0.4:
        for _ in range(rng.randint(1, 3)):
            whole = _mutated(rng, whole)
    return Stream(tuple(_cut(rng, whole)), is_plain)


def _request(rng: random.Random, credentials: Sequence[bytes], doubt: float) -> bytes:
    def odd() -> bool:
        return rng.random() < doubt

    method = rng.choice(ODD_METHODS) if odd() else rng.choice(METHODS)
    name = rng.choice(NAMES)
    target = b"/app/acme/%s?n=%d" % (name, rng.randrange(10**6))
    if odd():
        target = rng.choice(
            (
                b"http://gate" + target,
                b"*",
                b"gate:80",
                target + b"#f",
                target + b" x",
                target + b"\xff",
                b"/authz",
                b"/authz/envoy" + target,
                b"//app/acme/x",
                b"/app/acme/../acme/x",
                b"/app/acme/%2e%2e/x",
                b"",
            )
        )
    lines = [method + b" " + target + b" " + (rng.choice(VERSIONS) if odd() else b"HTTP/1.1")]
    fields = [
        rng.choice(([], [b"Host: a", b"Host: b"], [b"Host:"], [b"host: gate, b"]))
        if odd()
        else [b"Host: gate"]
    ]
    fields.append([b"Authorization: Bearer no"] if odd() else [rng.choice(credentials)])
    fields.append(rng.sample(EXTRAS, rng.randrange(4)))
    if odd():
        fields.append([rng.choice(BAD_EXTRAS)])
    if name == b"ws" or rng.random() < 0.25:
        word = b"websocket" if name == b"ws" and rng.random() < 0.7 else rng.choice(UPGRADES)
        connection = rng.choice(CONNECTIONS) if odd() else rng.choice(CONNECTIONS[:3])
        fields.append([b"Upgrade: " + word, b"Connection: " + connection])
        if word.lower() == b"websocket":
            fields.append([b"Sec-WebSocket-Version: 13", b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="])
    elif odd():
        fields.append([b"Connection: " + rng.choice(CONNECTIONS)])
    body = _content(rng, credentials) if rng.random() < 0.65 else b""
    framing, sent = _framed(rng, body, doubt) if body or odd() else ([], b"")
    fields.append(framing)
    if framing and rng.random() < 0.05:
        fields.append([b"Expect: 100-continue"])
    rng.shuffle(fields)
    lines += [line for group in fields for line in group]
    end = rng.choice(LINE_ENDS) if odd() and odd() else CRLF
    return end.join([*lines, b"", sent]) if end == CRLF else CRLF.join(lines) + end + end + sent


def _content(rng: random.Random, credentials: Sequence[bytes]) -> bytes:
    kind = rng.random()
    if kind < 0.5:
        hidden = b"POST /app/acme/leak HTTP/1.1\r\nHost: a\r\n%s\r\nContent-Length: %d\r\n\r\n"
        return hidden % (rng.choice(credentials), rng.choice((0, 3, 400, 9000)))
    if kind < 0.6:
        return b"0\r\n\r\nGET /app/acme/leak HTTP/1.1\r\nHost: a\r\n%s\r\n\r\n" % rng.choice(credentials)
    if kind < 0.65:
        return rng.randbytes(rng.randint(20_000, 90_000))
    return rng.randbytes(rng.randint(1, 40))


def _framed(rng: random.Random, body: bytes, doubt: float) -> tuple[list[bytes], bytes]:
    def odd() -> bool:
        return rng.random() < doubt

    length, coding = b"Content-Length: %d" % len(body), b"Transfer-Encoding: chunked"
    if odd():
        kind = rng.randrange(8)
        if kind == 0:
            return [length, coding], rng.choice((body, _chunks(rng, body, doubt)))
        if kind == 1:
            other = b"Content-Length: %d" % (len(body) + rng.choice((-1, 0, 0, 1, 7)))
            return [length, other], body
        if kind == 2:
            form = rng.choice(LENGTHS)
            return [b"Content-Length: " + _filled(form, len(body))], body
        if kind == 3:
            return [b"Transfer-Encoding: " + rng.choice(CODINGS)], rng.choice(
                (body, _chunks(rng, body, doubt))
            )
        if kind == 4:
            name = rng.choice(CODING_NAMES)
            return [name + b": chunked", *([length] if rng.random() < 0.5 else [])], _chunks(rng, body, doubt)
        if kind == 5:
            return [coding, b"Transfer-Encoding: " + rng.choice(CODINGS)], _chunks(rng, body, doubt)
        if kind == 6:
            return [b"Content-Length: %d" % max(0, len(body) + rng.choice((-3, -1, 1, 3, 10**6)))], body
        return [], body
    return ([length], body) if rng.random() < 0.5 else ([coding], _chunks(rng, body, doubt))


def _filled(form: bytes, number: int) -> bytes:
    return form % ((number,) * form.count(b"%"))


def _chunks(rng: random.Random, body: bytes, doubt: float) -> bytes:
    parts: list[bytes] = []
    at = 0
    while at < len(body):
        size = rng.randint(1, max(1, len(body)))
        piece, at = body[at : at + size], at + size
        line = b"%x" % len(piece)
        if rng.random() < doubt / 2:
            line = _filled(rng.choice(SIZES), len(piece))
        elif rng.random() < 0.1:
            line = line.upper() if rng.random() < 0.5 else line + b";name=value"
        ends = [rng.choice(LINE_ENDS) if rng.random() < doubt / 4 else CRLF for _ in range(2)]
        parts += [line, ends[0], piece, ends[1]]
    last = rng.choice((b"00", b"0;a", b"-0", b"0 ", b"0x0", b"")) if rng.random() < doubt / 4 else b"0"
    trailers: list[bytes] = []
    if rng.random() < 0.1:
        trailers = [b"X-Trailer: 1\r\n"]
    if rng.random() < doubt / 2:
        trailers = [
            rng.choice(
                (
                    b"Content-Length: 400\r\n",
                    b"Transfer-Encoding: chunked\r\n",
                    b"Authorization: Bearer x\r\n",
                    b"X-Watchword-Subject: admin\r\n",
                    b"X: a\r\n b\r\n",
                    b"X : a\r\n",
                    b"NoColon\r\n",
                    b"X: a\n",
                )
            )
        ]
    return b"".join([*parts, last, CRLF, *trailers, CRLF])


def _mutated(rng: random.Random, whole: bytes) -> bytes:
    if not whole:
        return whole
    # Next to a delimiter more often than not: a byte in the middle of a token only makes it a bad token.
    marks = [at for at, each in enumerate(whole) if each in b"\r\n: ;,"]
    at = (
        rng.choice(marks) + rng.randint(-1, 1) if marks and rng.random() < 0.75 else rng.randrange(len(whole))
    )
    at = max(0, min(at, len(whole) - 1))
    kind = rng.randrange(5)
    if kind == 0:
        return whole[:at] + rng.choice(ALPHABET) + whole[at:]
    if kind == 1:
        return whole[:at] + whole[at + rng.randint(1, 4) :]
    if kind == 2:
        return whole[:at] + rng.choice(ALPHABET) + whole[at + 1 :]
    if kind == 3:
        size = rng.randint(1, 60)
        return whole[: at + size] + whole[at:]
    line = whole.find(CRLF, at)
    return (
        whole[:line] + CRLF + rng.choice((*EXTRAS, *BAD_EXTRAS)) + whole[line:] if line >= 0 else whole[:at]
    )


def _cut(rng: random.Random, whole: bytes) -> list[bytes]:
    pieces = rng.choice((1, 1, 1, 2, 2, 3, 5))
    places: set[int] = set()
    marks = [at for at, each in enumerate(whole) if each in b"\r\n"]
    while len(places) < pieces - 1 and len(whole) > pieces:
        near = bool(marks) and rng.random() < 0.6
        places.add(
            min(
                len(whole) - 1,
                max(1, rng.choice(marks) + rng.randint(0, 1) if near else rng.randrange(len(whole))),
            )
        )
    edges = [0, *sorted(places), len(whole)]
    return [whole[start:end] for start, end in itertools.pairwise(edges)]
