# SPDX-License-Identifier: Apache-2.0
"""A desk's configuration from an API server, and what the desk publishes there.

Five watches of the desk's own namespace, and of nothing else: the TokenDesk, its clients, the providers of
its agents, and the bundles and keys that the operator leaves for it (`watchword.trust.desk_objects`). The
operator says in the TokenDesk's status which cluster this is. What is not read yet, or cannot be read,
changes nothing: the desk goes on with what it has.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final
from urllib.parse import quote

import msgspec

from watchword.desk.admin.standing import AdminStanding, StandingUnknownError, standing_of
from watchword.desk.configuration import Configuration, KeyRecord
from watchword.desk.kept_client import KeptClient
from watchword.desk.minting import SigningKey, SigningKeyError
from watchword.desk.published import MARK_ENTRY, Mark, PublishingError, decode_mark, encode_mark
from watchword.desk.sources import SourceProblem
from watchword.identity import is_service_account_name
from watchword.kube.connection import Connection
from watchword.kube.names import NamespacedName
from watchword.kube.requests import ApiClient, UnavailableError
from watchword.kube.watch import (
    Endpoint,
    FullMeta,
    ObjectMeta,
    Part,
    Removed,
    Resource,
    Synced,
    Troubled,
    Upserted,
    Watch,
)
from watchword.kube.watch.problems import WatchError
from watchword.process.logs import LOGGER
from watchword.trust import API_GROUP, Bundle, BundleError, decode_bundle
from watchword.trust.admin_grants import counts
from watchword.trust.admin_policy import ADMINS_POLICY, guard_problem
from watchword.trust.api.v1alpha1 import API_VERSION, AgentProvider, DeskClient, TokenDesk
from watchword.trust.api.v1alpha1.rules import parse_time
from watchword.trust.api.v1alpha1.status import AdminGrantStatus, AgentProviderStatus, DeskClientStatus
from watchword.trust.bundle_forms import WHOLE_ENTRY
from watchword.trust.derived_audience import desk_audience
from watchword.trust.desk_objects import (
    DESK_LABEL,
    KEY_ENTRY,
    MADE_AT,
    SIGNING_KEY_TYPE,
    SIGNS_FROM,
    copy_name,
    written_name,
)
from watchword.trust.desk_revocations import REVOCATIONS_ENTRY
from watchword.trust.objects import read_object

WINDOW_SECONDS: Final = 60.0
RELIST_SECONDS: Final = 600.0
# Several objects change at once: the next look waits for the rest of them.
_SETTLE_SECONDS: Final = 0.05
_WRITE_SECONDS: Final = 10.0
_READ_SECONDS: Final = 5.0
_POLICIES: Final = "/apis/admissionregistration.k8s.io/v1"


class _VersionedMeta(ObjectMeta, frozen=True, gc=False):
    """The metadata that tells one version of an object from another."""

    generation: int = 0


class _Status(Part, frozen=True):
    audience: str | None = None


class _Spec(Part, frozen=True):
    metadata: _VersionedMeta
    spec: Any = None
    status: _Status = _Status()


class _Provider(_Spec, frozen=True):
    status: Any = None


class _Secret(Part, frozen=True):
    metadata: FullMeta
    type: str = ""
    data: dict[str, bytes] | None = None

    def __repr__(self) -> str:
        return f"Secret({self.metadata.name!r})"


class _ConfigMap(Part, frozen=True):
    metadata: FullMeta
    data: dict[str, str] | None = None
    binary_data: dict[str, bytes] | None = None


class ClusterDesk:
    """The source and the publisher of a desk that runs in a cluster."""

    def __init__(self, endpoint: Endpoint, namespace: str, name: str) -> None:
        """Follow the TokenDesk of this namespace and name."""
        self._endpoint, self._namespace, self._name = endpoint, namespace, name
        self._connection = Connection(endpoint, agent="watchword-desk")
        self._reads = KeptClient(self._connection)
        ours = f"{DESK_LABEL}={name}"
        self._desks = self._watch(
            Resource(
                group=API_GROUP,
                version="v1alpha1",
                plural="tokendesks",
                namespace=namespace,
                field_selector=f"metadata.name={name}",
            ),
            _Spec,
        )
        self._clients = self._watch(
            Resource(group=API_GROUP, version="v1alpha1", plural="deskclients", namespace=namespace), _Spec
        )
        self._providers = self._watch(
            Resource(group=API_GROUP, version="v1alpha1", plural="agentproviders", namespace=namespace),
            _Provider,
        )
        # All of them: those that DeskClients name bear no label of ours.
        self._secrets = self._watch(Resource(plural="secrets", namespace=namespace), _Secret)
        self._copies = self._watch(
            Resource(plural="configmaps", namespace=namespace, label_selector=ours), _ConfigMap
        )

    async def configurations(self) -> AsyncIterator[Configuration | SourceProblem]:
        """Yield what the objects say, and again after each change."""
        changed = asyncio.Event()
        problems: list[SourceProblem] = []
        watches = (self._desks, self._clients, self._providers, self._secrets, self._copies)
        tasks = [asyncio.create_task(_follow(each, changed, problems)) for each in watches]
        try:
            while True:
                await changed.wait()
                await asyncio.sleep(_SETTLE_SECONDS)
                changed.clear()
                if problems:
                    yield problems.pop()
                    problems.clear()
                if all(each.is_synced for each in watches):
                    yield await asyncio.to_thread(self._configuration)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self.close()

    async def standing(self, client: str) -> AdminStanding:
        """Whether a client is an admin: its object, the policy on it and the binding, each asked for now."""
        if not is_service_account_name(client):
            return AdminStanding("there is no such DeskClient")
        place = f"/apis/{API_VERSION}/namespaces/{quote(self._namespace, safe='')}/deskclients"
        try:
            async with self._reads.use() as api:
                policy, binding, found = await asyncio.gather(
                    _get(api, f"{_POLICIES}/validatingadmissionpolicies/{ADMINS_POLICY}"),
                    _get(api, f"{_POLICIES}/validatingadmissionpolicybindings/{ADMINS_POLICY}"),
                    _get(api, f"{place}/{quote(client, safe='')}"),
                )
        except WatchError as error:
            raise StandingUnknownError(f"the API server cannot be asked ({error})") from None
        if problem := guard_problem(policy, binding):
            return AdminStanding(problem)
        if found is None:
            return AdminStanding("there is no such DeskClient")
        status, metadata = found.pop("status", None), found["metadata"]
        resource = read_object(found).resource
        if not isinstance(resource, DeskClient) or resource.spec.desk_ref.name != self._name:
            return AdminStanding("the DeskClient is of another desk, or cannot be read")
        others = (
            read_object(_document("DeskClient", each)).resource for each in self._clients.known.values()
        )
        standing = standing_of(resource, [each for each in others if isinstance(each, DeskClient)])
        mark = _mark_in(status)
        if not standing.problem and not counts(mark, int(metadata.get("generation") or -1)):
            return AdminStanding("the operator has not confirmed that the flag was set under the policy")
        return standing

    async def close(self) -> None:
        """Close what was opened for `standing`; another question opens it again."""
        await self._reads.close()

    async def read(self) -> Mark | None:
        """The mark that was written last."""
        document = await self._request("GET", None)
        entry = (document.get("data") or {}).get(MARK_ENTRY)
        return None if entry is None else decode_mark(str(entry).encode())

    async def write(self, mark: Mark, revocations: bytes) -> None:
        """Write both entries of the ConfigMap that the operator made for the desk."""
        entries = {MARK_ENTRY: encode_mark(mark).decode(), REVOCATIONS_ENTRY: revocations.decode()}
        await self._request("PATCH", msgspec.json.encode({"data": entries}))

    def _configuration(self) -> Configuration | SourceProblem:
        found = self._desks.known.get(NamespacedName(self._namespace, self._name))
        if found is None:
            detail = f"there is no TokenDesk {self._namespace}/{self._name}"
            return SourceProblem(detail, "make it, or name another one by --token-desk")
        desk = read_object(_document("TokenDesk", found))
        if not isinstance(desk.resource, TokenDesk):
            return SourceProblem(str(desk.problems[0]), desk.problems[0].remedy)
        cluster_id = _cluster_id(found)
        if cluster_id is None:
            detail = f"the TokenDesk {self._namespace}/{self._name} has no status.audience"
            return SourceProblem(detail, "see its conditions, and that the operator runs")
        clients = [read_object(_document("DeskClient", each)) for each in self._clients.known.values()]
        for each in clients:
            for problem in each.problems:
                LOGGER.warning("a DeskClient is left out", extra={"detail": str(problem)})
        providers = [read_object(_document("AgentProvider", each)) for each in self._providers.known.values()]
        for each in providers:
            for problem in each.problems:
                LOGGER.warning("an AgentProvider is left out", extra={"detail": str(problem)})
        return Configuration(
            desk=desk.resource,
            cluster_id=cluster_id,
            clients=tuple(each.resource for each in clients if isinstance(each.resource, DeskClient)),
            providers=tuple(each.resource for each in providers if isinstance(each.resource, AgentProvider)),
            provider_statuses={
                each.metadata.name: status
                for each in self._providers.known.values()
                if (status := _provider_status(each)) is not None
            },
            secrets={
                (each.metadata.name, entry): value.decode("utf-8", "replace")
                for each in self._secrets.known.values()
                if each.type != SIGNING_KEY_TYPE
                for entry, value in (each.data or {}).items()
            },
            bundles=tuple(filter(None, map(_bundle, self._copies.known.values()))),
            keys=self._keys(),
        )

    def _keys(self) -> tuple[KeyRecord, ...]:
        records: list[tuple[float, KeyRecord]] = []
        for each in self._secrets.known.values():
            labels, notes = each.metadata.labels or {}, each.metadata.annotations or {}
            pem = (each.data or {}).get(KEY_ENTRY)
            if each.type != SIGNING_KEY_TYPE or labels.get(DESK_LABEL) != self._name or pem is None:
                continue
            signs_from = parse_time(notes.get(SIGNS_FROM, ""))
            if signs_from is None:
                LOGGER.warning("a signing key is left out", extra={"secret": each.metadata.name})
                continue
            try:
                made_at = parse_time(notes.get(MADE_AT, "")) or signs_from
                record = KeyRecord(SigningKey.from_pem(pem), signs_from, made_at)
            except SigningKeyError as error:
                extra = {"secret": each.metadata.name, "detail": str(error)}
                LOGGER.warning("a signing key is left out", extra=extra)
                continue
            records.append((record.made_at, record))
        return tuple(record for _, record in sorted(records, key=lambda each: each[0], reverse=True))

    def _watch(self, resource: Resource, kind: type[Any]) -> Watch[Any]:
        return Watch(
            self._endpoint,
            resource,
            kind,
            _itself,
            window_seconds=WINDOW_SECONDS,
            relist_seconds=RELIST_SECONDS,
            is_relisted_after_failure=True,
        )

    async def _request(self, method: str, body: bytes | None) -> dict[str, Any]:
        """Read or patch the one ConfigMap that is the desk's to write."""
        name = written_name(self._name)
        path = f"/api/v1/namespaces/{quote(self._namespace, safe='')}/configmaps/{quote(name, safe='')}"
        try:
            # A client for each request, at most one in a second: it looks at the authority's file again.
            async with ApiClient(self._connection) as client:
                answer = await client.request(
                    method,
                    path,
                    body,
                    content_type="application/merge-patch+json",
                    timeout_seconds=_WRITE_SECONDS,
                )
            if answer.status != 200:
                raise PublishingError(f"the API server answers {answer.status} for the ConfigMap {name}")
            found: dict[str, Any] = msgspec.json.decode(answer.body)
        except (UnavailableError, WatchError, msgspec.MsgspecError) as error:
            raise PublishingError(f"the API server cannot be asked ({error})") from None
        return found


