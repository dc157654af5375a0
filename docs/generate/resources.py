# SPDX-License-Identifier: Apache-2.0
"""docs/reference/resources.md: the fields of the resources, from the schemas of the CRDs."""

from collections.abc import Iterator
from typing import Any

from watchword.trust.api.v1alpha1 import API_VERSION
from watchword.trust.crd.definitions import KINDS, definition

Schema = dict[str, Any]
_BOUNDS = (
    ("minLength", "at least {} characters"),
    ("maxLength", "at most {} characters"),
    ("minItems", "at least {} entries"),
    ("maxItems", "at most {} entries"),
    ("maxProperties", "at most {} entries"),
    ("minimum", "at least {}"),
    ("maximum", "at most {}"),
    ("pattern", "matches `{}`"),
)
_HEAD = ("| field | type | meaning and bounds |", "|---|---|---|")


def page() -> str:
    """The page's text."""
    lines = [
        "# The resources",
        "",
        f"Generated from `src/watchword/trust/api/v1alpha1` (`make generate`). API version `{API_VERSION}`;",
        "category `watchword`, so that `kubectl get watchword` lists them all. A field that is not listed",
        "is refused by name by `watchword compile`, and by `kubectl`, which validates strictly. What else is",
        "refused as it is written is on the page [Admission](admission.md); `kubectl explain` shows the same",
        "texts.",
    ]
    for kind in KINDS:
        crd = definition(kind)["spec"]
        (version,) = crd["versions"]
        parts = version["schema"]["openAPIV3Schema"]["properties"]
        selectable = ", ".join(f"`{each['jsonPath'][1:]}`" for each in version["selectableFields"])
        scope = "Namespaced" if kind.is_namespaced else "Cluster-scoped"
        lines += [
            "",
            f"## {kind.name}",
            "",
            f"{scope}; short name `{kind.short}`. {kind.summary}",
            "",
            f"Field selectors: {selectable}.",
            "",
            *_HEAD,
            *_rows("spec", parts["spec"]),
            "",
            f"### Status of a {kind.name}",
            "",
            "Written by the operator; see [Conditions and Events](conditions.md).",
            "",
            *_HEAD,
            *_rows("status", parts["status"]),
        ]
    return "\n".join(lines) + "\n"


def _rows(path: str, schema: Schema) -> Iterator[str]:
    required = set(schema.get("required", ()))
    for name, field in schema.get("properties", {}).items():
        # Named only so that a rule can refuse them: the page on admission says so.
        if path.endswith(".inline.keys[]"):
            continue
        items = field.get("items", {})
        said = [field.get("description", "").removesuffix("."), *_bounds(field), *_bounds(items, "each ")]
        if name in required:
            said.append("required")
        elif "default" not in said[0].lower() and not isinstance(field.get("default", {}), dict):
            said.append(f"default `{_as_json(field['default'])}`")
        meaning = "; ".join(part for part in said if part).replace("|", "\\|")
        yield f"| `{path}.{name}` | {_type(field)} | {meaning} |"
        yield from _rows(f"{path}.{name}[]" if items else f"{path}.{name}", items or field)


def _bounds(field: Schema, prefix: str = "") -> Iterator[str]:
    if "enum" in field:
        yield prefix + "one of " + ", ".join(f"`{value}`" for value in field["enum"])
    for key, text in _BOUNDS:
        if key in field:
            yield prefix + text.format(field[key])


def _type(field: Schema) -> str:
    if "items" in field:
        unique = " (no entry twice)" if field.get("x-kubernetes-list-type") == "set" else ""
        return f"list of {field['items']['type']}s{unique}"
    return "map of strings" if "additionalProperties" in field else str(field["type"])


def _as_json(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
