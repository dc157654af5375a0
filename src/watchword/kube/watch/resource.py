# SPDX-License-Identifier: Apache-2.0
"""Which objects to follow, as the path and query of a request.

Selectors belong on the server: a client that may only read one ConfigMap by its name is refused without
the field selector, and one that selects at home reads a whole cluster to keep three objects of it.
"""

from typing import Final
from urllib.parse import quote, urlencode

import msgspec

_PARTIAL: Final = "application/json;as=PartialObjectMetadata{};g=meta.k8s.io;v=v1"


class Resource(msgspec.Struct, frozen=True, kw_only=True):
    """A kind of object, and which of them.

    Attributes:
        group: API group; empty for the core one.
        version: its version.
        plural: the resource's plural name, such as `configmaps`.
        namespace: only in it; None: in all.
        label_selector: only those with these labels, in Kubernetes' own syntax.
        field_selector: only those with these fields, such as `metadata.name=x`.
        metadata_only: have the server send metadata and nothing else (PartialObjectMetadata).
    """

    plural: str
    group: str = ""
    version: str = "v1"
    namespace: str | None = None
    label_selector: str | None = None
    field_selector: str | None = None
    metadata_only: bool = False

    @classmethod
    def one(cls, plural: str, namespace: str, name: str) -> "Resource":
        """One object of the core group by its name: all that a Role with `resourceNames` allows."""
        return cls(plural=plural, namespace=namespace, field_selector=f"metadata.name={name}")

    def __str__(self) -> str:
        """For people: `configmaps in tuist (metadata.name=x)`."""
        group = f".{self.group}" if self.group else ""
        place = f" in {self.namespace}" if self.namespace else ""
        chosen = ",".join(each for each in (self.label_selector, self.field_selector) if each)
        return f"{self.plural}{group}{place}" + (f" ({chosen})" if chosen else "")

    def path(self, **query: str) -> str:
        """The request target for this resource with further query parameters."""
        root = f"/apis/{quote(self.group, safe='')}" if self.group else "/api"
        place = f"/namespaces/{quote(self.namespace, safe='')}" if self.namespace else ""
        if self.label_selector:
            query["labelSelector"] = self.label_selector
        if self.field_selector:
            query["fieldSelector"] = self.field_selector
        path = f"{root}/{quote(self.version, safe='')}{place}/{quote(self.plural, safe='')}"
        return f"{path}?{urlencode(query)}" if query else path

    def accept(self, *, is_list: bool) -> str:
        """The Accept header of a list or a watch (Kubernetes docs: "API concepts", metadata-only fetches)."""
        plain = "application/json"
        return f"{_PARTIAL.format('List' if is_list else '')},{plain}" if self.metadata_only else plain
