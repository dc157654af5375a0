# SPDX-License-Identifier: Apache-2.0
"""A request to `/authz` or one of its variants, taken apart: whose credential, and about which request.

All of it follows from the request's own bytes and from nothing else, so that the same bytes need not be taken
apart twice. Both ways to an answer (the protocol's short cut, the application) start from this one reading.
"""

from hashlib import sha256
from typing import Final

import msgspec

from watchword.gate.answers import Answer, problem
from watchword.gate.forwarded import Asked, RequestHeaders, original_request
from watchword.identity import Reason, Refusal, read_bearer, sole_authorization

PATH: Final = b"/authz"
_BEARER: Final = b"Bearer "
TOKEN_PLACE: Final = len(_BEARER)
_PREFIX: Final = PATH + b"/"
_ENDPOINTS: Final = "/authz, or /authz/ and nginx, traefik, caddy, or envoy and the path"


class Presented(msgspec.Struct, frozen=True, gc=False):
    """A credential as it was presented. Nothing is known of it yet; its repr shows nothing.

    Attributes:
        value: the value of the Authorization header; the scheme is spelled `Bearer` where it is that scheme.
        key: the value's SHA-256: what a decision is remembered by, so that no token has to be.
    """

    value: bytes
    key: bytes

    def __repr__(self) -> str:
        return "Presented(...)"


class Inquiry(msgspec.Struct, frozen=True, gc=False):
    """What is asked.

    Attributes:
        credential: what was presented, or why the request has nothing that can be read.
        asked: the original request for a proxy; why the proxy did not say it; None where only the identity is
            asked for.
    """

    credential: Presented | Refusal
    asked: Asked | Refusal | None = None


def present(headers: RequestHeaders) -> Presented | Refusal:
    """Find the credential of a request, or `missing_credential` or `malformed_credential`."""
    value = sole_authorization(headers)
    return value if isinstance(value, Refusal) else present_value(value)


def present_value(value: bytes | None) -> Presented | Refusal:
    """The credential in the value of the one Authorization header; None: there is no such header."""
    if value is None:
        return Refusal(Reason.MISSING_CREDENTIAL)
    if not value.startswith(_BEARER):
        # Another spelling of the scheme, which is remembered under the one; or another scheme.
        token = read_bearer(value)
        if isinstance(token, Refusal):
            return token
        value = _BEARER + token
    return Presented(value, sha256(value).digest())


def read_inquiry(method: str, target: bytes, headers: RequestHeaders) -> Inquiry | Answer | None:
    """Take a request apart.

    Args:
        method: its method.
        target: its raw request target.
        headers: its headers, names in lower case.

    Returns:
        The inquiry; the answer where there is no such endpoint below `/authz/`; None for all other paths.
    """
    path = target.partition(b"?")[0]
    if path == PATH:
        return Inquiry(present(headers))
    if not path.startswith(_PREFIX):
        return None
    asked = original_request(path, target, method, headers)
    if asked is None:
        return problem(404, "There is no such endpoint.", f"Use {_ENDPOINTS}.")
    return Inquiry(present(headers), asked)
