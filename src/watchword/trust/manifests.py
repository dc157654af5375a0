# SPDX-License-Identifier: Apache-2.0
"""Manifests as bytes to typed resources, with everything that is wrong by name.

YAML is read with its surprises switched off: no repeated keys, no anchors, no tags, no times that become
objects. The API server would silently drop an unknown field; here it is a problem that says which.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec
import yaml

from watchword.trust.problems import Problem, ProblemReason
from watchword.trust.rules import Finding, findings_of_issuer, findings_of_service, findings_of_workload
from watchword.trust.specs import (
    API_GROUP,
    API_VERSION,
    ClusterTrustedIssuer,
    IssuerSpec,
    Metadata,
    ProtectedService,
    Resource,
    Resources,
    ServiceSpec,
    TrustedWorkload,
    WorkloadSpec,
)

MAX_FILE_BYTES: Final = 4 * 1024 * 1024
MAX_DEPTH: Final = 64
_KINDS: Final = ("ClusterTrustedIssuer", "ProtectedService", "TrustedWorkload")
_ERROR_PATH: Final = re.compile(r"^(?P<text>.*?)(?: - at `(?P<key>key in )?(?P<path>[^`]*)`)?$", re.DOTALL)
_UNKNOWN_FIELD: Final = re.compile(r"^Object contains unknown field `(?P<name>.*)`$", re.DOTALL)


class Manifests(msgspec.Struct, frozen=True):
    """What a set of files held.

    Attributes:
        resources: the objects that are fit to compile.
        problems: one entry for each thing left out.
    """

    resources: Resources
    problems: tuple[Problem, ...]


class _UnfitYamlError(yaml.YAMLError):
    """YAML that is legal and not accepted here."""


class _Loader(yaml.CSafeLoader):
    """Safe YAML without repeated keys, anchors, tags or implicit times."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        """Refuse a key that stands there twice, and keys that are not text."""
        seen: set[str] = set()
        for key_node, _ in node.value:
            key = key_node.value
            if key_node.tag != "tag:yaml.org,2002:str":
                raise _UnfitYamlError(f"line {key_node.start_mark.line + 1}: a key is not a string; quote it")
            if key in seen:
                raise _UnfitYamlError(f"line {key_node.start_mark.line + 1}: the key {key!r} is repeated")
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


# Times stay text: what they mean is for the field that holds them to say.
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}


def _refuse_surprises(text: str) -> None:
    """Look at the parser's events before anything is built: an alias may stand for a gigabyte."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        line = event.start_mark.line + 1 if event.start_mark else 0
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise _UnfitYamlError(f"line {line}: anchors and aliases are not accepted; write the value out")
        if getattr(event, "tag", None) is not None:
            raise _UnfitYamlError(f"line {line}: tags are not accepted; write the plain value")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise _UnfitYamlError(f"line {line}: nested deeper than {MAX_DEPTH} levels")


def parse_manifests(files: Iterable[tuple[str, bytes]]) -> Manifests:
    """Read YAML or JSON manifests. Never raises for bad input.

    Args:
        files: names, for messages, and contents of at most 4 MiB each; several documents a file are fine.
            Kinds of other API groups are passed over, but for ConfigMaps and Namespaces, read too.
    """
    problems: list[Problem] = []
    found: dict[tuple[str, str, str], Resource] = {}
    config_maps: dict[tuple[str, str], dict[str, str]] = {}
    namespaces: dict[str, dict[str, str]] = {}
    for source, data in files:
        for document in _documents(source, data, problems):
            metadata = document.get("metadata")
            metadata = metadata if isinstance(metadata, dict) else {}
            kind, version = document.get("kind"), document.get("apiVersion")
            if kind == "ConfigMap" and version == "v1":
                place = (str(metadata.get("namespace", "")), str(metadata.get("name", "")))
                config_maps[place] = _text_map(document.get("data"))
            elif kind == "Namespace" and version == "v1":
                namespaces[str(metadata.get("name", ""))] = _text_map(metadata.get("labels"))
            elif isinstance(version, str) and version.partition("/")[0] == API_GROUP:
                resource = _resource(source, document, problems)
                if resource is not None:
                    _add(resource, found, problems)
    resources = Resources(
        issuers=tuple(each for each in found.values() if isinstance(each, ClusterTrustedIssuer)),
        services=tuple(each for each in found.values() if isinstance(each, ProtectedService)),
        workloads=tuple(each for each in found.values() if isinstance(each, TrustedWorkload)),
        config_maps=config_maps,
        namespaces=namespaces,
    )
    return Manifests(resources, tuple(problems))


def _text_map(value: object) -> dict[str, str]:
    return {str(key): str(item) for key, item in value.items()} if isinstance(value, dict) else {}


