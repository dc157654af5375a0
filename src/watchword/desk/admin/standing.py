# SPDX-License-Identifier: Apache-2.0
"""Whether a client is an admin now: its object, and what guards it, read again for each token and each call.

What a watch brought a moment ago is not enough here: a flag that was withdrawn counts no more on the next
call, and a policy that is gone takes every flag with it.
"""

import hashlib
from collections.abc import Iterable
from typing import Final, Protocol

import msgspec

from watchword.desk.refusals import DeskRefusal, not_ready
from watchword.process.logs import LOGGER
from watchword.trust.admin_grants import account_of, accounts_of_several, is_flagged
from watchword.trust.api.v1alpha1 import DeskClient

_encode: Final = msgspec.json.Encoder(order="deterministic").encode


class AdminStanding(msgspec.Struct, frozen=True):
    """What the configuration says of one client.

    Attributes:
        problem: why it is no admin, as one sentence without its end; empty: it is one.
        version: which object it is and what its spec says: another text for each change.
        granted_by: the user who set the flag, as the object says it.
    """

    problem: str = ""
    version: str = ""
    granted_by: str = ""


class StandingUnknownError(Exception):
    """What decides could not be read; the message says why. No one is an admin meanwhile."""


class AdminGrants(Protocol):
    """Reads what decides whether a client is an admin."""

    async def standing(self, client: str) -> AdminStanding:
        """What is the case now, for the DeskClient of this name. Raises StandingUnknownError."""
        ...


async def read_standing(grants: AdminGrants, client: str) -> AdminStanding | DeskRefusal:
    """The standing of a DeskClient now, by its name; a refusal, and a line in the log, if it is unknown."""
    try:
        return await grants.standing(client)
    except StandingUnknownError as error:
        LOGGER.error("an admin client cannot be read", extra={"client": client, "detail": str(error)})
        return not_ready()


def standing_of(client: DeskClient | None, others: Iterable[DeskClient] = ()) -> AdminStanding:
    """The standing of a client by its object alone.

    Args:
        client: the object; None: there is none of this desk.
        others: all clients next to it: one of the same ServiceAccount, or the same person, ends both.
    """
    if client is None:
        return AdminStanding("there is no such DeskClient")
    if not is_flagged(client):
        return AdminStanding("adminServiceAccount of the DeskClient is not true")
    if account_of(client) in accounts_of_several(
        (client, *(each for each in others if not _same(each, client)))
    ):
        return AdminStanding("another DeskClient names the same ServiceAccount, or the same person")
    return AdminStanding("", version_of(client), client.spec.granted_by or "")


def _same(one: DeskClient, other: DeskClient) -> bool:
    return (one.metadata.namespace, one.metadata.name) == (other.metadata.namespace, other.metadata.name)


def version_of(client: DeskClient) -> str:
    """Which object it is and what its spec says: another text for each change."""
    # The generation tells a flag that was withdrawn and set again from one that never was.
    digest = hashlib.sha256(_encode(client.spec)).hexdigest()
    return f"{client.metadata.uid}/{client.metadata.generation}/{digest}"


def have_one_spec(one: str, other: str) -> bool:
    """Whether two versions are of one object and say the same, whatever became of it in between.

    What proves the client is in the spec: a credential that was checked against one of them is good for both.
    """
    parts = [each.split("/") for each in (one, other)]
    return (parts[0][0], parts[0][-1]) == (parts[1][0], parts[1][-1])
