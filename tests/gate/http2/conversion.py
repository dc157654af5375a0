# SPDX-License-Identifier: Apache-2.0
"""A request written in HTTP/1.1, asked in HTTP/2, and its answer written in HTTP/1.1 again.

So the cases of the HTTP/1.1 proxy are those of HTTP/2 too, with the same expectations.
"""

from __future__ import annotations

from http import HTTPStatus

from tests.gate.http2.caller import Answer, Caller, Fields

_OF_CONNECTION = (b"connection", b"transfer-encoding", b"keep-alive", b"host", b"expect")


def fields_of(line: bytes, headers: list[bytes]) -> Fields:
    """The fields of a request that is given as its lines."""
    method, target, _ = line.split(b" ")
    pairs = [(name.lower(), value.strip()) for name, _, value in (each.partition(b":") for each in headers)]
    hosts = [value for name, value in pairs if name == b"host"]
    rest = [pair for pair in pairs if pair[0] not in _OF_CONNECTION]
    return [
        (b":method", method),
        (b":scheme", b"http"),
        (b":authority", hosts[0] if hosts else b"gate"),
        (b":path", target),
        *rest,
    ]


def asked_in_http2(address: str, line: bytes, headers: list[bytes], body: bytes) -> bytes:
    """The answer to a request on a connection of its own; what was reset before its end is cut short."""
    has_body = any(each.lower().startswith((b"content-length:", b"transfer-encoding:")) for each in headers)
    with Caller(address) as caller:
        answer = caller.ask(fields_of(line, headers), body if has_body else None)
    return written(answer)


def written(answer: Answer) -> bytes:
    """An answer as HTTP/1.1 has it; empty where there was none."""
    out = b""
    for fields in (*answer.early, answer.fields):
        if not fields:
            continue
        status = int(fields[0][1])
        phrase = HTTPStatus(status).phrase if status in set(HTTPStatus) else "Odd"
        out += b"HTTP/1.1 %d %s\r\n" % (status, phrase.encode())
        out += b"".join(b"%b: %b\r\n" % pair for pair in fields[1:]) + b"\r\n"
    return out + answer.body