async def _get(api: ApiClient, path: str) -> dict[str, Any] | None:
    """An object as it is stored; None: there is none. Raises StandingUnknownError."""
    try:
        answer = await api.request("GET", path, None, timeout_seconds=_READ_SECONDS)
        if answer.status == 404:
            return None
        if answer.status != 200:
            raise StandingUnknownError(f"the API server answers {answer.status} for {path}")
        found: dict[str, Any] = msgspec.json.decode(answer.body, type=dict[str, Any])
    except (UnavailableError, WatchError, msgspec.MsgspecError) as error:
        raise StandingUnknownError(f"the API server cannot be asked ({error})") from None
    return found


def _provider_status(found: "_Provider") -> AgentProviderStatus | None:
    """What the operator says of a provider; None: nothing that can be read."""
    try:
        return msgspec.convert(found.status or {}, AgentProviderStatus)
    except msgspec.ValidationError:
        return None


def _mark_in(status: object) -> AdminGrantStatus | None:
    try:
        return msgspec.convert(status or {}, DeskClientStatus).admin_grant
    except msgspec.ValidationError:
        return None


async def _follow(watch: Watch[Any], changed: asyncio.Event, problems: list[SourceProblem]) -> None:
    async for event in watch.events():
        if isinstance(event, Troubled):
            problems.append(SourceProblem(event.problem.detail, event.problem.remedy))
        if isinstance(event, Upserted | Removed | Synced | Troubled):
            changed.set()


