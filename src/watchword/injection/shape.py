# SPDX-License-Identifier: Apache-2.0
"""The part of a pod that injection looks at, with types that hold: whatever else is there passes unread."""

from collections.abc import Iterator

import msgspec

from watchword.injection import names


class Port(msgspec.Struct, frozen=True, rename="camel"):
    """A port that a container declares."""

    container_port: int
    protocol: str = "TCP"


class Named(msgspec.Struct, frozen=True, rename="camel"):
    """Something of which only the name matters."""

    name: str


class Mount(msgspec.Struct, frozen=True, rename="camel"):
    """Where a volume appears in a container."""

    name: str
    mount_path: str


class Container(msgspec.Struct, frozen=True, rename="camel"):
    """A container."""

    name: str
    ports: tuple[Port, ...] | None = None
    volume_mounts: tuple[Mount, ...] | None = None
    env: tuple[Named, ...] | None = None


class Specification(msgspec.Struct, frozen=True, rename="camel"):
    """A pod's specification."""

    containers: tuple[Container, ...]
    init_containers: tuple[Container, ...] | None = None
    volumes: tuple[Named, ...] | None = None
    host_network: bool | None = None
    os: Named | None = None
    service_account_name: str | None = None


class Metadata(msgspec.Struct, frozen=True, rename="camel"):
    """A pod's metadata."""

    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None


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

    def has_gate(self) -> bool:
        """Whether a gate is among its sidecars."""
        return any(each.name == names.GATE_CONTAINER for each in self.spec.init_containers or ())

    def has_volume(self, name: str) -> bool:
        """Whether it has a volume of this name."""
        return any(each.name == name for each in self.spec.volumes or ())
