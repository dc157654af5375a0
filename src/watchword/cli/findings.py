# SPDX-License-Identifier: Apache-2.0
"""What the parts of `watchword doctor` say: one form, so that all of it is printed and counted alike."""

from typing import Any, NamedTuple

Object = dict[str, Any]


class Finding(NamedTuple):
    """One thing that is not well.

    Attributes:
        where: the object or the address.
        what: what is wrong, with its remedy.
        is_serious: whether it makes the answer a no; else it is worth knowing.
    """

    where: str
    what: str
    is_serious: bool = True


def where_of(document: Object) -> str:
    """The kind and the place of an object, as findings name it."""
    metadata = document["metadata"]
    namespace = f"{metadata['namespace']}/" if metadata.get("namespace") else ""
    return f"{document['kind']} {namespace}{metadata['name']}"
