# SPDX-License-Identifier: Apache-2.0
"""The CustomResourceDefinitions, from the typed specs: fields, bounds, defaults, descriptions and rules.

Written by hand, a CRD agrees with the code on the day that it is written. Here the API server is given the
very types that the compiler reads, so what one accepts the other understands.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from watchword.trust.api.v1alpha1 import (
    API_GROUP,
    AgentProviderSpec,
    DeskClientSpec,
    DeskSpec,
    IssuerSpec,
    ServiceSpec,
    WorkloadSpec,
)
from watchword.trust.api.v1alpha1.status import (
    AgentProviderStatus,
    DeskClientStatus,
    DeskStatus,
    IssuerStatus,
    ServiceStatus,
    WorkloadStatus,
)
from watchword.trust.crd.cel import rules_at
from watchword.trust.crd.columns import COLUMNS, SELECTABLE

Schema = dict[str, Any]
CRD_VERSION: Final = "v1alpha1"
# What means the same in JSON Schema and in a structural schema; everything else is made below, or dropped.
_KEPT: Final = (
    "type",
    "format",
    # Without it the API server drops a null before anything judges it.
    "nullable",
    "description",
    "enum",
    "pattern",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
    "required",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-preserve-unknown-fields",
)
_OPEN: Final = "x-kubernetes-preserve-unknown-fields"


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """One of our kinds, as a CRD names it.

    Attributes:
        name: the kind, such as `TrustedWorkload`.
        plural: its plural in URLs.
        short: its short name for kubectl.
        is_namespaced: whether its objects live in namespaces.
        summary: what an object of it says, for `kubectl explain`.
        spec: the type of what a person writes.
        status: the type of what the operator answers.
    """

    name: str
    plural: str
    short: str
    is_namespaced: bool
    summary: str
    spec: type[msgspec.Struct]
    status: type[msgspec.Struct]


KINDS: Final = (
    Kind(
        name="ClusterTrustedIssuer",
        plural="clustertrustedissuers",
        short="cti",
        is_namespaced=False,
        summary="A cluster whose ServiceAccount tokens may be believed, with the keys that it signs with. "
        "Anyone who edits one decides whose word counts in this whole cluster.",
        spec=IssuerSpec,
        status=IssuerStatus,
    ),
    Kind(
        name="ProtectedService",
        plural="protectedservices",
        short="ps",
        is_namespaced=True,
        summary="A service behind a gate: the audiences that its callers' tokens must be made for, its "
        "routes and its limits.",
        spec=ServiceSpec,
        status=ServiceStatus,
    ),
    Kind(
        name="TrustedWorkload",
        plural="trustedworkloads",
        short="tw",
        is_namespaced=True,
        summary="One ServiceAccount of one cluster that a service trusts, and what it may do. Anyone who "
        "edits one grants access; once it is deleted, the workload is out within seconds.",
        spec=WorkloadSpec,
        status=WorkloadStatus,
    ),
    Kind(
        name="TokenDesk",
        plural="tokendesks",
        short="td",
        is_namespaced=True,
        summary="An authorization server for workloads: it turns a token into a narrower and shorter one, "
        "for the services that name it. It counts only in the namespace that the platform's admins set "
        "aside for desks.",
        spec=DeskSpec,
        status=DeskStatus,
    ),
    Kind(
        name="DeskClient",
        plural="deskclients",
        short="dc",
        is_namespaced=True,
        summary="Who may use a TokenDesk other than as a workload: a resource server that asks about tokens, "
        "or an admin service account. It counts only next to its TokenDesk.",
        spec=DeskClientSpec,
        status=DeskClientStatus,
    ),
    Kind(
        name="AgentProvider",
        plural="agentproviders",
        short="ap",
        is_namespaced=True,
        summary="A provider whose assertions (ID-JAG) a TokenDesk takes for which person an agent acts for. "
        "It counts only next to its TokenDesk, and a person's first agent of it leads to the claim page.",
        spec=AgentProviderSpec,
        status=AgentProviderStatus,
    ),
)


def definitions() -> tuple[dict[str, Any], ...]:
    """The CustomResourceDefinitions (apiextensions.k8s.io/v1)."""
    return tuple(definition(kind) for kind in KINDS)


def definition(kind: Kind) -> dict[str, Any]:
    """The CustomResourceDefinition of one kind."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{kind.plural}.{API_GROUP}",
            "labels": {"app.kubernetes.io/name": "watchword", "app.kubernetes.io/component": "crds"},
        },
        "spec": {
            "group": API_GROUP,
            "names": {
                "kind": kind.name,
                "listKind": f"{kind.name}List",
                "plural": kind.plural,
                "singular": kind.name.lower(),
                "shortNames": [kind.short],
                "categories": ["watchword"],
            },
            "scope": "Namespaced" if kind.is_namespaced else "Cluster",
            "versions": [
                {
                    "name": CRD_VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": [column.as_json() for column in COLUMNS[kind.name]],
                    "selectableFields": [{"jsonPath": path} for path in SELECTABLE[kind.name]],
                    "schema": {"openAPIV3Schema": _object_schema(kind)},
                }
            ],
        },
    }


