# SPDX-License-Identifier: Apache-2.0
"""What must be there before work can begin: the CRDs of this release, and the right to list what is
watched.

An operator may start before its CRDs, in a chart's first install for one. It must wait and say so: one that
dies there looks broken, and one that waits in silence looks healthy. A watch that was begun under one CRD
goes on under it: what a newer CRD adds is cut out of its objects, and a field that would narrow trust is
never seen. So when a CRD changes, everything is read again.
"""

import asyncio
import contextlib
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

import msgspec

from watchword.kube.proxies import with_proxy_remedy
from watchword.kube.requests import ApiClient, Response, UnavailableError
from watchword.kube.watch import Endpoint, Part, Removed, Resource, Synced, Upserted, Watch
from watchword.kube.watch.messages import ObjectMeta
from watchword.trust.api.v1alpha1 import API_VERSION
from watchword.trust.crd.definitions import definitions

# Plural: path of its list. What no decision can be made without, all of it cluster-wide.
WATCHED: Final = {
    "clustertrustedissuers": f"/apis/{API_VERSION}/clustertrustedissuers",
    "protectedservices": f"/apis/{API_VERSION}/protectedservices",
    "trustedworkloads": f"/apis/{API_VERSION}/trustedworkloads",
    "namespaces": "/api/v1/namespaces",
}
GROUP: Final = "apiextensions.k8s.io"
PLURAL: Final = "customresourcedefinitions"
NAMES: Final = tuple(str(definition["metadata"]["name"]) for definition in definitions())
_MOST_NAMED: Final = 5
_APPLY_CRDS: Final = (
    "apply the CRDs of this release (`kubectl apply --server-side -f manifests/crds/`); "
    "the operator goes on by itself"
)


class Obstacle(NamedTuple):
    """Why work cannot begin, and what would help. The operator waits for it."""

    detail: str
    remedy: str


class Preflight(NamedTuple):
    """What was found.

    Attributes:
        obstacle: the first reason why work cannot begin; None: it can.
        warnings: what does not stand in the way, and should be put right.
        generations: the generation of each CRD that this was found by.
    """

    obstacle: Obstacle | None
    warnings: tuple[Obstacle, ...] = ()
    generations: Mapping[str, int] = {}


async def preflight(client: ApiClient) -> Preflight:
    """Find out whether the kinds are served, as this release knows them, and may be watched."""
    try:
        warnings, generations = await _check_schemas(client)
        for resource, path in WATCHED.items():
            answer = await _get(client, f"{path}?limit=1")
            if answer.status == 404:
                raise _ObstacleError(Obstacle(f"not served by this API server: {resource}", _APPLY_CRDS))
            _expect(answer, f"list {resource}")
    except _ObstacleError as error:
        return Preflight(error.obstacle)
    return Preflight(None, warnings, generations)


class _ObstacleError(Exception):
    def __init__(self, obstacle: Obstacle) -> None:
        super().__init__(obstacle.detail)
        self.obstacle = obstacle


async def _check_schemas(
    client: ApiClient,
) -> tuple[tuple[Obstacle, ...], dict[str, int]]:
    missing, warnings, generations = [], [], {}
    for name in NAMES:
        answer = await _get(client, f"/apis/{GROUP}/v1/{PLURAL}/{name}")
        if answer.status == 404:
            missing.append(name)
            continue
        _expect(answer, f"get the CRD {name}")
        found = msgspec.json.decode(answer.body)
        generations[name] = int(found["metadata"]["generation"])
        older, newer = difference(found)
        if older is not None:
            detail = f"the CRD {name} is older than this operator: it lacks {older}"
            warnings.append(Obstacle(detail, _APPLY_CRDS))
        if newer is not None:
            detail = f"the CRD {name} is newer than this operator: it has {newer}"
            warnings.append(
                Obstacle(detail, "upgrade the operator; what it cannot read trusts no new workload")
            )
    if missing:
        raise _ObstacleError(Obstacle(f"not in this cluster: {', '.join(missing)}", _APPLY_CRDS))
    return tuple(warnings), generations


