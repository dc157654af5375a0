# SPDX-License-Identifier: Apache-2.0
"""What the caller really asked for, as *this* proxy says it, and from nowhere else.

Each proxy sets its own headers and passes the rest of the caller's through. Guessing between them would let a
caller choose the path that is checked (CVE-2026-40575, CVE-2026-35051), so each endpoint reads its own pair.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from watchword.identity import Reason, Refusal

RequestHeaders = Iterable[tuple[bytes, bytes]]


class Asked(msgspec.Struct, frozen=True, gc=False):
    """The original request.

    Attributes:
        method: its method.
        target: its raw request target.
    """

    method: str
    target: bytes


# Endpoint: the header with the method, the header with the target.
_PAIRS: Final[Mapping[bytes, tuple[bytes, bytes]]] = {
    b"/authz/nginx": (b"x-original-method", b"x-original-uri"),
    b"/authz/traefik": (b"x-forwarded-method", b"x-forwarded-uri"),
    b"/authz/caddy": (b"x-forwarded-method", b"x-forwarded-uri"),
}
# A request line cannot hold these (RFC 9112, section 3): whoever says so is no proxy that forwards one.
_NO_TARGET: Final = re.compile(rb"[\x00-\x20\x7f]")
ENVOY_PREFIX: Final = b"/authz/envoy"


def original_request(
    path: bytes, target: bytes, method: str, headers: RequestHeaders
) -> Asked | Refusal | None:
    """Find the original request for one of the proxy endpoints.

    Args:
        path: the raw path of the request to the gate.
        target: its whole raw target, with the query.
        method: its method.
        headers: its headers.

    Returns:
        The original request; `no_route` when the proxy did not say it, or said it twice; None when the path
        is no proxy endpoint.
    """
    if path.startswith(ENVOY_PREFIX + b"/"):
        # Envoy's HTTP ext_authz puts its path prefix before the original target and keeps the method.
        return Asked(method, target[len(ENVOY_PREFIX) :])
    pair = _PAIRS.get(path)
    if pair is None:
        return None
    methods = [value for key, value in headers if key == pair[0]]
    targets = [value for key, value in headers if key == pair[1]]
    for name, values in zip(pair, (methods, targets), strict=True):
        if len(values) != 1 or not values[0]:
            title = name.decode().title()
            amount = "no" if not values or not values[0] else "more than one"
            hint = f"Have the proxy set {title} on the request to {path.decode()}, exactly once."
            return Refusal(Reason.NO_ROUTE, f"The request carries {amount} {title}.", hint)
    if _NO_TARGET.search(targets[0]):
        title = pair[1].decode().title()
        return Refusal(Reason.NO_ROUTE, f"{title} holds white space or a control character.")
    try:
        return Asked(methods[0].decode("ascii"), targets[0])
    except UnicodeDecodeError:
        return Refusal(Reason.NO_ROUTE, "The forwarded method is not ASCII.")
