# SPDX-License-Identifier: Apache-2.0
"""Objects as an API server gives them: a manifest with a UID, a resourceVersion and a generation."""

import itertools
from typing import Any

from watchword.operator.cache import Cache, Effects, Entry, received_from

Object = dict[str, Any]
_versions = itertools.count(100)


def stored(
    manifest: Object, *, uid: str = "", version: int | None = None, generation: int = 1, status: Any = None
) -> Object:
    """The manifest as stored; the version is newer than every one before unless said."""
    metadata = {
        **manifest["metadata"],
        "uid": uid or f"uid-{manifest['metadata']['name']}",
        "resourceVersion": str(next(_versions) if version is None else version),
        "generation": generation,
    }
    return {**manifest, "metadata": metadata} | ({} if status is None else {"status": status})


def take_document(store: Cache, document: Object) -> Effects:
    """Have a store take an object as an API server gives it."""
    return store.take_received(document["kind"], received_from(document))


def take(store: Cache, manifest: Object, **stamp: Any) -> Effects:
    """Have a store take the manifest as stored."""
    return take_document(store, stored(manifest, **stamp))


def remove(store: Cache, manifest: Object, uid: str = "") -> Effects:
    """Have a store take it that the object is gone."""
    metadata = manifest["metadata"]
    name = metadata["name"]
    return store.remove(manifest["kind"], metadata.get("namespace", ""), name, uid or f"uid-{name}")


def entry_of(store: Cache, manifest: Object) -> Entry:
    """What a store holds of an object; it must be there."""
    metadata = manifest["metadata"]
    entry = store.entry(manifest["kind"], metadata.get("namespace", ""), metadata["name"])
    assert entry is not None
    return entry
