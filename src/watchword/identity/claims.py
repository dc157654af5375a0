# SPDX-License-Identifier: Apache-2.0
"""Claims of a token whose signature held, read once, with their types.

Nothing downstream sees a raw dictionary: a claim that is absent is None, and one of the wrong type is a
refusal here, so that no check can trip over a string where a time should be (RFC 7519, section 4.1;
Kubernetes v1.36, pkg/serviceaccount/claims.go).
"""

import re
from typing import Final, TypeVar

import msgspec

from watchword.identity.encoding import EncodingError, parse_json_object
from watchword.identity.reasons import Reason, Refusal

# Times beyond 64 bits cannot be compared as the floats that clocks give; no issuer means them.
_MAX_TIME: Final = float(2**63)
_NO_TIME: Final = "The claim {} is not a time that a clock can show."
# How msgspec names types, in the words of someone who reads JSON (RFC 8259, section 3).
_TYPE_NAMES: Final = {
    "int": "a number",
    "float": "a number",
    "str": "text",
    "bool": "true or false",
    "null": "null",
    "array": "a list",
    "object": "an object",
}
_WRONG_TYPE: Final = re.compile(
    r"Expected `(?P<wanted>[^`]*)`, got `(?P<found>[^`]*)`(?: - at `\$\.?(?P<path>[^`]*)`)?"
)
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


