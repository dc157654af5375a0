# SPDX-License-Identifier: Apache-2.0
"""A request out of the header fields of a stream, refused where HTTP/1.1 would read another one.

The app behind the gate may be told of it in HTTP/1.1, so a field must not be able to become two, end the
head, or say how long the body is (RFC 9113, sections 8.2, 8.3 and 10.3). The same holds where the app speaks
HTTP/2 itself: what is behind it may not.
"""

import re
from collections.abc import Iterable
from typing import Final

import msgspec

from watchword.gate.authority import AUTHORITY
from watchword.gate.http2.limits import MAX_FIELDS, MAX_TRAILERS

Fields = list[tuple[bytes, bytes]]

_METHOD: Final = re.compile(rb"[A-Z][A-Z_\-]{0,31}")
# As the HTTP/1.1 parser has it; whether it is a path is decided with the routes.
_PATH: Final = re.compile(rb"[!-~]+")
_NAME: Final = re.compile(rb"[a-z0-9!#$%&'*+\-.^_`|~]+")
# A value holds no control characters, and no white space around it (RFC 9113, section 8.2.1).
_VALUE: Final = re.compile(rb"(?:[^\x00-\x20\x7f](?:[^\x00-\x08\x0a-\x1f\x7f]*[^\x00-\x20\x7f])?)?")
_DIGITS: Final = re.compile(rb"[0-9]{1,18}")
_PSEUDO: Final = frozenset({b":method", b":scheme", b":authority", b":path"})
# About one connection (RFC 9113, section 8.2.2), and their twins for an app behind CGI or WSGI.
_OF_CONNECTION: Final = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-connection",
        b"transfer-encoding",
        b"upgrade",
        b"http2-settings",
        b"transfer_encoding",
        b"content_length",
    }
)
_GRPC: Final = re.compile(rb"application/grpc(?:[+;].*)?", re.IGNORECASE)
# Fields that are not among the headers as they came.
_READ_HERE: Final = frozenset({b"host", b"te", b"cookie"})


class MalformedRequestError(ValueError):
    """Header fields that are no request; the text says why, without a byte of what came."""


class Http2Request(msgspec.Struct, frozen=True):
    """A request's head.

    Attributes:
        method: in capitals.
        target: the request target, as sent.
        headers: in lower case, Host first, as an HTTP/1.1 request has them; `te` is not among them.
        length: of its body in bytes, where it says so.
        accepts_trailers: it says `te: trailers`.
        is_grpc: a call of gRPC ("gRPC over HTTP2", Requests).
        expects_continue: it waits for `100 Continue` before its body.
    """

    method: str
    target: bytes
    headers: Fields
    length: int | None
    accepts_trailers: bool
    is_grpc: bool
    expects_continue: bool


def read_request(fields: Iterable[tuple[bytes, bytes]]) -> Http2Request:
    """Read the head of a request.

    Raises:
        MalformedRequestError: it is none (RFC 9113, section 8.1.1).
    """
    pseudo, given = _split(fields)
    method, target = _read_pseudo(pseudo)
    host = _host(pseudo.get(b":authority"), _values(given, b"host"))
    te = _values(given, b"te")
    if any(value != b"trailers" for value in te):
        raise MalformedRequestError("`te` says more than `trailers`")
    headers = [(b"host", host), *(pair for pair in given if pair[0] not in _READ_HERE)]
    cookies = _values(given, b"cookie")
    if cookies:
        # One field for each is for the compression's sake (RFC 9113, section 8.2.3).
        headers.append((b"cookie", b"; ".join(cookies)))
    return Http2Request(
        method,
        target,
        headers,
        _length(_values(given, b"content-length")),
        accepts_trailers=bool(te),
        is_grpc=method == "POST" and any(_GRPC.fullmatch(value) for value in _values(given, b"content-type")),
        expects_continue=any(value.lower() == b"100-continue" for value in _values(given, b"expect")),
    )


def _split(fields: Iterable[tuple[bytes, bytes]]) -> tuple[dict[bytes, bytes], Fields]:
    pseudo: dict[bytes, bytes] = {}
    given: Fields = []
    for number, (name, value) in enumerate(fields):
        if number >= MAX_FIELDS:
            raise MalformedRequestError(f"it has more than {MAX_FIELDS} header fields")
        if name[:1] != b":":
            check_field(name, value)
            given.append((name, value))
        elif name not in _PSEUDO:
            raise MalformedRequestError("it has a pseudo-header field that no request has")
        elif name in pseudo or given:
            raise MalformedRequestError("a pseudo-header field is there twice, or behind another field")
        else:
            pseudo[name] = value
    return pseudo, given


def _values(given: Fields, name: bytes) -> list[bytes]:
    return [value for key, value in given if key == name]


def check_trailers(fields: Iterable[tuple[bytes, bytes]]) -> None:
    """Check the fields behind a body, which are not passed on.

    Raises:
        MalformedRequestError: they are malformed.
    """
    for number, (name, value) in enumerate(fields):
        if number >= MAX_TRAILERS:
            raise MalformedRequestError(f"it has more than {MAX_TRAILERS} trailers")
        if name[:1] == b":":
            raise MalformedRequestError("a pseudo-header field is among the trailers")
        check_field(name, value)


def check_field(name: bytes, value: bytes) -> None:
    """Check one regular field.

    Raises:
        MalformedRequestError: HTTP/1.1 could read it as another field, or as more than one.
    """
    if _NAME.fullmatch(name) is None:
        raise MalformedRequestError("a field's name is not a token in lower case")
    if _VALUE.fullmatch(value) is None:
        raise MalformedRequestError("a field's value holds a control character, or white space around it")
    if name in _OF_CONNECTION:
        raise MalformedRequestError("it has a field that is about an HTTP/1.1 connection")


def _read_pseudo(pseudo: dict[bytes, bytes]) -> tuple[str, bytes]:
    method, scheme, path = (pseudo.get(name) for name in (b":method", b":scheme", b":path"))
    if method == b"CONNECT":
        raise MalformedRequestError("CONNECT is refused: nothing is tunnelled here")
    if method is None or scheme is None or path is None:
        raise MalformedRequestError("`:method`, `:scheme` or `:path` is missing")
    if _METHOD.fullmatch(method) is None:
        raise MalformedRequestError("`:method` is not capitals")
    if scheme not in (b"http", b"https"):
        raise MalformedRequestError("`:scheme` is neither http nor https")
    if _PATH.fullmatch(path) is None:
        raise MalformedRequestError("`:path` is empty, or not of visible ASCII")
    return method.decode("ascii"), path


def _host(authority: bytes | None, hosts: list[bytes]) -> bytes:
    if len(hosts) > 1 or (authority is not None and hosts and hosts[0] != authority):
        raise MalformedRequestError("`:authority` and `host` differ, or there are two hosts")
    host = authority if authority is not None else hosts[0] if hosts else b""
    if AUTHORITY.fullmatch(host) is None:
        raise MalformedRequestError("`:authority` is missing, or not a host and a port")
    return host


def _length(lengths: list[bytes]) -> int | None:
    if not lengths:
        return None
    if len(lengths) > 1 or _DIGITS.fullmatch(lengths[0]) is None:
        raise MalformedRequestError("`content-length` is not one number")
    return int(lengths[0])