def _documents(source: str, data: bytes, problems: list[Problem]) -> Iterator[dict[str, Any]]:
    def unreadable(detail: str, remedy: str) -> None:
        problems.append(Problem("File", "", source, "", ProblemReason.UNREADABLE, detail, remedy, source))

    if len(data) > MAX_FILE_BYTES:
        unreadable(f"the file has {len(data)} bytes", f"split it: at most {MAX_FILE_BYTES} bytes are read")
        return
    try:
        text = data.decode("utf-8")
        _refuse_surprises(text)
        documents = list(yaml.load_all(text, Loader=_Loader))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        unreadable(
            f"not YAML or JSON: {' '.join(str(error).split())[:300]}", "mend the file; nothing of it is used"
        )
        return
    for document in documents:
        if document is None:
            continue
        if not isinstance(document, dict):
            unreadable("a document is not an object", "write Kubernetes manifests with apiVersion and kind")
        elif document.get("kind") == "List" and isinstance(document.get("items"), list):
            yield from (item for item in document["items"] if isinstance(item, dict))
        else:
            yield document


def _resource(source: str, document: dict[str, Any], problems: list[Problem]) -> Resource | None:
    metadata = document.get("metadata")
    named = metadata if isinstance(metadata, dict) else {}
    kind = str(document.get("kind", ""))[:63]
    namespace, name = str(named.get("namespace", ""))[:253], str(named.get("name", ""))[:253]

    def problem(
        field: str, detail: str, remedy: str, reason: ProblemReason = ProblemReason.INVALID_FIELD
    ) -> None:
        problems.append(Problem(kind, namespace, name, field, reason, detail, remedy, source))

    if document.get("apiVersion") != API_VERSION or kind not in _KINDS:
        given = f"{document.get('apiVersion')} {kind}"
        remedy = f"use {API_VERSION} and one of {', '.join(_KINDS)}"
        problem("kind", f"{given} is not known", remedy, ProblemReason.UNKNOWN_KIND)
        return None
    before = len(problems)
    for field in sorted(set(document) - {"apiVersion", "kind", "metadata", "spec", "status"}):
        problem(field, "the field is unknown", "remove it, or put it under spec")
    if kind == "ClusterTrustedIssuer" and namespace:
        problem("metadata.namespace", "the kind is cluster-scoped", "remove metadata.namespace")
    if kind != "ClusterTrustedIssuer" and not namespace:
        problem("metadata.namespace", "the namespace is missing", "say which namespace the object is in")
    resource = _convert(kind, document, source, problem)
    return resource if len(problems) == before else None


def _convert(kind: str, document: dict[str, Any], source: str, problem: Any) -> Resource | None:
    part = "metadata"
    try:
        metadata = msgspec.convert(document.get("metadata", {}), Metadata)
        part = "spec"
        spec = document.get("spec", {})
        findings: Iterator[Finding]
        resource: Resource
        if kind == "ClusterTrustedIssuer":
            issuer = msgspec.convert(spec, IssuerSpec)
            resource = ClusterTrustedIssuer(metadata=metadata, spec=issuer, source=source)
            findings = findings_of_issuer(issuer)
        elif kind == "ProtectedService":
            service = msgspec.convert(spec, ServiceSpec)
            resource = ProtectedService(metadata=metadata, spec=service, source=source)
            findings = findings_of_service(service)
        else:
            workload = msgspec.convert(spec, WorkloadSpec)
            resource = TrustedWorkload(metadata=metadata, spec=workload, source=source)
            findings = findings_of_workload(workload)
    except (msgspec.ValidationError, RecursionError) as error:
        problem(*_explain(part, str(error)))
        return None
    for finding in findings:
        problem(*finding)
    return resource


def _explain(part: str, message: str) -> Finding:
    """What msgspec calls `$.audiences[0]`, people know as spec.audiences[0]."""
    found = _ERROR_PATH.match(message)
    text, path = (found["text"], found["path"] or "$") if found else (message, "$")
    field = part + path[1:]
    if unknown := _UNKNOWN_FIELD.match(text):
        return f"{field}.{unknown['name']}", "the field is unknown", "check its spelling and its place"
    if text.startswith("Object missing required field"):
        name = text.split("`")[1]
        return f"{field}.{name}", "the field is required and missing", f"set {field}.{name}"
    return field, text[:1].lower() + text[1:], f"see the reference of {field}"


def _add(resource: Resource, found: dict[tuple[str, str, str], Resource], problems: list[Problem]) -> None:
    kind = type(resource).__name__
    namespace, name = resource.metadata.namespace, resource.metadata.name
    if (kind, namespace, name) in found:
        detail = f"an object of this name stands in {found[kind, namespace, name].source} already"
        reason = ProblemReason.DUPLICATE_OBJECT
        problems.append(
            Problem(kind, namespace, name, "metadata.name", reason, detail, "keep one", resource.source)
        )
    else:
        found[kind, namespace, name] = resource