def _object_schema(kind: Kind) -> Schema:
    version = "The version of this object's form, such as `watchword.dev/v1alpha1`."
    schema: Schema = {
        "type": "object",
        "description": kind.summary,
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string", "description": version},
            "kind": {"type": "string", "description": f"`{kind.name}`."},
            "metadata": {"type": "object"},
            "spec": structural_schema(kind.spec),
            "status": _without_defaults(structural_schema(kind.status)),
        },
    }
    if rules := rules_at(kind.name):
        schema["x-kubernetes-validations"] = [rule.as_json() for rule in rules]
    return schema


def _without_defaults(schema: Schema) -> Schema:
    """The schema of what the operator writes: what it did not say must not look like its word."""
    kept = {key: value for key, value in schema.items() if key != "default"}
    if "properties" in kept:
        kept["properties"] = {name: _without_defaults(each) for name, each in kept["properties"].items()}
    if "items" in kept:
        kept["items"] = _without_defaults(kept["items"])
    return kept


def structural_schema(spec: type[msgspec.Struct]) -> Schema:
    """The structural schema of a type (Kubernetes, "Specifying a structural schema")."""
    (schema,), components = msgspec.json.schema_components([spec], ref_template="{name}")
    return _convert(schema, components, ())


def _convert(raw: Mapping[str, Any], components: Mapping[str, Schema], places: tuple[str, ...]) -> Schema:
    """One node, without references. `places` are the names that rules may know this node by."""
    node, names = _resolve(raw, components)
    places = (*places, *names)
    schema: Schema = {key: node[key] for key in _KEPT if node.get(key, []) != []}
    if "enum" in node:
        schema.setdefault("type", "string")
    if node.get("properties"):
        # A type is the owner of its fields; a form that is written out in place goes by where it stands.
        owner = names[-1] if names else places[0]
        properties = {
            name: _convert(field, components, (f"{owner}.{name}",))
            for name, field in node["properties"].items()
        }
        schema["properties"] = properties
        for name, field in node["properties"].items():
            _add_default(properties[name], field)
    elif "items" in node:
        schema["items"] = _convert(node["items"], components, tuple(f"{place}[]" for place in places))
    elif schema.get("type") == "object":
        _convert_map(schema, node)
    rules = [rule.as_json() for place in places for rule in rules_at(place)]
    if rules:
        schema["x-kubernetes-validations"] = rules
    return schema


def _convert_map(schema: Schema, node: Mapping[str, Any]) -> None:
    values = node.get("additionalProperties")
    if isinstance(values, dict) and values:
        schema["additionalProperties"] = {key: values[key] for key in _KEPT if key in values}
        if "enum" in values:
            schema["additionalProperties"]["type"] = "string"
    elif "title" not in node:
        # An open document of another's form, such as a JWK: what reads it judges it.
        schema[_OPEN] = True


def _resolve(raw: Mapping[str, Any], components: Mapping[str, Schema]) -> tuple[Schema, tuple[str, ...]]:
    """The node with what its reference and its one non-null choice say, and the names of types on the way."""
    outer = {key: value for key, value in raw.items() if key not in {"$ref", "anyOf"}}
    inner: Mapping[str, Any] | None = None
    names: tuple[str, ...] = ()
    if "$ref" in raw:
        names = (raw["$ref"],)
        inner = components[raw["$ref"]]
    for choice in raw.get("anyOf", ()):
        if choice.get("type") != "null":
            inner = choice
    if inner is None:
        return outer, names
    resolved, found = _resolve(inner, components)
    return {**resolved, **outer}, (*names, *found)


def _add_default(schema: Schema, field: Mapping[str, Any]) -> None:
    default = field.get("default")
    if isinstance(default, (str, int)) and default != "":
        schema["default"] = default
    elif isinstance(default, dict):
        fields = schema.get("properties", {}).values()
        if any("default" in each for each in fields):
            schema["default"] = {}
