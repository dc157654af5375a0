# SPDX-License-Identifier: Apache-2.0
"""Whether the API server's CRDs are those of this release, and the moment at which they change.

A watch that was begun under one CRD goes on under it: what a newer CRD adds is cut out of its objects, and a
field that would narrow trust is never seen. So when a CRD changes, everything is read anew.
"""

import asyncio
import contextlib
from collections.abc import Iterator, Mapping
from typing import Any, Final

from watchword.apiwatch import Endpoint, Part, Removed, Resource, Synced, Upserted, Watch
from watchword.apiwatch.messages import ObjectMeta
from watchword.trust.crds import definitions

GROUP: Final = "apiextensions.k8s.io"
PLURAL: Final = "customresourcedefinitions"
NAMES: Final = tuple(str(definition["metadata"]["name"]) for definition in definitions())
_MOST_NAMED: Final = 5


class SchemaChanged(Exception):
    """A CRD is not as it was when the watches of its kind began."""


def path_of(name: str) -> str:
    """Where a CRD is read."""
    return f"/apis/{GROUP}/v1/{PLURAL}/{name}"


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
        SchemaChanged: it happened, in an ExceptionGroup.
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
                    raise SchemaChanged(f"{name} was changed")
            elif isinstance(event, Removed) or (isinstance(event, Synced) and not watch.known):
                raise SchemaChanged(f"{name} was deleted")
