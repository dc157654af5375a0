# SPDX-License-Identifier: Apache-2.0
"""A request to `/authz` or one of its variants, taken apart: whose credential, and about which request.

All of it follows from the request's own bytes and from nothing else, so that the same bytes need not be taken
apart twice. Both ways to an answer (the protocol's fast path, the application) start from this one reading.
"""

from hashlib import sha256
from typing import TYPE_CHECKING, Final

import msgspec

from watchword.gate.audit import Peer, Said, Unproven
from watchword.gate.original_request import OriginalRequest, RequestHeaders, original_request
from watchword.gate.responses import Answer, problem
from watchword.gate.tracing.trace_context import read_trace_parent
from watchword.identity import Reason, Refusal, read_bearer, sole_authorization
from watchword.trust.ruleset import AUTHORIZATION

if TYPE_CHECKING:
    from watchword.gate.tracing.spans import Parent

PATH: Final = b"/authz"
_BEARER: Final = b"Bearer "
TOKEN_PLACE: Final = len(_BEARER)
_PREFIX: Final = PATH + b"/"
_ENDPOINTS: Final = "/authz, or /authz/ and nginx, ingress-nginx, traefik, caddy, or envoy and the path"


class Credential(msgspec.Struct, frozen=True, gc=False):
    """A credential as it was presented. Nothing is known of it yet; its repr shows nothing.

    Attributes:
        value: the value of the Authorization header; the scheme is spelled `Bearer` where it is that scheme.
        key: the value's SHA-256: what a decision is remembered by, so that no token has to be.
    """

    value: bytes
    key: bytes

    def __repr__(self) -> str:
        return "Credential(...)"


class AuthzRequest(msgspec.Struct, frozen=True, gc=False):
    """A question to the gate: whose credential, and about which request.

    Attributes:
        credential: what was presented, or why the request has nothing that can be read.
        original: the request that a proxy asks about; why the proxy did not say which; None where only the
            identity is asked for.
        method: the method of the request to the gate itself.
        target: its raw target.
        peer: the other end of the connection that it came on; None where it is not known.
        parent: the span that the decision is part of, while the gate traces.
        goes_to_app: it is itself the request, and is passed on if it is let in: report only may let it in.
    """

    credential: Credential | Refusal
    original: OriginalRequest | Refusal | None = None
    method: str = "GET"
    target: bytes = PATH
    peer: Peer | None = None
    parent: "Parent | None" = None
    goes_to_app: bool = False

    def unproven(self) -> Unproven:
        """What its sender tells, for the audit log: of the original request, if a proxy said which it is."""
        original = self.original
        if isinstance(original, OriginalRequest):
            return Said(self.peer, original.method, original.target, self.parent).unproven()
        return Said(self.peer, self.method, self.target, self.parent).unproven()


def find_credential(headers: RequestHeaders, header: bytes = AUTHORIZATION) -> Credential | Refusal:
    """Find the credential of a request, or `missing_credential` or `malformed_credential`.

    Args:
        headers: the request's, names in lower case.
        header: the one that holds it: Authorization, or one with nothing but the token.
    """
    if header != AUTHORIZATION:
        return _present_token([value for name, value in headers if name == header], header)
    value = sole_authorization(headers)
    return value if isinstance(value, Refusal) else credential_of(value)


def credential_of(value: bytes | None) -> Credential | Refusal:
    """The credential in the value of the one Authorization header; None: there is no such header."""
    if value is None:
        return Refusal(Reason.MISSING_CREDENTIAL)
    if not value.startswith(_BEARER):
        # Another spelling of the scheme, which is remembered under the one; or another scheme.
        token = read_bearer(value)
        if isinstance(token, Refusal):
            return token
        value = _BEARER + token
    return Credential(value, sha256(value).digest())


def is_authz_request(target: bytes) -> bool:
    """Whether a raw request target is the gate's own to answer: `/authz`, or anything below it."""
    path = target.partition(b"?")[0]
    return path == PATH or path.startswith(_PREFIX)


def _present_token(values: list[bytes], header: bytes) -> Credential | Refusal:
    title = header.decode().title()
    hint = f"Send `{title}: <projected ServiceAccount token>`, once and without `Bearer`."
    if not values:
        return Refusal(Reason.MISSING_CREDENTIAL, f"The request carries no {title} header.", hint)
    if len(values) > 1 or not values[0] or b" " in values[0]:
        return Refusal(Reason.MALFORMED_CREDENTIAL, f"{title} is not exactly one token.", hint)
    return credential_of(_BEARER + values[0])


def read_authz_request(
    method: str,
    target: bytes,
    headers: RequestHeaders,
    peer: Peer | None = None,
    header: bytes = AUTHORIZATION,
    *,
    traces: bool = False,
) -> AuthzRequest | Answer | None:
    """Take a request apart.

    Args:
        method: its method.
        target: its raw request target.
        headers: its headers, names in lower case.
        peer: the other end of the connection.
        header: the one that holds the token.
        traces: find the caller's span as well.

    Returns:
        The authz request; the answer where there is no such endpoint below `/authz/`; None for other paths.
    """
    path = target.partition(b"?")[0]
    if path == PATH:
        return AuthzRequest(
            find_credential(headers, header),
            None,
            method,
            target,
            peer,
            read_trace_parent(headers) if traces else None,
        )
    if not path.startswith(_PREFIX):
        return None
    original = original_request(path, target, method, headers)
    if original is None:
        return problem(404, "There is no such endpoint.", f"Use {_ENDPOINTS}.")
    parent = read_trace_parent(headers) if traces else None
    return AuthzRequest(find_credential(headers, header), original, method, target, peer, parent)
