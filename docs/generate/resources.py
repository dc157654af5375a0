# SPDX-License-Identifier: Apache-2.0
"""docs/reference/resources.md: the fields of the three resources, from their types."""

from typing import Any

import msgspec

from watchword.trust.specs import API_VERSION, IssuerSpec, ServiceSpec, WorkloadSpec

_KINDS = (
    ("ClusterTrustedIssuer", "cluster-scoped", IssuerSpec),
    ("ProtectedService", "namespaced", ServiceSpec),
    ("TrustedWorkload", "namespaced", WorkloadSpec),
)
_HEAD = ("| field | type | meaning and bounds |", "|---|---|---|")
_BOUNDS = (
    ("minLength", "at least {} characters"),
    ("maxLength", "at most {} characters"),
    ("minItems", "at least {} entries"),
    ("maxItems", "at most {} entries"),
    ("minimum", "at least {}"),
    ("maximum", "at most {}"),
    ("pattern", "matches `{}`"),
)


def page() -> str:
    """The page's text."""
    schemas, components = msgspec.json.schema_components(
        [spec for _, _, spec in _KINDS], ref_template="#/{name}"
    )
    lines = [
        "# The resources",
        "",
        f"Generated from `src/watchword/trust/specs.py` (`make generate`). API version `{API_VERSION}`.",
        "A field that is not listed is refused by name.",
    ]
    for (kind, scope, _), schema in zip(_KINDS, schemas, strict=True):
        lines += ["", f"## {kind}", "", f"{scope.capitalize()}.", "", *_HEAD]
        lines += _rows("spec", _resolve(schema, components), components)
    return "\n".join(lines) + "\n"


def _resolve(schema: dict[str, Any], components: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in schema:
        resolved: dict[str, Any] = {**components[schema["$ref"].removeprefix("#/")], **schema}
        return resolved
    for choice in schema.get("anyOf", ()):
        if choice.get("type") != "null":
            return {**_resolve(choice, components), **{k: v for k, v in schema.items() if k != "anyOf"}}
    return schema


def _rows(path: str, schema: dict[str, Any], components: dict[str, Any]) -> list[str]:
    rows: list[str] = []
    required = set(schema.get("required", ()))
    for name, raw in schema.get("properties", {}).items():
        field = _resolve(raw, components)
        items = _resolve(field["items"], components) if isinstance(field.get("items"), dict) else {}
        kind = f"list of {items.get('type', 'object')}s" if items else field.get("type", "value")
        said = [field.get("description", "").removesuffix(".")] if "properties" not in field else []
        if "enum" in field:
            said.append("one of " + ", ".join(f"`{value}`" for value in field["enum"]))
        said += [text.format(field[key]) for key, text in _BOUNDS if key in field]
        said.append("required" if name in required else _default(field))
        meaning = "; ".join(part for part in said if part)
        rows.append(f"| `{path}.{name}` | {kind} | {meaning} |")
        nested = items if "properties" in items else field
        rows += _rows(f"{path}.{name}" + ("[]" if nested is items else ""), nested, components)
    return rows


def _default(field: dict[str, Any]) -> str:
    value = field.get("default")
    return f"default `{value}`" if isinstance(value, str | int) and value != "" else "optional"