class KubernetesClaims(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """The private claim `kubernetes.io`. None: the signed bytes do not say it.

    Attributes:
        namespace: `namespace`.
        node: `node`: where the pod runs.
        pod: `pod`.
        service_account: `serviceaccount`.
    """

    namespace: str | None = None
    node: ObjectReference | None = None
    pod: ObjectReference | None = None
    service_account: ObjectReference | None = msgspec.field(default=None, name="serviceaccount")


class VerifiedClaims(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """What the signed bytes say, in the order in which kube-apiserver writes it.

    None, or an empty audience: they do not say it.

    Attributes:
        audience: `aud`, always as a tuple.
        expires_at: `exp`, seconds since the epoch.
        issued_at: `iat`, seconds since the epoch.
        issuer: `iss`.
        token_id: `jti`.
        kubernetes: `kubernetes.io`.
        not_before: `nbf`, seconds since the epoch.
        subject: `sub`.
    """

    audience: tuple[str, ...] = msgspec.field(default=(), name="aud")
    expires_at: int | float | None = msgspec.field(default=None, name="exp")
    issued_at: int | float | None = msgspec.field(default=None, name="iat")
    issuer: str | None = msgspec.field(default=None, name="iss")
    token_id: str | None = msgspec.field(default=None, name="jti")
    kubernetes: KubernetesClaims | None = msgspec.field(default=None, name="kubernetes.io")
    not_before: int | float | None = msgspec.field(default=None, name="nbf")
    subject: str | None = msgspec.field(default=None, name="sub")

    @property
    def namespace(self) -> str | None:
        """The namespace that `kubernetes.io` names."""
        return self.kubernetes.namespace if self.kubernetes is not None else None

    @property
    def service_account(self) -> ObjectReference | None:
        """The ServiceAccount that `kubernetes.io` names."""
        return self.kubernetes.service_account if self.kubernetes is not None else None

    @property
    def pod(self) -> ObjectReference | None:
        """The pod that `kubernetes.io` names."""
        return self.kubernetes.pod if self.kubernetes is not None else None


class _Kubernetes(msgspec.Struct, gc=False):
    namespace: str | msgspec.UnsetType = msgspec.UNSET
    node: ObjectReference | msgspec.UnsetType = msgspec.UNSET
    pod: ObjectReference | msgspec.UnsetType = msgspec.UNSET
    serviceaccount: ObjectReference | msgspec.UnsetType = msgspec.UNSET


class _Document(msgspec.Struct, gc=False):
    """The claims by their registered names. A member may be absent; null is of no claim's type."""

    aud: str | list[str] | msgspec.UnsetType = msgspec.UNSET
    exp: int | float | msgspec.UnsetType = msgspec.UNSET
    iat: int | float | msgspec.UnsetType = msgspec.UNSET
    iss: str | msgspec.UnsetType = msgspec.UNSET
    jti: str | msgspec.UnsetType = msgspec.UNSET
    kubernetes: _Kubernetes | msgspec.UnsetType = msgspec.field(default=msgspec.UNSET, name="kubernetes.io")
    nbf: int | float | msgspec.UnsetType = msgspec.UNSET
    sub: str | msgspec.UnsetType = msgspec.UNSET


_decode: Final = msgspec.json.Decoder(VerifiedClaims).decode
_encode: Final = msgspec.json.Encoder().encode


def read_claims(payload: bytes) -> VerifiedClaims | Refusal:
    """Read the claims of a payload whose signature held (check 7).

    Args:
        payload: the decoded second part of a verified token.

    Returns:
        The claims, or `malformed_claims`. Never raises for bad input.
    """
    claims = _read_as_written(payload)
    if claims is None:
        try:
            claims = _read_at_length(payload)
        except EncodingError as problem:
            return Refusal(Reason.MALFORMED_CLAIMS, f"The payload is {problem}.")
        except (msgspec.ValidationError, OverflowError) as problem:
            return Refusal(Reason.MALFORMED_CLAIMS, _in_words(str(problem)))
    # Written out: three calls less for each token.
    issued_at, not_before, expires_at = claims.issued_at, claims.not_before, claims.expires_at
    if issued_at is not None and not -_MAX_TIME < issued_at < _MAX_TIME:
        return Refusal(Reason.MALFORMED_CLAIMS, _NO_TIME.format("iat"))
    if not_before is not None and not -_MAX_TIME < not_before < _MAX_TIME:
        return Refusal(Reason.MALFORMED_CLAIMS, _NO_TIME.format("nbf"))
    if expires_at is not None and not -_MAX_TIME < expires_at < _MAX_TIME:
        return Refusal(Reason.MALFORMED_CLAIMS, _NO_TIME.format("exp"))
    return claims


def _read_as_written(payload: bytes) -> VerifiedClaims | None:
    # A projected token holds these claims in this order and nothing else. Where re-encoding gives the very
    # same bytes, no name was repeated, none is unknown and none is null: one typed pass is enough.
    try:
        claims = _decode(payload)
        return claims if _encode(claims) == payload else None
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None


def _read_at_length(payload: bytes) -> VerifiedClaims:
    document = msgspec.convert(parse_json_object(payload), _Document)
    audience, kubernetes = _given(document.aud) or (), _given(document.kubernetes)
    return VerifiedClaims(
        audience=(audience,) if isinstance(audience, str) else tuple(audience),
        expires_at=_given(document.exp),
        issued_at=_given(document.iat),
        issuer=_given(document.iss),
        token_id=_given(document.jti),
        kubernetes=None
        if kubernetes is None
        else KubernetesClaims(
            _given(kubernetes.namespace),
            _given(kubernetes.node),
            _given(kubernetes.pod),
            _given(kubernetes.serviceaccount),
        ),
        not_before=_given(document.nbf),
        subject=_given(document.sub),
    )


def _given(value: _T | msgspec.UnsetType) -> _T | None:
    return None if value is msgspec.UNSET else value


def _in_words(problem: str) -> str:
    """What is wrong with a claim, from msgspec's message: "exp is text; it must be a number"."""
    found = _WRONG_TYPE.match(problem)
    if found is None:
        return "A claim is missing, or is a number that cannot be read."
    names = dict.fromkeys(_TYPE_NAMES.get(each, each) for each in found["wanted"].split(" | "))
    name = found["path"] or "The payload"
    return f"{name} is {_TYPE_NAMES.get(found['found'], found['found'])}; it must be {' or '.join(names)}."


def quoted(text: str) -> str:
    """A verified claim as it may be shown in an answer: escaped, and cut to 120 characters."""
    shown = text if len(text) <= _QUOTED_CHARACTERS else text[:_QUOTED_CHARACTERS] + "…"
    return ascii(shown)
