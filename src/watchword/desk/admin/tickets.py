# SPDX-License-Identifier: Apache-2.0
"""Tickets: what binds a person's sign-in to one desk and one moment, without a row for each stranger.

A ticket is a JWT of a `typ` of its own that the desk signs for itself, so that every replica knows those of
every other one. The ID token's nonce is the ticket's digest: the provider, its logs and the browser's history
see the digest only, and an ID token is worth nothing without the ticket that it was made for.
"""

import base64
import hashlib
from typing import Final

import msgspec

from watchword.desk.minting import SigningKey
from watchword.desk.own_signature import own_payload
from watchword.desk.state import DeskState
from watchword.identity import EncodingError, parse_json_object

TICKET_TYPE: Final = "watchword-desk-sign-in+jwt"
# How long a person may take in the browser, in seconds.
TICKET_SECONDS: Final = 600
# How far the clocks of two replicas may be apart.
_SKEW_SECONDS: Final = 60
_encode: Final = msgspec.json.Encoder().encode


class Ticket(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a ticket says.

    Attributes:
        iss: the desk's issuer URL.
        aud: the desk's own audience: no other desk's, even where two had one issuer URL.
        jti: its id; each is good for one sign-in.
        iat: when it was handed out, in seconds since the epoch.
        exp: when it ends, likewise.
    """

    iss: str
    aud: str
    jti: str
    iat: int
    exp: int


def new_ticket(state: DeskState, signing: SigningKey, token_id: str, now: float) -> str:
    """A compact JWS that is good for ten minutes from `now`, in seconds since the epoch."""
    claims = Ticket(state.issuer, state.audience, token_id, int(now), int(now) + TICKET_SECONDS)
    return signing.sign_as(TICKET_TYPE, _encode(claims))


def read_ticket(text: str, state: DeskState, now: float) -> Ticket | None:
    """What a ticket of this desk says that is good now; None: it is none.

    Args:
        text: what the caller sent.
        state: what the desk runs.
        now: seconds since the epoch.
    """
    payload = own_payload(text, TICKET_TYPE, state)
    if payload is None:
        return None
    try:
        ticket = msgspec.convert(parse_json_object(payload), Ticket)
    except (EncodingError, msgspec.ValidationError):
        return None
    is_ours = (ticket.iss, ticket.aud) == (state.issuer, state.audience)
    return ticket if is_ours and ticket.iat - _SKEW_SECONDS <= now < ticket.exp else None


def nonce_of(ticket: str) -> str:
    """The nonce that the ID token of a sign-in with this ticket must have, as its text was handed out."""
    digest = hashlib.sha256(ticket.encode("utf-8", "replace")).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
