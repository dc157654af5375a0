# SPDX-License-Identifier: Apache-2.0
"""Registrations and people as those see them who run or administer a desk: never a secret, never a digest.

One form for the admin API and for the command line that works on the store. An address is in it only where
the question was about the person who has it.
"""

from collections.abc import Sequence
from typing import Any, Final, Protocol

from watchword.desk.agents import storage
from watchword.desk.agents.core import timestamp
from watchword.desk.agents.records import Registration

Document = dict[str, Any]
REGISTRATION_ID: Final = r"reg_[0-9a-f]{32}"


class Look(Protocol):
    """Rows that a look of `storage` finds; what it raises is its own."""

    def __call__(self, statement: str, parameters: Sequence[object]) -> list[storage.Row]:
        """The rows."""
        ...


def registration_view(found: Registration, now: float) -> Document:
    """A registration: what it is known by, where it stands, and by which pseudonym its person is known."""
    return {
        "id": found.id,
        "kind": found.kind,
        "state": state_of(found, now),
        "person": found.person or None,
        "epoch": found.epoch,
        "guesses": found.guesses,
        "made_at": timestamp(found.made_at),
        "expires_at": timestamp(found.expires_at),
    }


def state_of(found: Registration, now: float) -> str:
    """`unclaimed`, `claimed`, `revoked`, or `ended` once its time is over."""
    return "ended" if found.state != "revoked" and found.expires_at <= now else found.state


def person_view(look: Look, address: str, now: float) -> Document | None:
    """All that is kept of the person with an address, for whom it concerns; None: nothing is.

    Args:
        look: reads the store.
        address: as `read_address` gives it.
        now: seconds since the epoch.
    """
    people = look(storage.PEOPLE_BY_ADDRESS, (address,))
    attempts = look(storage.ATTEMPTS_TO_ADDRESS, (address,))
    if not people and not attempts:
        return None
    return {
        "address": address,
        "people": [_person(look, row, now) for row in people],
        "open_claims": [{"agent": row[1], "expires_at": timestamp(row[7])} for row in attempts],
    }


def _person(look: Look, row: storage.Row, now: float) -> Document:
    identifier = str(row[0])
    agents = look(storage.AGENTS_OF_PERSON, (identifier,))
    held = [each for agent in agents if (each := storage.registration_of([agent])) is not None]
    return {
        "pseudonym": identifier,
        "proven_by": "sign_in" if row[2] else "mail",
        "issuer": row[2] or None,
        "subject": row[3] or None,
        "agents": [registration_view(each, now) for each in held],
    }
