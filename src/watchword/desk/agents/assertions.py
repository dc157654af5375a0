# SPDX-License-Identifier: Apache-2.0
"""An agent's own identity assertion: a JWT that the desk signs for itself, and no one else takes.

Its `typ` is ours, so that no gate, no exchange and no identity provider's reader takes it for anything else,
and the desk takes nothing else for it. It says which registration and in which epoch; whether that still
stands is for the store to say each time.
"""

from typing import Final

import msgspec

from watchword.desk.minting import SigningKey
from watchword.desk.own_signature import own_payload
from watchword.desk.state import DeskState
from watchword.identity import EncodingError, parse_json_object
from watchword.identity.desk_claims import AGENT_SUBJECT

ASSERTION_TYPE: Final = "watchword-agent-identity+jwt"
# How long one is good, in seconds: an agent that is still there gets another one.
ASSERTION_SECONDS: Final = 3600


class AssertionClaims(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What an identity assertion says.

    Attributes:
        iss: the desk's issuer URL.
        aud: the same: it is for the desk alone.
        sub: `agent:<registration>`.
        jti: its id.
        iat: when it was issued, in seconds since the epoch.
        exp: when it ends, likewise.
        epoch: the registration's epoch at that time.
        scope_limit: what tokens for it may allow at most, as its provider said, with spaces; absent: all
            that the registration may.
        signed_by: the thumbprint of the provider's key that signed what it was given for; absent: no provider
            did.
    """

    iss: str
    aud: str
    sub: str
    jti: str
    iat: int
    exp: int
    epoch: int
    scope_limit: str | msgspec.UnsetType = msgspec.UNSET
    signed_by: str | msgspec.UnsetType = msgspec.UNSET

    @property
    def registration(self) -> str:
        """The registration's id."""
        return self.sub.removeprefix("agent:")


_encode: Final = msgspec.json.Encoder().encode


def sign_assertion(signing: SigningKey, claims: AssertionClaims) -> str:
    """A compact JWS of these claims."""
    return signing.sign_as(ASSERTION_TYPE, _encode(claims))


def read_assertion(token: str, state: DeskState) -> AssertionClaims | None:
    """What an assertion of this desk says, whether it has ended or not; None: it is none.

    Args:
        token: what the caller sent.
        state: what the desk runs.
    """
    payload = own_payload(token, ASSERTION_TYPE, state)
    if payload is None:
        return None
    try:
        claims = msgspec.convert(parse_json_object(payload), AssertionClaims)
    except (EncodingError, msgspec.ValidationError):
        return None
    is_ours = claims.iss == claims.aud == state.issuer and AGENT_SUBJECT.fullmatch(claims.sub) is not None
    return claims if is_ours else None
