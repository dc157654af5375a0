# SPDX-License-Identifier: Apache-2.0
"""What a cluster's objects are once manifests are applied to it, object by object, as `kubectl apply` merges.

An object that is there keeps what the manifest does not say, unless the manifest said it when it was applied
last; a list is replaced as a whole. An object that is not there yet becomes the youngest: where two claim
the same thing, the older one keeps it. Pure.
"""

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from watchword.trust.api.v1alpha1.rules import parse_time

Object = dict[str, Any]
Named = tuple[str, Object]
_LAST_APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"
# The API server sets these; what a manifest says of them is passed over.
_SET_BY_SERVER: Final = ("creationTimestamp", "uid", "resourceVersion", "generation", "managedFields")


def objects_after(live: Iterable[Object], files: Iterable[Named], now: float, *, prune: bool) -> list[Named]:
    """The objects of a cluster after applying, each with where it was read.

    Args:
        live: the cluster's objects, as its API server gives them.
        files: the manifests' objects, each with the name of its file.
        now: seconds since the epoch.
        prune: objects that are in no manifest are gone; but for Namespaces.
    """
    there = {_name(each): each for each in live}
    created = _after_all(there.values(), now)
    found: list[Named] = []
    taken = set()
    for source, document in files:
        taken.add(_name(document))
        before = there.get(_name(document))
        found.append((source, _created(document, created) if before is None else _merged(before, document)))
    rest = [each for name, each in there.items() if name not in taken]
    return [*(("cluster", each) for each in rest if not prune or each.get("kind") == "Namespace"), *found]


def _name(document: Mapping[str, Any]) -> tuple[str, ...]:
    metadata = _mapping(document.get("metadata"))
    group = str(document.get("apiVersion")).rpartition("/")[0]
    return (
        group,
        *(str(each) for each in (document.get("kind"), metadata.get("namespace"), metadata.get("name"))),
    )


def _after_all(live: Iterable[Object], now: float) -> str:
    """A second after every object that is there, whatever the clocks say."""
    times = [parse_time(str(_mapping(each.get("metadata")).get("creationTimestamp"))) for each in live]
    last = max([now, *(each + 1 for each in times if each is not None)])
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=int(last))
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _created(document: Object, created: str) -> Object:
    return {**document, "metadata": {**_own_metadata(document), "creationTimestamp": created}}


def _own_metadata(document: Object) -> Object:
    metadata = _mapping(document.get("metadata"))
    return {name: value for name, value in metadata.items() if name not in _SET_BY_SERVER}


def _merged(live: Object, document: Object) -> Object:
    wanted = {**document, "metadata": _own_metadata(document)}
    wanted.pop("status", None)
    fields = _mapping(live.get("metadata")).get("managedFields")
    for each in fields if isinstance(fields, list) else ():
        if isinstance(each, dict) and each.get("operation") == "Apply":
            live = _without(live, _mapping(each.get("fieldsV1")), wanted)
    return _three_way(_last(live), live, wanted)


def _last(live: Object) -> Object:
    """What the object said when a client applied it last."""
    notes = _mapping(_mapping(live.get("metadata")).get("annotations"))
    try:
        return _mapping(json.loads(str(notes.get(_LAST_APPLIED))))
    except (ValueError, RecursionError):
        return {}


def _without(live: Object, owned: Object, wanted: Object) -> Object:
    """An object without the fields that were applied by the server ("FieldsV1") and are not wanted now."""
    found = dict(live)
    for field, inner in owned.items():
        name = field.removeprefix("f:")
        value = found.get(name)
        if not field.startswith("f:") or name not in found:
            continue
        if isinstance(value, dict) and any(each.startswith("f:") for each in _mapping(inner)):
            found[name] = _without(value, _mapping(inner), _mapping(wanted.get(name)))
        elif name not in wanted:
            del found[name]
    return found


def _three_way(last: Object, live: Object, wanted: Object) -> Object:
    """A JSON merge patch from what was applied last to what is wanted, carried out on what is there."""
    found = {name: value for name, value in live.items() if name in wanted or name not in last}
    for name, value in wanted.items():
        if value is None:
            found.pop(name, None)
        elif isinstance(value, dict):
            found[name] = _three_way(_mapping(last.get(name)), _mapping(live.get(name)), value)
        else:
            found[name] = value
    return found


def _mapping(value: Any) -> Object:
    return value if isinstance(value, dict) else {}
