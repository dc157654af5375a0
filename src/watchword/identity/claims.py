# SPDX-License-Identifier: Apache-2.0
"""Claims of a token whose signature held, read once, with their types.

Nothing downstream sees a raw dictionary: a claim that is absent is None, and one of the wrong type is a
refusal here, so that no check can trip over a string where a time should be (RFC 7519, section 4.1;
Kubernetes v1.36, pkg/serviceaccount/claims.go).
"""

from typing import Final, TypeVar

import msgspec

from watchword.identity.encoding import EncodingProblem, parse_json_object
from watchword.identity.reasons import Reason, Refusal

# Times beyond 64 bits cannot be compared as the floats that clocks give; no issuer means them.
_MAX_TIME: Final = float(2**63)
# A claim quoted in an answer is cut here: the caller's own words, but never a page of them.
_QUOTED_CHARACTERS: Final = 120

_T = TypeVar("_T")


class ObjectReference(msgspec.Struct, frozen=True, gc=False):
    """A Kubernetes object that a token is bound to.

    Attributes:
        name: its name, or the empty string.
        uid: its UID, or the empty string.
    """

    name: str = ""
    uid: str = ""


class VerifiedClaims(msgspec.Struct, frozen=True, gc=False):
    """What the signed bytes say. None, or an empty audience: they do not say it.

    Attributes:
        issuer: `iss`.
        subject: `sub`.
        audience: `aud`, always as a tuple.
        issued_at: `iat`, seconds since the epoch.
        not_before: `nbf`, seconds since the epoch.
        expires_at: `exp`, seconds since the epoch.
        token_id: `jti`.
        namespace: `kubernetes.io`.`namespace`.
        service_account: `kubernetes.io`.`serviceaccount`.
        pod: `kubernetes.io`.`pod`.
    """

    issuer: str | None
    subject: str | None
    audience: tuple[str, ...]
    issued_at: float | None
    not_before: float | None
    expires_at: float | None
    token_id: str | None
    namespace: str | None
    service_account: ObjectReference | None
    pod: ObjectReference | None


class _Kubernetes(msgspec.Struct, gc=False):
    namespace: str | msgspec.UnsetType = msgspec.UNSET
    node: ObjectReference | msgspec.UnsetType = msgspec.UNSET
    pod: ObjectReference | msgspec.UnsetType = msgspec.UNSET
    serviceaccount: ObjectReference | msgspec.UnsetType = msgspec.UNSET


class _Document(msgspec.Struct, gc=False):
    """The claims by their registered names, in the order in which kube-apiserver writes them.

    A member may be absent; null is of no claim's type.
    """

    aud: str | list[str] | msgspec.UnsetType = msgspec.UNSET
    exp: int | float | msgspec.UnsetType = msgspec.UNSET
    iat: int | float | msgspec.UnsetType = msgspec.UNSET
    iss: str | msgspec.UnsetType = msgspec.UNSET
    jti: str | msgspec.UnsetType = msgspec.UNSET
    kubernetes: _Kubernetes | msgspec.UnsetType = msgspec.field(default=msgspec.UNSET, name="kubernetes.io")
    nbf: int | float | msgspec.UnsetType = msgspec.UNSET
    sub: str | msgspec.UnsetType = msgspec.UNSET


_decode: Final = msgspec.json.Decoder(_Document).decode
_encode: Final = msgspec.json.Encoder().encode
_NO_KUBERNETES: Final = _Kubernetes()


def read_claims(payload: bytes) -> VerifiedClaims | Refusal:
    """Read the claims of a payload whose signature held (check 7).

    Args:
        payload: the decoded second part of a verified token.

    Returns:
        The claims, or `malformed_claims`. Never raises for bad input.
    """
    try:
        document = _read_document(payload)
    except EncodingProblem as problem:
        return Refusal(Reason.MALFORMED_CLAIMS, f"The payload is {problem}.")
    except (msgspec.ValidationError, OverflowError) as problem:
        return Refusal(Reason.MALFORMED_CLAIMS, f"A claim has the wrong type: {problem}.")
    for name, time in (("iat", document.iat), ("nbf", document.nbf), ("exp", document.exp)):
        if time is not msgspec.UNSET and not -_MAX_TIME < time < _MAX_TIME:
            return Refusal(Reason.MALFORMED_CLAIMS, f"The claim {name} is no time that a clock can show.")
    kubernetes = document.kubernetes or _NO_KUBERNETES
    audience = document.aud or ()
    return VerifiedClaims(
        issuer=_given(document.iss),
        subject=_given(document.sub),
        audience=(audience,) if isinstance(audience, str) else tuple(audience),
        issued_at=_given(document.iat),
        not_before=_given(document.nbf),
        expires_at=_given(document.exp),
        token_id=_given(document.jti),
        namespace=_given(kubernetes.namespace),
        service_account=_given(kubernetes.serviceaccount),
        pod=_given(kubernetes.pod),
    )


def _read_document(payload: bytes) -> _Document:
    # A projected token holds these claims in this order and nothing else. Where re-encoding gives the very
    # same bytes, no name was repeated and none is unknown: one typed pass is enough. Else the long way.
    try:
        document = _decode(payload)
        if _encode(document) == payload:
            return document
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        pass
    return msgspec.convert(parse_json_object(payload), _Document)


def _given(value: _T | msgspec.UnsetType) -> _T | None:
    return None if value is msgspec.UNSET else value


def quoted(text: str) -> str:
    """A verified claim as it may stand in an answer: escaped, and cut to 120 characters."""
    shown = text if len(text) <= _QUOTED_CHARACTERS else text[:_QUOTED_CHARACTERS] + "…"
    return ascii(shown)
