# SPDX-License-Identifier: Apache-2.0
"""What names an object of the Kubernetes API."""

from typing import NamedTuple


class NamespacedName(NamedTuple):
    """An object's namespace and name; the namespace of a cluster-scoped object is empty."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


class ObjectKey(NamedTuple):
    """An object's kind, namespace and name; the namespace of a cluster-scoped object is empty."""

    kind: str
    namespace: str
    name: str

    @property
    def namespaced(self) -> NamespacedName:
        """The same without the kind."""
        return NamespacedName(self.namespace, self.name)

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"