async def _get(client: ApiClient, path: str) -> Response:
    try:
        return await client.request("GET", path)
    except UnavailableError as away:
        raise _ObstacleError(
            Obstacle(
                f"the API server cannot be reached ({away})",
                with_proxy_remedy(
                    "nothing, if it is restarting; else look at the network and its policies",
                    "the API server",
                ),
            )
        ) from None


def _expect(answer: Response, what: str) -> None:
    if answer.status == 401:
        detail = "the API server does not know this operator's credentials"
        raise _ObstacleError(Obstacle(detail, "mount a ServiceAccount token, or fix the kubeconfig"))
    if answer.status == 403:
        detail = f"the API server does not let this operator {what}: {answer.message}"
        remedy = "apply the operator's ClusterRole and its binding (manifests/install/watchword.yaml)"
        raise _ObstacleError(Obstacle(detail, remedy))
    if answer.status != 200:
        detail = f"the API server answers {answer.status} when asked to {what}: {answer.message}"
        raise _ObstacleError(Obstacle(detail, "look at the API server's log"))


class SchemaChangedError(Exception):
    """A CRD is not as it was when the watches of its kind began."""


def difference(found: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """How a CRD as it is stored differs from this release's.

    Returns:
        The fields that it lacks and those that it has beyond, as text for people; None where there are none.
    """
    name = found["metadata"]["name"]
    [ours] = [each for each in definitions() if each["metadata"]["name"] == name]
    expected, there = _fields(ours), _fields(found)
    return _named(expected - there), _named(there - expected)


def _named(fields: set[str]) -> str | None:
    # Of a part that is new as a whole, its parts need no names.
    roots = sorted(field for field in fields if field.rpartition(".")[0] not in fields)
    if not roots:
        return None
    more = f" and {len(roots) - _MOST_NAMED} more" if len(roots) > _MOST_NAMED else ""
    return f"{', '.join(roots[:_MOST_NAMED])}{more}"


def _fields(definition: Mapping[str, Any]) -> set[str]:
    fields: set[str] = set()
    for version in definition["spec"]["versions"]:
        if version["name"] == "v1alpha1":
            fields |= set(_paths(version.get("schema", {}).get("openAPIV3Schema", {}), ""))
    return {field for field in fields if field.startswith(("spec", "status"))}


def _paths(schema: Mapping[str, Any], path: str) -> Iterator[str]:
    for name, part in (schema.get("properties") or {}).items():
        below = f"{path}.{name}" if path else name
        yield below
        yield from _paths(part, below)
    if isinstance(schema.get("items"), dict):
        yield from _paths(schema["items"], f"{path}[]")


class _Meta(ObjectMeta, frozen=True):
    generation: int = 0


class _Definition(Part, frozen=True):
    metadata: _Meta


async def watch_for_change(
    endpoint: Endpoint, generations: Mapping[str, int], *, window_seconds: float
) -> None:
    """Wait until one of these CRDs is of another generation, or gone.

    Raises:
        SchemaChangedError: it happened, in an ExceptionGroup.
    """
    async with asyncio.TaskGroup() as group:
        for name, generation in generations.items():
            group.create_task(_watch_one(endpoint, name, generation, window_seconds))


async def _watch_one(endpoint: Endpoint, name: str, generation: int, window_seconds: float) -> None:
    # By its name alone: that is all that a ClusterRole with `resourceNames` allows.
    resource = Resource(
        group=GROUP, plural=PLURAL, field_selector=f"metadata.name={name}", metadata_only=True
    )
    # With another status it is no other schema: only the generation counts.
    watch: Watch[int] = Watch(
        endpoint, resource, _Definition, lambda item: item.metadata.generation, window_seconds=window_seconds
    )
    async with contextlib.aclosing(watch.events()) as events:
        async for event in events:
            if isinstance(event, Upserted):
                if event.object != generation:
                    raise SchemaChangedError(f"{name} was changed")
            elif isinstance(event, Removed) or (isinstance(event, Synced) and not watch.known):
                raise SchemaChangedError(f"{name} was deleted")
