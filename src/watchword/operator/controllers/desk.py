# SPDX-License-Identifier: Apache-2.0
"""Reconciles all desks: their keys, the copies of bundles for them, and revocations to gates; returns what
came of it.

One reconcile for all, since they are few: it looks at what is in memory and writes what differs. What cannot
be written leaves what is there, stops nothing else, becomes a condition, and is tried again: a tenant whose
namespace takes no more objects must not keep revocations from the gates of others.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import msgspec

from watchword.kube.names import NamespacedName, ObjectKey
from watchword.kube.requests import (
    ConflictError,
    NotLeadingError,
    ObjectClient,
    RefusedError,
    UnavailableError,
)
from watchword.operator.cache import Cache
from watchword.operator.controllers.admin_grants import AdminGrantMarker, AdminGrants
from watchword.operator.desk_bodies import (
    bundle_copy,
    key_secret,
    new_key,
    revocations_config_map,
    written_config_map,
)
from watchword.operator.desk_objects import BundleVersion, DeskObjects, content_of, version_of_bundle
from watchword.operator.desk_status import ClientResult, DeskResult, DeskResults
from watchword.operator.keys.providers import ProviderKeySync
from watchword.operator.owned_objects import (
    DIGEST_ANNOTATION,
    GENERATION_ANNOTATION,
    Body,
    Owner,
    config_map_named,
    owner_of,
)
from watchword.operator.provider_status import provider_results, wanted_providers
from watchword.operator.status import ServiceResults
from watchword.operator.stored_bundle import stored_bundle
from watchword.trust.admin_grants import account_of, accounts_of_several
from watchword.trust.api.v1alpha1 import DeskClient, ProtectedService, TokenDesk
from watchword.trust.audience import AudienceRules
from watchword.trust.conditions import CLIENT, DESK, PROVIDER, SERVICE, ConditionValue, Verdict
from watchword.trust.derived_audience import desk_audience
from watchword.trust.desk_objects import COPY_OF_ANNOTATION
from watchword.trust.desk_revocations import Revocations, service_document
from watchword.trust.desk_rotation import HeldKey, key_statuses, next_steps, public_keys, signing_key
from watchword.trust.desks import Desks, ReadyDesk, ready_desks
from watchword.trust.event_reasons import EventReason

# Of one service's revocations: at most one write in so long.
_REVOCATIONS_SECONDS: Final = 1.0
# After a key was made, the next step is looked for by what is stored.
_AFTER_KEY_SECONDS: Final = 1.0
# Writes of ConfigMaps that wait for the API server together: a few, since services' bundles come first.
_WRITES_AT_ONCE: Final = 4


class UnfinishedDesksError(Exception):
    """Some objects of desks could not be written; the message says why of the first of them."""


class KeyEvent(NamedTuple):
    """What happened to a desk's signing key, to be told as an Event."""

    desk: ObjectKey
    reason: EventReason
    kid: str


class DeskReconciliation(msgspec.Struct, frozen=True):
    """What a reconcile of all desks came to, for the caller to act on.

    Attributes:
        services: to reconcile, since it may change them.
        results: what the statuses of each TokenDesk, DeskClient and AgentProvider are made from.
        events: what happened to keys.
        look_again_seconds: until a key's next step is due; None: time alone changes nothing.
        error: why it has to be done again, later each time; None: it need not.
    """

    services: frozenset[NamespacedName] = frozenset()
    results: DeskResults = {}
    events: tuple[KeyEvent, ...] = ()
    look_again_seconds: float | None = None
    error: Exception | None = None


class _StoreMark(msgspec.Struct, frozen=True):
    """As much of what a desk notes of its store as is read here."""

    store: str
    keys: dict[str, str] = {}


class _Accepted(NamedTuple):
    """A service that names a desk, and may."""

    desk: TokenDesk
    service: ProtectedService

    @property
    def name(self) -> NamespacedName:
        return NamespacedName(self.service.metadata.namespace, self.service.metadata.name)


@dataclass(slots=True)
class _Work:
    """What one reconcile comes to, while it goes on."""

    now: float
    services: set[NamespacedName]
    key_problems: dict[str, ConditionValue] = field(default_factory=dict)
    events: list[KeyEvent] = field(default_factory=list)
    errors: list[Exception] = field(default_factory=list)
    look_again_at: float | None = None

    def look_at(self, moment: float) -> None:
        self.look_again_at = moment if self.look_again_at is None else min(self.look_again_at, moment)

    async def attempt(self, step: Awaitable[None]) -> Exception | None:
        """Take one step; what stops it stops no other."""
        try:
            await step
        except (ConflictError, RefusedError, UnavailableError, NotLeadingError) as error:
            self.errors.append(error)
            return error
        return None

    async def attempt_all(self, steps: Iterable[Awaitable[None]]) -> None:
        """Take steps that do not depend on each other."""
        free = asyncio.Semaphore(_WRITES_AT_ONCE)

        async def attempt(step: Awaitable[None]) -> None:
            async with free:
                await self.attempt(step)

        await asyncio.gather(*(attempt(step) for step in steps))


