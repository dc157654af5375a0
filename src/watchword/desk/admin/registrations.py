# SPDX-License-Identifier: Apache-2.0
"""What the admin API does about agents: list, show and end registrations, export and forget a person.

An address is never in a path or a query, which logs and histories keep: it is posted. Nor is it in the audit
entry of the call, which names a person by the pseudonym, and after a deletion not at all.
"""

import asyncio
from typing import Any, Final

import msgspec

from watchword.desk.admin.operations import MAX_SCANNED, Call, Outcome, not_found
from watchword.desk.admin.parameters import MAX_LIMIT, limit_of, malformed, read_body
from watchword.desk.agents import events, storage
from watchword.desk.agents.overview import person_view, registration_view
from watchword.desk.agents.policy import read_address
from watchword.desk.agents.records import ForgetPerson, Registration, RevokeAgent
from watchword.desk.refusals import DeskRefusal
from watchword.desk.store import DeskStore

_MAX_ABOUT: Final = 256


class PersonBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who is meant. Its repr shows no address."""

    address: str

    def __repr__(self) -> str:
        return "PersonBody()"


class Registrations:
    """The operations about agents of one desk's admin API."""

    def __init__(self, store: DeskStore) -> None:
        """Read from a store."""
        self._store = store

    async def list_agents(self, call: Call) -> Outcome | DeskRefusal:
        """GET /admin/v1/agents: in the order of their ids. Raises DeskStoreError."""
        limit = limit_of(call.query)
        if isinstance(limit, DeskRefusal):
            return limit
        return await asyncio.to_thread(self._page, call, limit)

    def _page(self, call: Call, limit: int) -> Outcome:
        wanted = {name: call.query[name] for name in ("kind", "state", "person") if name in call.query}
        found: list[dict[str, Any]] = []
        after, scanned = call.query.get("cursor", ""), 0
        while scanned < MAX_SCANNED:
            size = min(MAX_LIMIT, MAX_SCANNED - scanned)
            rows = self._store.look(storage.REGISTRATIONS_AFTER, (after, size))
            for row in rows:
                each = storage.registration_of([row])
                if each is None:
                    continue
                scanned, after = scanned + 1, each.id
                view = registration_view(each, call.facts.at)
                if all(view[name] == value for name, value in wanted.items()):
                    found.append(view)
                    if len(found) == limit:
                        return Outcome({"agents": found, "next_cursor": after})
            if len(rows) < size:
                return Outcome({"agents": found, "next_cursor": None})
        return Outcome({"agents": found, "next_cursor": after})

    async def show_agent(self, call: Call) -> Outcome | DeskRefusal:
        """GET /admin/v1/agents/{agent_id}. Raises DeskStoreError."""
        found = await asyncio.to_thread(self._registration, call.name)
        return not_found() if found is None else Outcome(registration_view(found, call.facts.at), call.name)

    async def revoke_agent(self, call: Call) -> Outcome | DeskRefusal:
        """POST /admin/v1/agents/{agent_id}/revoke: durable with the answer. Raises DeskStoreError."""
        if call.body:
            return malformed("The operation takes no body.")
        found = await asyncio.to_thread(self._registration, call.name)
        if found is None:
            return not_found()
        event = events.revoked(call.facts, found.id, call.caller.subject)
        step = RevokeAgent(agent=found.id, now=int(call.facts.at), event=event)
        ended = msgspec.structs.replace(found, state="revoked")
        return Outcome(registration_view(ended, call.facts.at), call.name, (step,))

    async def export_person(self, call: Call) -> Outcome | DeskRefusal:
        """POST /admin/v1/people/export. Raises DeskStoreError."""
        found = await self._person(call)
        if isinstance(found, DeskRefusal):
            return found
        about = " ".join(each["pseudonym"] for each in found["people"])
        return Outcome(found, about[:_MAX_ABOUT])

    async def forget_person(self, call: Call) -> Outcome | DeskRefusal:
        """POST /admin/v1/people/forget: durable with the answer. Raises DeskStoreError."""
        found = await self._person(call)
        if isinstance(found, DeskRefusal):
            return found
        event = events.person_forgotten(call.facts)
        step = ForgetPerson(address=found["address"], now=int(call.facts.at), event=event)
        return Outcome({"forgotten": True}, operations=(step,))

    async def _person(self, call: Call) -> dict[str, Any] | DeskRefusal:
        """What is kept of the person whose address was posted. Raises DeskStoreError."""
        address = _address(call)
        if isinstance(address, DeskRefusal):
            return address
        found = await asyncio.to_thread(person_view, self._store.look, address, call.facts.at)
        return not_found() if found is None else found

    def _registration(self, agent: str) -> Registration | None:
        return storage.registration_of(self._store.look(storage.BY_ID, (agent,)))


def _address(call: Call) -> str | DeskRefusal:
    given = read_body(call.body, list(call.content_types), PersonBody)
    if isinstance(given, DeskRefusal):
        return given
    address = read_address(given.address)
    return malformed("The address is not one whole mail address.") if address is None else address
