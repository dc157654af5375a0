# SPDX-License-Identifier: Apache-2.0
"""Who calls the admin API: an admin client, by its token, by the stored record, and by its object now.

All three must say so on each call. Nothing is remembered from one call to the next.
"""

import asyncio
from collections.abc import Sequence

import msgspec

from watchword.desk.admin.standing import AdminGrants, read_standing
from watchword.desk.own_tokens import read_own_token
from watchword.desk.reasons import DeskReason
from watchword.desk.refusals import RETRY_SECONDS, DeskRefusal, refuse
from watchword.desk.state import DeskState
from watchword.desk.store import DeskStore, DeskStoreError
from watchword.identity.desk_claims import DeskClaims
from watchword.process.logs import LOGGER
from watchword.trust.desk_tokens import CLIENT_PREFIX


class AdminCaller(msgspec.Struct, frozen=True):
    """An admin client that is one now.

    Attributes:
        client: the DeskClient's name.
        token_id: of the token that it showed.
    """

    client: str
    token_id: str

    @property
    def subject(self) -> str:
        """Its `sub`."""
        return CLIENT_PREFIX + self.client


def bearer_claims(authorization: Sequence[bytes], state: DeskState) -> DeskClaims | DeskRefusal:
    """What a bearer token of this desk says, whatever its kind; not whether it is still good.

    Args:
        authorization: the values of all Authorization headers.
        state: what the desk runs.
    """
    if len(authorization) != 1:
        return refuse(DeskReason.MISSING_TOKEN)
    scheme, _, token = authorization[0].partition(b" ")
    if scheme.lower() != b"bearer" or not token:
        return refuse(DeskReason.MISSING_TOKEN)
    claims = read_own_token(token.decode("latin-1"), state)
    return refuse(DeskReason.INVALID_TOKEN) if claims is None else claims


async def authenticate_admin(
    authorization: Sequence[bytes], state: DeskState, store: DeskStore, grants: AdminGrants, now: float
) -> AdminCaller | DeskRefusal:
    """The admin client that a request comes from, or why it may not pass.

    Args:
        authorization: the values of all Authorization headers.
        state: what the desk runs.
        store: knows which tokens were issued, to whom, and which were revoked.
        grants: reads the client's object.
        now: seconds since the epoch.
    """
    claims = bearer_claims(authorization, state)
    if isinstance(claims, DeskRefusal):
        return claims
    subject = claims.subject
    if claims.kind != "admin":
        return refuse(DeskReason.WRONG_TOKEN_KIND, subject=subject)
    if claims.audience != state.audience or not claims.issued_at - 1 <= now < claims.expires_at:
        return refuse(DeskReason.INVALID_TOKEN, internal="it has ended, or is for another desk")
    try:
        known = await asyncio.to_thread(store.find, claims.token_id)
    except DeskStoreError as error:
        LOGGER.error("the store failed", extra={"detail": error.detail, "remedy": error.remedy})
        return refuse(DeskReason.STORE_UNAVAILABLE, retry_after=RETRY_SECONDS)
    if known is None or known.is_revoked or (known.kind, known.subject) != ("admin", subject):
        return refuse(
            DeskReason.INVALID_TOKEN, internal="it is revoked, or was not issued so", subject=subject
        )
    client = subject.removeprefix(CLIENT_PREFIX)
    standing = await read_standing(grants, client)
    if isinstance(standing, DeskRefusal):
        return standing
    if standing.problem:
        return refuse(DeskReason.NOT_AN_ADMIN, internal=standing.problem, subject=subject)
    if standing.version != known.version:
        return refuse(DeskReason.NOT_AN_ADMIN, internal="the DeskClient was changed since", subject=subject)
    return AdminCaller(client, claims.token_id)
