# SPDX-License-Identifier: Apache-2.0
"""Marks admin clients with the admission policy that their flag was set under, one reconcile at a time.

The policy and its binding are read from the API server each time, and so are the clients when a policy is
seen for the first time: a cache that is a moment behind would take what was written before it for later.
Where there is no admin client, nothing is asked.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from watchword.kube.names import ObjectKey
from watchword.kube.requests import ObjectClient, RefusedError, UnavailableError
from watchword.operator.cache import Cache, Entry, read_status
from watchword.trust.admin_grants import (
    SETTLE_SECONDS,
    Guard,
    first_mark,
    guard_in_force,
    is_flagged,
    is_of_admin_type,
    next_mark,
)
from watchword.trust.admin_policy import ADMINS_POLICY, guard_problem
from watchword.trust.api.v1alpha1 import ADMIN_TYPES, API_VERSION, DeskClient
from watchword.trust.api.v1alpha1.rules import parse_time
from watchword.trust.api.v1alpha1.status import AdminGrantStatus, DeskClientStatus, DeskStatus
from watchword.trust.conditions import CLIENT, DESK
from watchword.trust.objects import read_object

LOOK_SECONDS: Final = 10.0
_VERSION: Final = "admissionregistration.k8s.io/v1"
_KINDS: Final = ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")


class AdminGrants(msgspec.Struct, frozen=True):
    """What one look came to.

    Attributes:
        problem: why no flag counts; empty: the policy is in force.
        marks: of the admin clients; one that is not here has none yet.
        recorded: the policy under which all clients of a desk were marked, by the desk's name.
        look_again_seconds: until the next look; None: there is no admin client.
    """

    problem: str = ""
    marks: Mapping[ObjectKey, AdminGrantStatus] = {}
    recorded: Mapping[str, str] = {}
    look_again_seconds: float | None = None


class AdminGrantMarker:
    """Looks at the policy and at the admin clients of the desks' namespace."""

    def __init__(
        self, cache: Cache, client: ObjectClient, namespace: str, clock: Callable[[], float]
    ) -> None:
        """Read clients from a cache, and what must be new from the API server."""
        self._cache, self._client, self._namespace, self._clock = cache, client, namespace, clock
        # The policy that is in force, and since when it was seen to be.
        self._seen: tuple[str, float] | None = None

    async def look(self) -> AdminGrants:
        """Judge policy and clients now. Raises NotLeadingError."""
        entries = [each for each in self._cache.entries(CLIENT) if self._is_admin(each)]
        before = self._recorded()
        if not entries:
            return AdminGrants(recorded=before)
        marks = {each.key: mark for each in entries if (mark := _mark_of(each.status)) is not None}
        guard = await self._guard()
        if guard.problem:
            self._seen = None
            return AdminGrants(guard.problem, marks, before, LOOK_SECONDS)
        if self._seen is None or self._seen[0] != guard.identity:
            self._seen = guard.identity, self._clock()
        settles_in = self._seen[1] + SETTLE_SECONDS - self._clock()
        wait = LOOK_SECONDS
        for entry in entries:
            mark, client = marks.get(entry.key), entry.resource
            if entry.problems or not isinstance(client, DeskClient):
                continue
            if mark is not None and mark.policy == guard.identity:
                marks[entry.key] = next_mark(mark, entry.generation, is_flagged=is_flagged(client))
            elif settles_in > 0:
                wait = min(wait, settles_in)
            else:
                made = await self._first(
                    entry.key, guard, is_recorded=before.get(_desk_of(client)) == guard.identity
                )
                if made is not None:
                    marks[entry.key] = made
        recorded = before
        if settles_in <= 0:
            recorded, is_whole = await self._recording(before, guard)
            wait = wait if is_whole else 1.0
        return AdminGrants("", marks, recorded, wait)

    def _is_admin(self, entry: Entry) -> bool:
        resource = entry.resource
        is_here = entry.key.namespace == self._namespace
        return is_here and isinstance(resource, DeskClient) and is_of_admin_type(resource)

    def _recorded(self) -> dict[str, str]:
        found = {}
        for entry in self._cache.entries(DESK):
            status = entry.status
            if (
                isinstance(status, DeskStatus)
                and status.admin_policy
                and entry.key.namespace == self._namespace
            ):
                found[entry.key.name] = status.admin_policy
        return found

    async def _guard(self) -> Guard:
        found: list[dict[str, Any] | None] = []
        for kind in _KINDS:
            body = {"apiVersion": _VERSION, "kind": kind, "metadata": {"name": ADMINS_POLICY}}
            try:
                found.append(await self._client.read(body))
            except RefusedError as refused:
                return Guard(f"the {kind} {ADMINS_POLICY} cannot be read: {refused.message}")
            except UnavailableError as error:
                return Guard(f"the {kind} {ADMINS_POLICY} cannot be read: {error}")
        policy, binding = found
        problem = guard_problem(policy, binding)
        if problem or policy is None or binding is None:
            return Guard(problem)
        return guard_in_force(policy, binding)

    async def _first(self, key: ObjectKey, guard: Guard, *, is_recorded: bool) -> AdminGrantStatus | None:
        """The first mark under this policy, of the object as the API server has it; None: it has none."""
        try:
            found = await self._client.find(API_VERSION, CLIENT, key.namespace, key.name)
        except (RefusedError, UnavailableError):
            return None
        if found is None:
            return None
        client = read_object(found).resource
        if not isinstance(client, DeskClient):
            return None
        return first_mark(
            _mark_of(read_status(CLIENT, found.get("status"))),
            client.metadata.generation,
            parse_time(client.metadata.creation_timestamp or ""),
            guard,
            is_flagged=is_flagged(client),
            is_recorded=is_recorded,
        )

    async def _recording(self, before: dict[str, str], guard: Guard) -> tuple[dict[str, str], bool]:
        """For which desks all clients that there are have their marks; and whether that is all desks."""
        names = {
            entry.key.name for entry in self._cache.entries(DESK) if entry.key.namespace == self._namespace
        }
        wanting = {name for name in names if before.get(name) != guard.identity}
        if not wanting:
            return before, True
        try:
            listed = await self._client.list(API_VERSION, CLIENT, self._namespace)
        except (RefusedError, UnavailableError):
            return before, False
        unmarked = set()
        for each in listed:
            mark, spec = _mark_of(read_status(CLIENT, each.get("status"))), each.get("spec") or {}
            if spec.get("type") in ADMIN_TYPES and (mark is None or mark.policy != guard.identity):
                unmarked.add((spec.get("deskRef") or {}).get("name", ""))
        whole = wanting - unmarked
        return before | dict.fromkeys(whole, guard.identity), whole == wanting


def _mark_of(status: object) -> AdminGrantStatus | None:
    return status.admin_grant if isinstance(status, DeskClientStatus) else None


def _desk_of(client: DeskClient) -> str:
    return client.spec.desk_ref.name
