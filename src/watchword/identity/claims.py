# SPDX-License-Identifier: Apache-2.0
"""Claims of a token whose signature held, read once, with their types.

Nothing downstream sees a raw dictionary: a claim that is absent is None, and one of the wrong type is a
refusal here, so that no check can trip over a string where a time should be (RFC 7519, section 4.1;
Kubernetes v1.36, pkg/serviceaccount/claims.go).
"""

import math
from typing import Final

import msgspec

from watchword.identity.encoding import EncodingProblem, parse_json_object
from watchword.identity.reasons import Reason, Refusal

# Times beyond 64 bits cannot be compared as the floats that clocks give; no issuer means them.
_MAX_TIME: Final = float(2**63)
# A claim quoted in an answer is cut here: the caller's own words, but never a page of them.
_QUOTED_CHARACTERS: Final = 120


class ObjectReference(msgspec.Struct, frozen=True, gc=False):
    """A Kubernetes object that a token is bound to.

    Attributes:
        name: its name.
        uid: its UID.
    """

    name: str
    uid: str


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


class _WrongType(Exception):
    """Raised inside this module only: (claim, what would be right)."""


def read_claims(payload: bytes) -> VerifiedClaims | Refusal:
    """Read the claims of a payload whose signature held (check 7).

    Args:
        payload: the decoded second part of a verified token.

    Returns:
        The claims, or `malformed_claims`. Never raises for bad input.
    """
    try:
        document = parse_json_object(payload)
    except EncodingProblem as problem:
        return Refusal(Reason.MALFORMED_CLAIMS, f"The payload is {problem}.")
    try:
        kubernetes = _object(document, "kubernetes.io", "kubernetes.io") or {}
        return VerifiedClaims(
            issuer=_text(document, "iss", "iss"),
            subject=_text(document, "sub", "sub"),
            audience=_audience(document),
            issued_at=_time(document, "iat"),
            not_before=_time(document, "nbf"),
            expires_at=_time(document, "exp"),
            token_id=_text(document, "jti", "jti"),
            namespace=_text(kubernetes, "namespace", "kubernetes.io.namespace"),
            service_account=_reference(kubernetes, "serviceaccount"),
            pod=_reference(kubernetes, "pod"),
        )
    except _WrongType as wrong:
        claim, right = wrong.args
        return Refusal(Reason.MALFORMED_CLAIMS, f"The claim {claim} is not {right}.")


def quoted(text: str) -> str:
    """A verified claim as it may stand in an answer: escaped, and cut to 120 characters."""
    shown = text if len(text) <= _QUOTED_CHARACTERS else text[:_QUOTED_CHARACTERS] + "…"
    return ascii(shown)


def _text(members: dict[str, object], name: str, path: str) -> str | None:
    if name not in members:
        return None
    value = members[name]
    if type(value) is not str:
        raise _WrongType(path, "a string")
    return value


def _time(members: dict[str, object], name: str) -> float | None:
    if name not in members:
        return None
    value = members[name]
    # bool is an int to Python, and true is no time. Comparing first keeps float() from overflowing.
    if (
        isinstance(value, int | float)
        and type(value) is not bool
        and -_MAX_TIME < value < _MAX_TIME
        and math.isfinite(value)
    ):
        return float(value)
    raise _WrongType(name, "a finite number of seconds")


def _audience(members: dict[str, object]) -> tuple[str, ...]:
    value = members.get("aud", ())
    if type(value) is str:
        return (value,)
    if type(value) is list and all(type(item) is str for item in value):
        return tuple(value)
    if value == ():
        return ()
    raise _WrongType("aud", "a string or a list of strings")


def _object(members: dict[str, object], name: str, path: str) -> dict[str, object] | None:
    if name not in members:
        return None
    value = members[name]
    if type(value) is not dict:
        raise _WrongType(path, "an object")
    return value


def _reference(kubernetes: dict[str, object], name: str) -> ObjectReference | None:
    path = f"kubernetes.io.{name}"
    members = _object(kubernetes, name, path)
    if members is None:
        return None
    return ObjectReference(
        _text(members, "name", f"{path}.name") or "", _text(members, "uid", f"{path}.uid") or ""
    )
