# SPDX-License-Identifier: Apache-2.0
"""docs/reference/admission.md: every rule that the API server checks, with what it answers."""

from collections.abc import Iterator
from typing import Any

from watchword.trust.crd.definitions import KINDS, definition

Schema = dict[str, Any]


def page() -> str:
    """The page's text."""
    lines = [
        "# Admission: what the API server refuses",
        "",
        "Generated from `src/watchword/trust/crd/cel` (`make generate`). These rules are part of the CRDs,",
        "in CEL: an object that breaks one is refused as it is written, with the answer below, and nothing",
        "of it is stored. The bounds of each field are on the page [The resources](resources.md).",
        "`watchword compile` applies the same rules to a folder of manifests.",
        "",
        "What one object cannot show by itself (an issuer that is missing, two objects for one subject,",
        "routes that repeat each other) is not refused here: that object gets a condition, and all else",
        "stands.",
        "",
        "An object that was stored before a rule came can still be edited elsewhere: the API server asks a",
        "rule only of what an edit changes (since Kubernetes 1.33). The rules need Kubernetes 1.31 or newer.",
    ]
    for kind in KINDS:
        (version,) = definition(kind)["spec"]["versions"]
        lines += [
            "",
            f"## {kind.name}",
            "",
            "| field | the answer: what is wrong, and what would be right |",
            "|---|---|",
        ]
        lines += dict.fromkeys(_rows("", version["schema"]["openAPIV3Schema"]))
        lines += ["", "In CEL:", "", "```text"]
        lines += dict.fromkeys(_expressions("", version["schema"]["openAPIV3Schema"]))
        lines += ["```"]
    return "\n".join(lines) + "\n"


def _rules(path: str, schema: Schema) -> Iterator[tuple[str, Schema]]:
    for rule in schema.get("x-kubernetes-validations", ()):
        yield path, rule
    for name, field in schema.get("properties", {}).items():
        yield from _rules(f"{path}.{name}", field)
    if isinstance(schema.get("items"), dict):
        yield from _rules(f"{path}[]", schema["items"])


def _rows(path: str, schema: Schema) -> Iterator[str]:
    for place, rule in _rules(path, schema):
        field = f"{place}{rule.get('fieldPath', '')}".removeprefix(".") or "metadata.name"
        message = rule["message"].replace("|", "\\|")
        yield f"| `{field}` | {message} |"


def _expressions(path: str, schema: Schema) -> Iterator[str]:
    for place, rule in _rules(path, schema):
        yield f"{place.removeprefix('.') or 'the object'}: {rule['rule']}"
