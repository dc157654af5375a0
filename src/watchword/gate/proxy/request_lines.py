# SPDX-License-Identifier: Apache-2.0
"""A request's first lines for the app: its own, as far as they pass, and what the gate says of them."""

from typing import TYPE_CHECKING, Final

from watchword.gate.proxy.headers import to_app
from watchword.gate.proxy.target import check_target
from watchword.gate.tracing.trace_context import NO_HEADERS
from watchword.process.http_parser import RequestParser

if TYPE_CHECKING:
    from watchword.gate.proxy.upstream import Upstream

# Those to which an app may wait for a body unless it is told that there is none (RFC 9110, section 8.6).
_EXPECTED_TO_HAVE_BODIES: Final = frozenset({b"POST", b"PUT", b"PATCH"})


def request_lines(
    parser: RequestParser,
    upstream: "Upstream",
    scheme: str,
    passed: frozenset[bytes],
    token: bytes,
    *,
    replaced: frozenset[bytes] = NO_HEADERS,
) -> bytes:
    """The lines of the request whose head a parser has just read: all that hang on nothing but its bytes.

    Args:
        parser: it has read the head.
        upstream: the app.
        scheme: `http` or `https`, as the caller spoke.
        passed: names in lower case that the service lets through (`spec.proxy.passHeaders`).
        token: the caller's, which no header may carry on; or nothing.
        replaced: names in lower case of what the gate sends itself, behind these lines.

    Raises:
        UnfitHeaderError: it cannot be passed on as it came.
    """
    target, given = parser.target, parser.headers
    check_target(target)
    headers = to_app(given, (), "", scheme, passed, token=token, replaced=replaced)
    lines = [b"%b %b HTTP/1.1\r\n" % (parser.method, target)]
    names = [name for name, _ in given]
    if b"host" not in names:
        # HTTP/1.0 needs none.
        lines.append(b"host: %b\r\n" % upstream.authority)
    lines += [b"%b: %b\r\n" % pair for pair in headers]
    if parser.is_chunked:
        lines.append(b"transfer-encoding: chunked\r\n")
    elif parser.method in _EXPECTED_TO_HAVE_BODIES and b"content-length" not in names:
        lines.append(b"content-length: 0\r\n")
    return b"".join(lines)
