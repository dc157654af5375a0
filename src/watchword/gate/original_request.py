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
from watchword.trust import FormFlaw, form_flaw_behind_proxy

RequestHeaders = Iterable[tuple[bytes, bytes]]


class OriginalRequest(msgspec.Struct, frozen=True, gc=False):
    """The original request.

    Attributes:
        method: its method.
        target: its raw request target.
        form_flaw: why its body could be read as a form; None: it could not.
    """

    method: str
    target: bytes
    form_flaw: FormFlaw | None = None


# Endpoint: the header with the method, the header with the target.
PAIRS: Final[Mapping[bytes, tuple[bytes, bytes]]] = {
    b"/authz/nginx": (b"x-original-method", b"x-original-uri"),
    b"/authz/ingress-nginx": (b"x-original-method", b"x-original-url"),
    b"/authz/traefik": (b"x-forwarded-method", b"x-forwarded-uri"),
    b"/authz/caddy": (b"x-forwarded-method", b"x-forwarded-uri"),
}
INGRESS_NGINX: Final = b"/authz/ingress-nginx"
# `$scheme://$http_host$request_uri`, as its auth-url template has it. The host is the caller's word: with a
# slash or a question mark in it, the caller would choose which path is checked.
_INGRESS_URL: Final = re.compile(rb"https?://[A-Za-z0-9.:\[\]-]+(/.*)")
# A request line cannot hold these (RFC 9112, section 3): anyone who says so is no proxy that forwards one.
_NO_TARGET: Final = re.compile(rb"[\x00-\x20\x7f]")
ENVOY_PREFIX: Final = b"/authz/envoy"


def original_request(
    path: bytes, target: bytes, method: str, headers: RequestHeaders
) -> OriginalRequest | Refusal | None:
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
        return OriginalRequest(method, target[len(ENVOY_PREFIX) :], form_flaw_behind_proxy(method, headers))
    pair = PAIRS.get(path)
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
    target = targets[0]
    if path == INGRESS_NGINX:
        url = _INGRESS_URL.fullmatch(target)
        if url is None:
            detail = "X-Original-Url is not a scheme, `://`, a plain host and a path."
            hint = "Have ingress-nginx set X-Original-URL itself (auth-url), and call it by a host name."
            return Refusal(Reason.NO_ROUTE, detail, hint)
        target = url[1]
    try:
        said = methods[0].decode("ascii")
    except UnicodeDecodeError:
        return Refusal(Reason.NO_ROUTE, "The forwarded method is not ASCII.")
    return OriginalRequest(said, target, form_flaw_behind_proxy(said, headers))
