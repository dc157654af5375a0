# SPDX-License-Identifier: Apache-2.0
"""Manifests as bytes to typed resources, with everything that is wrong by name.

The API server would silently drop an unknown field, and a folder a file that is no object; here each is a
problem that says which. Nothing that was meant to decide who is trusted is ever passed over in silence.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec

from watchword.trust.api.v1alpha1 import (
    API_GROUP,
    AgentProvider,
    ClusterTrustedIssuer,
    DeskClient,
    ProtectedService,
    Resource,
    Resources,
    TokenDesk,
    TrustedWorkload,
)
from watchword.trust.objects import KINDS, MAX_QUOTED, quoted, read_object
from watchword.trust.problems import Problem, ProblemReason
from watchword.trust.strict_yaml import Unreadable, read_documents

Texts = dict[str, str]
# Kustomize needs no kind there; kubectl applies nothing that has none.
_KUSTOMIZATIONS: Final = frozenset({"kustomization.yaml", "kustomization.yml"})


class Manifests(msgspec.Struct, frozen=True):
    """What a set of files held.

    Attributes:
        resources: the objects that are fit to compile.
        problems: one entry for each thing left out.
    """

    resources: Resources
    problems: tuple[Problem, ...]


def parse_manifests(files: Iterable[tuple[str, bytes]]) -> Manifests:
    """Read YAML or JSON manifests. Never raises for bad input.

    Args:
        files: names, for messages, and contents of at most 4 MiB each; several documents a file are fine.
            Kinds of other API groups are passed over, but for ConfigMaps and Namespaces, read too.
    """
    problems: list[Problem] = []
    found: dict[tuple[str, str, str], Resource] = {}
    config_maps: dict[tuple[str, str], Texts] = {}
    namespaces: dict[tuple[str, str], Texts] = {}
    binary: dict[tuple[str, str], frozenset[str]] = {}
    for source, data in files:
        for document in _documents(source, data, problems):
            kind, version = document.get("kind"), document.get("apiVersion")
            if kind is None and version is None and source.rpartition("/")[2] in _KUSTOMIZATIONS:
                continue
            if not isinstance(kind, str) or not isinstance(version, str):
                detail = "a document has no apiVersion or no kind"
                remedy = "write Kubernetes manifests with both"
                problems.append(
                    Problem("File", "", source, "kind", ProblemReason.UNKNOWN_KIND, detail, remedy, source)
                )
            elif version == "v1" and kind in {"ConfigMap", "Namespace"}:
                kept = config_maps if kind == "ConfigMap" else namespaces
                _keep_plain(source, kind, document, kept, problems)
                _note_binary(document, binary)
            # One of our kinds under another group is a slip of the pen, and not someone else's object.
            elif version.partition("/")[0] == API_GROUP or kind in KINDS:
                read = read_object(document, source)
                problems.extend(read.problems)
                if read.resource is not None:
                    _add(read.resource, found, problems)
    resources = Resources(
        issuers=tuple(each for each in found.values() if isinstance(each, ClusterTrustedIssuer)),
        services=tuple(each for each in found.values() if isinstance(each, ProtectedService)),
        workloads=tuple(each for each in found.values() if isinstance(each, TrustedWorkload)),
        desks=tuple(each for each in found.values() if isinstance(each, TokenDesk)),
        clients=tuple(each for each in found.values() if isinstance(each, DeskClient)),
        providers=tuple(each for each in found.values() if isinstance(each, AgentProvider)),
        config_maps=config_maps,
        namespaces={name: labels for (_, name), labels in namespaces.items()},
        binary_entries=binary,
    )
    return Manifests(resources, tuple(problems))


def objects_of(files: Iterable[tuple[str, bytes]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects of files as they are written, of every kind, each with its file; lists are taken apart.

    What cannot be read is passed over: `parse_manifests` says what that is.
    """
    for source, data in files:
        for document in _documents(source, data, []):
            yield source, document


def _unreadable(source: str, detail: str, remedy: str) -> Problem:
    return Problem("File", "", source, "", ProblemReason.UNREADABLE, detail, remedy, source)


