# SPDX-License-Identifier: Apache-2.0
"""The part of a pod that injection looks at, with types that hold: whatever else is there passes unread."""

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from watchword.injection import names

_POD_INDEX: Final = "apps.kubernetes.io/pod-index"
_OS_LABELS: Final = ("kubernetes.io/os", "beta.kubernetes.io/os")


class Port(msgspec.Struct, frozen=True, rename="camel"):
    """A port that a container declares."""

    container_port: int
    protocol: str = "TCP"
    name: str | None = None


class Named(msgspec.Struct, frozen=True, rename="camel"):
    """Something of which only the name matters."""

    name: str


class Mount(msgspec.Struct, frozen=True, rename="camel"):
    """Where a volume appears in a container."""

    name: str
    mount_path: str


class Amounts(msgspec.Struct, frozen=True, rename="camel"):
    """Requests and limits, of a container or of a whole pod."""

    requests: dict[str, Any] | None = None
    limits: dict[str, Any] | None = None


class HttpGet(msgspec.Struct, frozen=True, rename="camel"):
    """A probe by a request."""

    port: int | str
    path: str | None = None
    host: str | None = None
    scheme: str | None = None
    http_headers: tuple[Any, ...] | None = None


class TcpSocket(msgspec.Struct, frozen=True, rename="camel"):
    """A probe by a connection."""

    port: int | str
    host: str | None = None


class Grpc(msgspec.Struct, frozen=True, rename="camel"):
    """A probe by gRPC's health protocol."""

    port: int


class Probe(msgspec.Struct, frozen=True, rename="camel"):
    """What a kubelet does to know how a container is; its timing is not looked at."""

    http_get: HttpGet | None = None
    tcp_socket: TcpSocket | None = None
    grpc: Grpc | None = None


class Container(msgspec.Struct, frozen=True, rename="camel"):
    """A container."""

    name: str
    resources: Amounts | None = None
    startup_probe: Probe | None = None
    liveness_probe: Probe | None = None
    readiness_probe: Probe | None = None
    ports: tuple[Port, ...] | None = None
    volume_mounts: tuple[Mount, ...] | None = None
    env: tuple[Named, ...] | None = None


class Requirement(msgspec.Struct, frozen=True, rename="camel"):
    """One condition on a node's labels."""

    key: str
    operator: str
    values: tuple[str, ...] | None = None


class Term(msgspec.Struct, frozen=True, rename="camel"):
    """Conditions that a node must all meet."""

    match_expressions: tuple[Requirement, ...] | None = None


class NodeSelector(msgspec.Struct, frozen=True, rename="camel"):
    """Terms of which a node must meet one."""

    node_selector_terms: tuple[Term, ...] = ()


class NodeAffinity(msgspec.Struct, frozen=True, rename="camel"):
    """Which nodes a pod must be on."""

    required_during_scheduling_ignored_during_execution: NodeSelector | None = None


class Affinity(msgspec.Struct, frozen=True, rename="camel"):
    """Where a pod wants to be."""

    node_affinity: NodeAffinity | None = None


class Specification(msgspec.Struct, frozen=True, rename="camel"):
    """A pod's specification."""

    containers: tuple[Container, ...]
    init_containers: tuple[Container, ...] | None = None
    volumes: tuple[Named, ...] | None = None
    host_network: bool | None = None
    os: Named | None = None
    service_account_name: str | None = None
    node_selector: dict[str, str] | None = None
    affinity: Affinity | None = None
    resources: Amounts | None = None
    image_pull_secrets: tuple[Named, ...] | None = None


class Owner(msgspec.Struct, frozen=True, rename="camel"):
    """What the pod belongs to."""

    kind: str
    controller: bool | None = None


class Metadata(msgspec.Struct, frozen=True, rename="camel"):
    """A pod's metadata."""

    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    owner_references: tuple[Owner, ...] | None = None


class PodShape(msgspec.Struct, frozen=True, rename="camel"):
    """The part of a pod that injection looks at, with types that hold."""

    metadata: Metadata
    spec: Specification

    def containers(self) -> Iterator[tuple[str, Container]]:
        """Each container, with the path of its field."""
        for field, listed in (
            ("containers", self.spec.containers),
            ("initContainers", self.spec.init_containers),
        ):
            for place, container in enumerate(listed or ()):
                yield f"spec.{field}[{place}]", container

    def replicas_known(self) -> int | None:
        """How many pods there are at least, as far as one tells; None: it tells nothing.

        A DaemonSet has one on each node, and a StatefulSet numbers its pods (`apps.kubernetes.io/pod-index`).
        """
        kinds = {each.kind for each in self.metadata.owner_references or () if each.controller}
        if "DaemonSet" in kinds:
            return 2
        index = (self.metadata.labels or {}).get(_POD_INDEX, "")
        return int(index) + 1 if "StatefulSet" in kinds and index.isdecimal() and len(index) < 10 else None

    def field_of_other_os(self) -> str | None:
        """The field that says that the pod is not for Linux; None: none does.

        Without `spec.os` only the choice of nodes tells; each term of an affinity must exclude Linux.
        """
        if self.spec.os is not None:
            return None if self.spec.os.name == "linux" else "spec.os.name"
        for key in _OS_LABELS:
            if (self.spec.node_selector or {}).get(key, "linux") != "linux":
                return f"spec.nodeSelector[{key}]"
        affinity = self.spec.affinity and self.spec.affinity.node_affinity
        required = affinity and affinity.required_during_scheduling_ignored_during_execution
        terms = required.node_selector_terms if required else ()
        if terms and all(any(map(_excludes_linux, each.match_expressions or ())) for each in terms):
            return "spec.affinity.nodeAffinity"
        return None

    def has_gate(self) -> bool:
        """Whether a gate is among its sidecars."""
        return any(each.name == names.GATE_CONTAINER for each in self.spec.init_containers or ())

    def has_volume(self, name: str) -> bool:
        """Whether it has a volume of this name."""
        return any(each.name == name for each in self.spec.volumes or ())


def _excludes_linux(requirement: Requirement) -> bool:
    values = requirement.values or ()
    is_excluding = {"In": "linux" not in values, "NotIn": "linux" in values, "DoesNotExist": True}
    return requirement.key in _OS_LABELS and is_excluding.get(requirement.operator, False)
