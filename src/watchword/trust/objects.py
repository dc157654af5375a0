# SPDX-License-Identifier: Apache-2.0
"""One object as its writer or an API server gives it, to a typed resource or what is wrong with it, by name.

A folder of manifests and a cluster are read by the same rules: an object that a CRD of another release let
through is judged as strictly as a file that never met one.
"""

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any, Final

import msgspec

from watchword.trust.api.v1alpha1 import (
    API_VERSION,
    AgentProvider,
    AgentProviderSpec,
    ClusterTrustedIssuer,
    DeskClient,
    DeskClientSpec,
    DeskSpec,
    IssuerSpec,
    Metadata,
    ProtectedService,
    Resource,
    ServiceSpec,
    TokenDesk,
    TrustedWorkload,
    WorkloadSpec,
)
from watchword.trust.api.v1alpha1.rules import (
    findings_of_client,
    findings_of_client_name,
    findings_of_desk,
    findings_of_issuer,
    findings_of_nulls,
    findings_of_provider,
    findings_of_service,
    findings_of_workload,
)
from watchword.trust.api.v1alpha1.validation import Finding, explain
from watchword.trust.names import findings_of_names, findings_of_texts
from watchword.trust.problems import Problem, ProblemReason

MAX_QUOTED: Final = 253
KINDS: Final = (
    "ClusterTrustedIssuer",
    "ProtectedService",
    "TrustedWorkload",
    "TokenDesk",
    "DeskClient",
    "AgentProvider",
)
_MEMBERS: Final = {"apiVersion", "kind", "metadata", "spec", "status"}


class ReadObject(msgspec.Struct, frozen=True):
    """What one object is.

    Attributes:
        resource: the typed resource; None where there is a problem.
        problems: what is wrong with it; empty where there is a resource.
    """

    resource: Resource | None
    problems: tuple[Problem, ...]


def read_object(document: Mapping[str, Any], source: str = "") -> ReadObject:
    """Read one object of the API group. Never raises for a bad one.

    Args:
        document: the object, of built-in types.
        source: the file that it came from; empty where there was none.
    """
    problems: list[Problem] = []
    resource = _resource(source, document, problems)
    return ReadObject(None if problems else resource, tuple(problems))


def quoted(value: object) -> str:
    """The start of a text that someone else wrote; empty for what is no text."""
    return value[:MAX_QUOTED] if isinstance(value, str) else ""


def _resource(source: str, document: Mapping[str, Any], problems: list[Problem]) -> Resource | None:
    metadata = document.get("metadata")
    named = metadata if isinstance(metadata, dict) else {}
    kind, version = str(document.get("kind")), str(document.get("apiVersion"))
    namespace, name = quoted(named.get("namespace")), quoted(named.get("name"))

    def problem(
        field: str, detail: str, remedy: str, reason: ProblemReason = ProblemReason.INVALID_FIELD
    ) -> None:
        problems.append(Problem(kind[:63], namespace, name, field, reason, detail, remedy, source))

    if version != API_VERSION or kind not in KINDS:
        given = f"{version[:MAX_QUOTED]} {kind[:63]}"
        remedy = f"use {API_VERSION} and one of {', '.join(KINDS)}"
        problem("kind", f"{given} is not known", remedy, ProblemReason.UNKNOWN_KIND)
        return None
    for field in sorted(set(document) - _MEMBERS):
        problem(field[:MAX_QUOTED], "the field is unknown", "remove it, or put it under spec")
    if kind == "ClusterTrustedIssuer" and namespace:
        problem("metadata.namespace", "the kind is cluster-scoped", "remove metadata.namespace")
    if kind != "ClusterTrustedIssuer" and not namespace:
        problem("metadata.namespace", "the namespace is missing", "say which namespace the object is in")
    return _convert(kind, document, source, problem)


def _convert(kind: str, document: Mapping[str, Any], source: str, problem: Any) -> Resource | None:
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
        elif kind == "TokenDesk":
            desk = msgspec.convert(spec, DeskSpec)
            resource = TokenDesk(metadata=metadata, spec=desk, source=source)
            findings = findings_of_desk(desk)
        elif kind == "DeskClient":
            client = msgspec.convert(spec, DeskClientSpec)
            resource = DeskClient(metadata=metadata, spec=client, source=source)
            findings = chain(
                findings_of_client_name(metadata.name), findings_of_nulls(spec), findings_of_client(client)
            )
        elif kind == "AgentProvider":
            provider = msgspec.convert(spec, AgentProviderSpec)
            resource = AgentProvider(metadata=metadata, spec=provider, source=source)
            findings = findings_of_provider(provider)
        else:
            workload = msgspec.convert(spec, WorkloadSpec)
            resource = TrustedWorkload(metadata=metadata, spec=workload, source=source)
            findings = findings_of_workload(workload)
    except (msgspec.ValidationError, RecursionError) as error:
        problem(*explain(str(error), part))
        return None
    given = [*findings_of_names(kind, metadata.namespace, metadata.name), *findings]
    named = tuple({field for field, _, _ in given})
    # A rule that spoke about the field already says more than the general one.
    texts = findings_of_texts("spec", msgspec.to_builtins(resource.spec))
    for finding in chain(given, (each for each in texts if not each[0].startswith(named))):
        problem(*finding)
    return resource
