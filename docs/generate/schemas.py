# SPDX-License-Identifier: Apache-2.0
"""manifests/schemas/*.json: JSON Schemas (draft-07) of our kinds, for editors and for CI."""

import json
from typing import Any

from watchword.trust.crd.definitions import KINDS, Kind, definition

_OPEN = "x-kubernetes-preserve-unknown-fields"
_DRAFT = "http://json-schema.org/draft-07/schema#"
ALL = "watchword.json"


def file_name(kind: Kind) -> str:
    """The name of a kind's file."""
    return f"{kind.name.lower()}_v1alpha1.json"


def page(kind: Kind) -> str:
    """The schema of one kind: as the API server's, without its rules in CEL, and closed to unknown fields."""
    [version] = definition(kind)["spec"]["versions"]
    schema = _closed(version["schema"]["openAPIV3Schema"])
    schema["properties"].pop("status", None)
    schema["properties"] |= {
        "apiVersion": {"const": "watchword.dev/v1alpha1"},
        "kind": {"const": kind.name},
        # Labels, annotations and the rest of it are Kubernetes' own.
        "metadata": {
            "type": "object",
            "required": ["name", "namespace"] if kind.is_namespaced else ["name"],
            "properties": {"name": {"type": "string"}, "namespace": {"type": "string"}},
        },
    }
    schema["required"] = ["apiVersion", "kind", "metadata", "spec"]
    return _text({"$schema": _DRAFT, "title": kind.name, **schema})


def page_of_all() -> str:
    """One schema for files that hold any of them, and objects of other kinds next to them."""
    choices = [
        {
            "if": {"required": ["kind"], "properties": {"kind": {"const": kind.name}}},
            "then": {"$ref": file_name(kind)},
        }
        for kind in KINDS
    ]
    return _text({"$schema": _DRAFT, "title": "Watchword's kinds", "allOf": choices})


def _closed(schema: Any) -> Any:
    """A structural schema as plain JSON Schema: unknown fields refused, Kubernetes' extensions left out."""
    if isinstance(schema, list):
        return [_closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    found = {
        name: {key: _closed(each) for key, each in value.items()} if name == "properties" else _closed(value)
        for name, value in schema.items()
        if not name.startswith("x-kubernetes-")
    }
    if "properties" in schema and not schema.get(_OPEN):
        found["additionalProperties"] = False
    return found


def _text(schema: dict[str, Any]) -> str:
    return json.dumps(schema, indent=2) + "\n"
