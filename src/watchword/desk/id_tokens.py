# SPDX-License-Identifier: Apache-2.0
"""ID tokens of OpenID providers: whom one says signed in, once all of it holds.

Pure, and the only reader that there is: the claim page and the admin API must not differ in what they take
for proof of a person.
"""

import hmac
import math
from collections.abc import Sequence
from typing import Final

import msgspec

from watchword.desk.agents.policy import read_address
from watchword.identity import ALGORITHMS, EncodingError, Key, parse_json_object
from watchword.identity.compact import UnverifiedToken
from watchword.identity.signature import signature_holds

_SKEW_SECONDS: Final = 60
_MAX_SUBJECT: Final = 255
# What changes the meaning of the signed bytes (RFC 7515, section 4.1.11; RFC 7797; RFC 7516). Hints about
# keys are ignored and not refused: common providers send them, and keys come from the issuer alone.
_REFUSED_HEADERS: Final = frozenset({"crit", "b64", "zip", "enc"})


class SignedIn(msgspec.Struct, frozen=True):
    """Who signed in: the provider's name for the person, and the address that it says is verified."""

    subject: str
    address: str

    def __repr__(self) -> str:
        return "SignedIn()"


class _IdToken(msgspec.Struct, frozen=True):
    """OpenID Connect Core 1.0, section 2."""

    iss: str
    sub: str
    aud: str | list[str]
    exp: int | float
    iat: int | float
    nonce: str
    email: str
    email_verified: bool
    azp: str | msgspec.UnsetType = msgspec.UNSET
    nbf: int | float = -math.inf


def read_id_token(
    token: UnverifiedToken,
    keys: Sequence[Key],
    *,
    issuer: str,
    client_id: str,
    nonce: str,
    now: float,
    max_age_seconds: float | None = None,
) -> SignedIn | str:
    """Who an ID token says signed in (OpenID Connect Core 1.0, section 3.1.3.7). Never raises for bad input.

    Args:
        token: what the provider, or anyone, sent.
        keys: the provider's.
        issuer: the provider's issuer identifier.
        client_id: the only audience that it may have.
        nonce: what it must say, so that it was made for this very sign-in.
        now: seconds since the epoch.
        max_age_seconds: how long ago it may have been issued; None: for as long as it is good.

    Returns:
        Who signed in; or which check failed, as a sentence for the audit log that quotes nothing.
    """
    algorithm, kind = token.header.get("alg"), token.header.get("typ", "JWT")
    if not _REFUSED_HEADERS.isdisjoint(token.header):
        return "the ID token's header asks for something that is never done"
    # RFC 8725, section 3.11: an access token, or a logout token, of the same keys is no proof of a sign-in.
    if not isinstance(kind, str) or kind.upper() != "JWT":
        return "the ID token's typ is that of something else"
    fitting = [each for each in keys if each.algorithm == algorithm and algorithm in ALGORITHMS]
    if not any(signature_holds(each, token.signed, token.signature) for each in fitting):
        return "no key of the provider signed the ID token"
    try:
        said = msgspec.convert(parse_json_object(token.payload), _IdToken)
    except (EncodingError, msgspec.ValidationError, RecursionError):
        return "the ID token lacks a claim, or one is of another type"
    audiences = [said.aud] if isinstance(said.aud, str) else said.aud
    if said.iss != issuer or audiences != [client_id]:
        return "the ID token is of another issuer, or for someone else as well"
    if said.azp not in (msgspec.UNSET, client_id):
        return "the ID token was issued to another client"
    if not hmac.compare_digest(said.nonce.encode("utf-8", "replace"), nonce.encode("utf-8", "replace")):
        return "the ID token was not made for this sign-in"
    if not said.exp + _SKEW_SECONDS > now or not max(said.iat, said.nbf) - _SKEW_SECONDS <= now:
        return "the ID token has ended, or is of the future"
    if max_age_seconds is not None and not now - said.iat <= max_age_seconds:
        return f"the ID token is older than {max_age_seconds:.0f} s"
    address = read_address(said.email)
    if not said.email_verified or address is None:
        return "the provider does not say that the address is verified"
    if not 1 <= len(said.sub) <= _MAX_SUBJECT or not said.sub.isprintable():
        return "the subject is not a name"
    return SignedIn(said.sub, address)
