# SPDX-License-Identifier: Apache-2.0
"""Objects with one field, or all of them, replaced by what no one expects there.

A CRD of another release, or one that somebody "fixed", lets anything through. What it lets through reaches
the operator as an event, and must hurt nothing but itself.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

Object = dict[str, Any]


def _nested(depth: int) -> Any:
    value: Any = "deep"
    for level in range(depth):
        value = [value] if level % 2 else {"a": value}
    return value


VALUES: Mapping[str, Any] = {
    "null": None,
    "empty-text": "",
    "blank": " ",
    "long-text": "x" * 60_000,
    "odd-text": "\u202eevil\u0000\n\ud7ff\U0001f600",
    "template": "{{ .Values }} ${HOME} $(id) %s",
    "zero": 0,
    "negative": -1,
    "huge-integer": 2**63 - 1,
    "fraction": 1.5,
    "huge-number": 1e308,
    "true": True,
    "empty-list": [],
    "empty-object": {},
    "list-of-null": [None],
    "list-of-lists": [[[]]],
    "deep": _nested(60),
    "wide": {f"k{number}": number for number in range(2000)},
    "star": "*",
    "time": "9999-12-31T23:59:59Z",
    "no-time": "2026-13-45T99:99:99Z",
    "url": "file:///etc/passwd",
}


def _paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a document, the whole of it first."""
    yield path
    if isinstance(value, dict):
        for key, part in value.items():
            yield from _paths(part, (*path, key))
    elif isinstance(value, list):
        for number, part in enumerate(value):
            yield from _paths(part, (*path, number))


def _replaced(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return copy.deepcopy(value)
    changed = copy.deepcopy(document)
    place = changed
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = copy.deepcopy(value)
    return changed


def variants(base: Object, part: str) -> Iterator[Object]:
    """`base` with each place of its `part` (spec or status) replaced by each value; each has its own name."""
    number = 0
    for path in _paths(base[part]):
        for value in VALUES.values():
            number += 1
            made = copy.deepcopy(base)
            made["metadata"]["name"] = f"{base['metadata']['name']}-{number}"
            made[part] = _replaced(base[part], path, value)
            yield made


def lax(definition: Object) -> Object:
    """A CRD that takes anything as spec and status."""
    changed = copy.deepcopy(definition)
    for version in changed["spec"]["versions"]:
        anything = {"x-kubernetes-preserve-unknown-fields": True}
        version["schema"]["openAPIV3Schema"] = {
            "type": "object",
            "properties": {"spec": dict(anything), "status": dict(anything)},
        }
        version["additionalPrinterColumns"] = []
        version.pop("selectableFields", None)
    return changed


def older(definition: Object, *fields: str) -> Object:
    """A CRD from before some fields of `spec` were there, and before there were rules."""
    changed = copy.deepcopy(definition)
    for version in changed["spec"]["versions"]:
        schema = version["schema"]["openAPIV3Schema"]
        for field in fields:
            schema["properties"]["spec"]["properties"].pop(field, None)
        _drop_rules(schema)
        version.pop("selectableFields", None)
    return changed


def newer(definition: Object, **fields: Object) -> Object:
    """A CRD of a later release: it knows further fields of `spec`."""
    changed = copy.deepcopy(definition)
    for version in changed["spec"]["versions"]:
        version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"] |= fields
    return changed


def _drop_rules(schema: Any) -> None:
    if isinstance(schema, dict):
        schema.pop("x-kubernetes-validations", None)
        for part in schema.values():
            _drop_rules(part)
    elif isinstance(schema, list):
        for part in schema:
            _drop_rules(part)