def _documents(source: str, data: bytes, problems: list[Problem]) -> Iterator[dict[str, Any]]:
    documents = read_documents(data)
    if isinstance(documents, Unreadable):
        problems.append(_unreadable(source, documents.detail, documents.remedy))
        return
    for document in documents:
        if document is not None:
            yield from _expanded(source, document, problems)


def _expanded(source: str, document: object, problems: list[Problem]) -> Iterator[dict[str, Any]]:
    """The document itself, or what a list of several holds.

    To kubectl, whatever has `items` is a list, of which it applies the items and nothing else.
    """
    if not isinstance(document, dict):
        remedy = "write Kubernetes manifests with apiVersion and kind"
        problems.append(_unreadable(source, "a document is not an object", remedy))
    elif isinstance(document.get("items"), list):
        if document.get("kind") in KINDS:
            detail = f"a {document['kind']} has items: kubectl would apply them, and not the object"
            problems.append(_unreadable(source, detail, "remove items, or name a List"))
        of_list = {name: document.get(name) for name in ("apiVersion", "kind")}
        for item in document["items"]:
            yield from _expanded(source, _with_kind(item, of_list), problems)
    elif document.get("kind") == "List" or "items" in document:
        detail = "a List has no items" if "items" not in document else "the items of a list are no list"
        problems.append(_unreadable(source, detail, "give items, which may be empty"))
    else:
        yield document


def _with_kind(item: object, of_list: Mapping[str, object]) -> object:
    """An item of a list such as a TrustedWorkloadList, which need not say its kind again."""
    kind = str(of_list["kind"]).removesuffix("List")
    if not isinstance(item, dict) or item.get("kind") or item.get("apiVersion") or not kind:
        return item
    return {**item, "apiVersion": of_list["apiVersion"], "kind": kind}


def _keep_plain(
    source: str,
    kind: str,
    document: dict[str, Any],
    kept: dict[tuple[str, str], Texts],
    problems: list[Problem],
) -> None:
    """Keep a ConfigMap's entries or a Namespace's labels. What is not text is left out."""
    metadata = document.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    of_config_map = kind == "ConfigMap"
    name, namespace = quoted(metadata.get("name")), quoted(metadata.get("namespace")) if of_config_map else ""
    entries = document.get("data") if of_config_map else metadata.get("labels")

    def problem(field: str, reason: ProblemReason, detail: str, remedy: str) -> None:
        problems.append(Problem(kind, namespace, name, field, reason, detail, remedy, source))

    if (namespace, name) in kept:
        detail = "another object of this name was read already"
        problem("metadata.name", ProblemReason.DUPLICATE_OBJECT, detail, "keep one")
        return
    texts = kept[namespace, name] = {}
    for key, item in entries.items() if isinstance(entries, dict) else ():
        if isinstance(item, str):
            texts[key] = item
        else:
            field = f"{'data' if of_config_map else 'metadata.labels'}.{key[:MAX_QUOTED]}"
            problem(field, ProblemReason.INVALID_FIELD, "the value is not a string", "quote it")


def _note_binary(document: dict[str, Any], binary: dict[tuple[str, str], frozenset[str]]) -> None:
    """Note the names of entries that are there and are not read, so that no one is told to create them."""
    metadata, entries = document.get("metadata"), document.get("binaryData")
    if isinstance(entries, dict) and isinstance(metadata, dict):
        place = (quoted(metadata.get("namespace")), quoted(metadata.get("name")))
        binary[place] = frozenset(map(str, entries))


def _add(resource: Resource, found: dict[tuple[str, str, str], Resource], problems: list[Problem]) -> None:
    kind = type(resource).__name__
    namespace, name = resource.metadata.namespace, resource.metadata.name
    if (kind, namespace, name) in found:
        detail = f"an object of this name is in {found[kind, namespace, name].source} already"
        reason = ProblemReason.DUPLICATE_OBJECT
        problems.append(
            Problem(kind, namespace, name, "metadata.name", reason, detail, "keep one", resource.source)
        )
    else:
        found[kind, namespace, name] = resource