def _bundle(found: _ConfigMap) -> Bundle | None:
    """The bundle of a copy; None, and a line in the log, where it is none or bears another one's name."""
    packed = (found.binary_data or {}).get(WHOLE_ENTRY)
    plain = (found.data or {}).get(WHOLE_ENTRY)
    if packed is None and plain is None:
        return None
    try:
        bundle = decode_bundle(packed if packed is not None else (plain or "").encode())
    except BundleError as problem:
        extra = {"config_map": found.metadata.name, "detail": problem.detail}
        LOGGER.warning("a bundle is left out", extra=extra)
        return None
    if copy_name(bundle.service.namespace, bundle.service.name) != found.metadata.name:
        extra = {"config_map": found.metadata.name, "detail": "it holds the bundle of another service"}
        LOGGER.warning("a bundle is left out", extra=extra)
        return None
    return bundle


def _cluster_id(found: _Spec) -> str | None:
    """Which cluster this is, by the audience that the operator derived for the desk; None: none was yet."""
    parts = (found.status.audience or "").split("/")
    if len(parts) != 5:
        return None
    namespace, name, cluster_id = found.metadata.namespace, found.metadata.name, parts[2]
    try:
        derived = desk_audience(cluster_id, namespace, name)
    except ValueError:
        return None
    return cluster_id if derived == found.status.audience else None


def _document(kind: str, found: _Spec) -> dict[str, Any]:
    metadata = {
        "name": found.metadata.name,
        "namespace": found.metadata.namespace,
        "uid": found.metadata.uid,
        "generation": found.metadata.generation,
    }
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": metadata, "spec": found.spec or {}}


def _itself(found: Any) -> Any:
    return found