class DeskController:
    """Reconciles the desks of one namespace.

    Attributes:
        desks: all of them, judged.
    """

    def __init__(
        self,
        cache: Cache,
        client: ObjectClient,
        objects: DeskObjects,
        *,
        results: ServiceResults,
        provider_keys: ProviderKeySync | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Read from a cache; write through a client.

        Args:
            cache: the resources.
            client: writes objects.
            objects: the operator's own objects for desks, and the namespace in which desks count.
            results: what the last reconcile of each service came to.
            provider_keys: keeps the keys of providers that are found by discovery.
            clock: gives seconds since the epoch.
        """
        self._cache, self._client, self._objects = cache, client, objects
        self._results, self._clock = results, clock
        self._provider_keys = provider_keys or ProviderKeySync(on_change=lambda: None)
        self._revocations_at: dict[NamespacedName, float] = {}
        self._admins = AdminGrantMarker(cache, client, objects.namespace, clock)
        self.desks = Desks()

    def judge(self, rules: AudienceRules) -> frozenset[NamespacedName]:
        """Judge all desks again. Returns the services that this may change.

        Args:
            rules: which audiences and URLs belong to others.
        """
        namespace = self._objects.namespace
        desks = [each.resource for each in self._cache.entries(DESK) if isinstance(each.resource, TokenDesk)]
        keys = {
            (namespace, desk.metadata.name): public_keys(
                self._objects.keys_of(desk.metadata.name), self._taken_back(desk)
            )
            for desk in desks
            if desk.metadata.namespace == namespace
        }
        before, self.desks = self.desks, ready_desks(desks, keys, rules, namespace=namespace)
        touched: set[NamespacedName] = set()
        for name in before.ready.keys() | self.desks.ready.keys():
            if _compiled_part(before, name) != _compiled_part(self.desks, name):
                touched.update(self._cache.services_naming_desk(name))
        urls = before.issuers ^ self.desks.issuers
        for url in urls:
            # A desk's URL is no service's audience.
            touched |= self._cache.services_declaring(url)
        if urls:
            # What stands of these may be accepting it, though they declare it no more.
            touched |= self._cache.services_not_understood()
        return frozenset(touched)

    def concerns(self, service: NamespacedName) -> bool:
        """Whether the desks have to be reconciled after this service was."""
        known = self._cache.service(service)
        names_desk = known is not None and known.spec.token_desk_ref is not None
        return names_desk or self._objects.copy_of(service) is not None

    async def reconcile(self, rules: AudienceRules) -> DeskReconciliation:
        """Bring all objects of desks to what the resources say.

        Args:
            rules: which audiences and URLs belong to others.

        Raises:
            NotLeadingError: this process leads no more.
        """
        work = _Work(self._clock(), set(self.judge(rules)))
        for desk in [each.resource for each in self.desks.ready.values()]:
            refused = await work.attempt(self._rotate_keys(desk, work))
            if isinstance(refused, RefusedError):
                detail = f"the API server says: {refused.message}"
                work.key_problems[desk.metadata.name] = Verdict.KEYS_NOT_WRITTEN.with_message(detail)
            if self._objects.written_by(desk.metadata.name) is None:
                await work.attempt(self._apply_config_map(written_config_map(desk)))
        # With the keys as they are now.
        work.services |= self.judge(rules)
        accepted = self._accepted()
        await self._apply_revocations(accepted, work)
        await self._apply_copies(accepted, work)
        admins = await self._admins.look()
        if admins.look_again_seconds is not None:
            work.look_at(self._clock() + admins.look_again_seconds)
        for error in work.errors:
            if isinstance(error, NotLeadingError):
                raise error
        return DeskReconciliation(
            frozenset(work.services),
            self._found(accepted, work, admins),
            tuple(work.events),
            None if work.look_again_at is None else max(0.0, work.look_again_at - self._clock()),
            _unfinished(work.errors),
        )

    def _accepted(self) -> list[_Accepted]:
        """The services that name a desk and may, each with its desk."""
        found = []
        for desk in self.desks.ready:
            for name in self._cache.services_naming_desk(desk):
                service = self._cache.service(name)
                named = service and self.desks.of(service, self._cache.labels_of(name.namespace))
                if service is not None and isinstance(named, ReadyDesk):
                    found.append(_Accepted(named.resource, service))
        return found

    # Keys.

    async def _rotate_keys(self, desk: TokenDesk, work: _Work) -> None:
        name, now = desk.metadata.name, work.now
        steps = next_steps(
            self._objects.keys_of(name),
            desk.spec.signing.rotate_seconds,
            now,
            revoked=frozenset(desk.spec.signing.revoked),
            of_other_stores=self._keys_of_other_stores(name),
        )
        work.look_at(steps.look_again_at if steps.make is None else now + _AFTER_KEY_SECONDS)
        for key in steps.revoke:
            await self._write_key(desk, msgspec.structs.replace(key, revoked_at=now), None)
            work.events.append(_event(desk, EventReason.SIGNING_KEY_REVOKED, key))
        if steps.make is not None:
            made, pem = new_key(now, steps.make)
            await self._write_key(desk, made, pem)
            work.events.append(_event(desk, EventReason.SIGNING_KEY_MADE, made))
        for key in steps.drop:
            await self._delete_key(desk, key)
            work.events.append(_event(desk, EventReason.SIGNING_KEY_REMOVED, key))

    async def _write_key(self, desk: TokenDesk, key: HeldKey, pem: bytes | None) -> None:
        body = key_secret(desk, key, pem)
        self._objects.wrote_secret(body, await self._client.apply(body), key)

    async def _delete_key(self, desk: TokenDesk, key: HeldKey) -> None:
        for secret in self._objects.secrets.all():
            if secret.desk == desk.metadata.name and secret.key == key:
                body = key_secret(desk, key, None)
                body["metadata"]["name"] = secret.name.name
                await self._client.delete(body, secret.uid, 0)
                self._objects.secrets.remove(secret.name, secret.uid)

    def _taken_back(self, desk: TokenDesk) -> frozenset[str]:
        """The thumbprints of keys that are revoked, whether or not their Secrets could be written yet."""
        of_other_stores = self._keys_of_other_stores(desk.metadata.name)
        return frozenset({*desk.spec.signing.revoked, *(kid.removeprefix("wd-") for kid in of_other_stores)})

    def _keys_of_other_stores(self, desk: str) -> frozenset[str]:
        """The kids of keys that signed for a store that is not the desk's any more."""
        written = self._objects.written_by(desk)
        if written is None or written.store is None:
            return frozenset()
        try:
            mark = msgspec.json.decode(written.store, type=_StoreMark)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return frozenset()
        return frozenset(kid for kid, store in mark.keys.items() if store != mark.store)

    # What desks and gates read.

    async def _apply_revocations(self, accepted: list[_Accepted], work: _Work) -> None:
        await work.attempt_all(self._apply_revocations_of(each, work) for each in accepted)

    async def _apply_revocations_of(self, each: _Accepted, work: _Work) -> None:
        name, desk = each.name, each.desk.metadata.name
        known, written = self._objects.revocations_of(name), self._objects.written_by(desk)
        document = None if written is None else written.revocations
        is_of_this_desk = known is not None and known.desk == desk
        if document is None and is_of_this_desk:
            # It is not known what is revoked: what was known to be stays so.
            return
        if written is not None and written.is_unreadable:
            # Gates without a list refuse the desk's tokens; an empty one, or another desk's, would let them
            # accept what was revoked.
            if known is not None:
                await self._delete_config_map(known.name, known.uid)
            return
        listed = document.services.get(str(name)) if document is not None else None
        desk_name = str(NamespacedName(each.desk.metadata.namespace, desk))
        data = service_document(str(name), desk_name, listed or Revocations())
        if is_of_this_desk and known is not None and known.content == content_of(data):
            return
        since = work.now - self._revocations_at.get(name, 0.0)
        if 0 <= since < _REVOCATIONS_SECONDS:
            work.look_at(work.now + _REVOCATIONS_SECONDS - since)
            return
        self._revocations_at[name] = work.now
        await self._apply_config_map(revocations_config_map(each.service, desk, data))

    async def _apply_copies(self, accepted: list[_Accepted], work: _Work) -> None:
        wanted = {str(each.name) for each in accepted}
        await work.attempt_all(self._apply_copy(each) for each in accepted)
        for copy in self._objects.copies():
            of = copy.annotations[COPY_OF_ANNOTATION]
            if of not in wanted and not self._is_unread(of):
                await work.attempt(self._delete_config_map(copy.name, copy.uid))

    async def _apply_copy(self, each: _Accepted) -> None:
        result = self._results.get(each.name)
        if result is None or result.bundle is None:
            # Not published yet: what is there stays.
            return
        published = BundleVersion(result.bundle.generation, result.bundle.digest)
        notes = {
            COPY_OF_ANNOTATION: str(each.name),
            GENERATION_ANNOTATION: str(published.generation),
            DIGEST_ANNOTATION: published.digest,
        }
        known = self._objects.copy_of(each.name)
        if known is not None and known.bundle == published and notes.items() <= known.annotations.items():
            return
        source = NamespacedName(each.name.namespace, result.bundle.config_map)
        stored = await self._client.read(config_map_named(source))
        metadata = each.service.metadata
        if stored is None or (
            owner_of(stored["metadata"], metadata.name, metadata.uid) is not Owner.THIS_SERVICE
        ):
            return
        bundle = stored_bundle(stored)
        if bundle is None or version_of_bundle(bundle) != published:
            # Another client wrote there, or it was published again: either way the service is reconciled, and
            # then its desk. Desks believe their copies, so what is there stays until then.
            return
        await self._apply_config_map(bundle_copy(each.desk, each.name, stored, notes), published)

    async def _delete_config_map(self, name: NamespacedName, uid: str) -> None:
        await self._client.delete(config_map_named(name), uid, 0)
        self._objects.config_maps.remove(name, uid)

    def _is_unread(self, service: str) -> bool:
        """Whether a service is there and cannot be understood: then its copy stays, as its bundle does."""
        namespace, _, name = service.partition("/")
        entry = self._cache.entry(SERVICE, namespace, name)
        return entry is not None and entry.resource is None

    async def _apply_config_map(self, body: Body, bundle: BundleVersion | None = None) -> None:
        metadata: dict[str, Any] = await self._client.apply(body)
        self._objects.wrote_config_map(body, metadata, bundle)

    # What is to be said.

    def _found(self, accepted: list[_Accepted], work: _Work, admins: AdminGrants) -> DeskResults:
        results: DeskResults = {}
        for entry in self._cache.entries(DESK):
            found = self._desk_result(entry.key, accepted, work)
            recorded = admins.recorded.get(entry.key.name, "")
            results[entry.key] = msgspec.structs.replace(found, admin_policy=recorded)
        clients = [each.resource for each in self._cache.entries(CLIENT)]
        taken = accounts_of_several(each for each in clients if isinstance(each, DeskClient))
        for entry in self._cache.entries(CLIENT):
            grant = admins.marks.get(entry.key)
            if isinstance(entry.resource, DeskClient):
                found_client = self._client_result(entry.resource, accepted)
                results[entry.key] = msgspec.structs.replace(
                    found_client,
                    is_account_taken=account_of(entry.resource) in taken,
                    guard_problem=admins.problem,
                    grant=grant,
                )
            else:
                results[entry.key] = ClientResult(grant=grant)
        ready = {name: each.resource for name, each in self.desks.ready.items()}
        providers = list(self._cache.entries(PROVIDER))
        self._provider_keys.set_providers(wanted_providers(providers, ready))
        results |= provider_results(providers, ready, self._provider_keys.found())
        return results

    def _desk_result(self, key: ObjectKey, accepted: Iterable[_Accepted], work: _Work) -> DeskResult:
        problem, name = self.desks.problems.get((key.namespace, key.name)), key.name
        if key.namespace != self._objects.namespace:
            return DeskResult(problem)
        keys, written = self._objects.keys_of(name), self._objects.written_by(name)
        trouble = work.key_problems.get(name)
        if trouble is None and written is not None and written.is_unreadable:
            trouble = Verdict.REVOCATIONS_UNREADABLE.with_message()
        cluster_id = self._cache.cluster_id
        return DeskResult(
            problem,
            trouble,
            desk_audience(cluster_id, key.namespace, name) if cluster_id else "",
            key_statuses(keys, work.now),
            signing_key(keys, work.now) is not None,
            sum(each.desk.metadata.name == name for each in accepted),
        )

    def _client_result(self, client: DeskClient, accepted: Iterable[_Accepted]) -> ClientResult:
        desk = self.desks.ready.get(client.spec.desk_ref.name)
        if desk is None or desk.resource.metadata.namespace != client.metadata.namespace:
            return ClientResult()
        named = {(each.namespace, each.name) for each in client.spec.service_refs}
        services = sorted(
            str(each.name)
            for each in accepted
            if each.desk.metadata.name == client.spec.desk_ref.name
            and each.name in named
            and client.metadata.name in each.service.spec.resource_servers
        )
        return ClientResult(has_desk=True, services=tuple(services))


def _compiled_part(desks: Desks, name: str) -> object:
    """What services are compiled against of a desk."""
    ready = desks.ready.get(name)
    return None if ready is None else (ready.resource.metadata, ready.resource.spec, ready.keys)


def _event(desk: TokenDesk, reason: EventReason, key: HeldKey) -> KeyEvent:
    return KeyEvent(ObjectKey(DESK, desk.metadata.namespace, desk.metadata.name), reason, key.kid)


def _unfinished(errors: list[Exception]) -> UnfinishedDesksError | None:
    if not errors:
        return None
    more = f", and {len(errors) - 1} more" if len(errors) > 1 else ""
    return UnfinishedDesksError(f"{type(errors[0]).__name__}: {errors[0]}{more}")
