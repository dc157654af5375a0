# SPDX-License-Identifier: Apache-2.0
"""What an API server sends for a list or a watch, taken apart into the few fields that are kept.

An object is decoded into the type that the caller gives: what that type does not name is skipped by the
decoder and never becomes a Python object. That is what lets a process follow 50,000 pods and stay small.
"""

from collections.abc import Mapping
from typing import Any, Final, Generic, Protocol, TypeVar

import msgspec

# What a Status of the server says of itself goes to logs and /readyz: bounded.
MAX_MESSAGE_CHARACTERS: Final = 400


class Part(msgspec.Struct, frozen=True, rename="camel", gc=False):
    """A part of an object, of which only the named fields are read."""


class ObjectMeta(Part, frozen=True, gc=False):
    """The least that names an object and its state.

    Attributes:
        name: its name.
        namespace: its namespace; empty when it has none.
        uid: changes when it is deleted and made again.
        resource_version: changes with each write; opaque.
    """

    name: str
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""


class FullMeta(ObjectMeta, frozen=True, gc=False):
    """Metadata with labels and annotations."""

    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None


class HasMeta(Protocol):
    """An object that has metadata: what any type to decode into must be."""

    @property
    def metadata(self) -> ObjectMeta:
        """Its metadata."""


class PartialObject(Part, frozen=True, gc=False):
    """An object of which only the metadata is known."""

    metadata: FullMeta


Decoded = TypeVar("Decoded", bound=HasMeta)


class ListMeta(Part, frozen=True, rename={"resource_version": "resourceVersion", "next_page": "continue"}):
    """Of a list: up to where it reaches, and the token of its next page; empty on the last."""

    resource_version: str = ""
    next_page: str = ""


class Page(msgspec.Struct, Generic[Decoded], frozen=True):
    """A page of a list."""

    metadata: ListMeta
    items: list[Decoded] | None = None


class Notice(msgspec.Struct, frozen=True):
    """A line of a watch.

    Attributes:
        type: ADDED, MODIFIED, DELETED, BOOKMARK or ERROR.
        object: the object, or a Status after ERROR.
    """

    type: str
    object: msgspec.Raw


class Bookmark(Part, frozen=True):
    """An object that only says up to where the watch has come."""

    class Meta(Part, frozen=True):
        """Its metadata, which has no name."""

        resource_version: str

    metadata: Meta


def version_number(version: str) -> int:
    """A resourceVersion as a number (KEP-5504: they can be compared); 0, before all others: it is none."""
    return int(version) if version.isascii() and version.isdigit() and len(version) < 19 else 0


def version_of(metadata: Mapping[str, Any]) -> int:
    """The resourceVersion in an object's metadata as a number; 0 where it is none."""
    return version_number(str(metadata.get("resourceVersion", "")))


class StatusDetails(Part, frozen=True):
    """Of a Status: how long to wait."""

    retry_after_seconds: int = 0


class Status(Part, frozen=True):
    """How the server refuses (Kubernetes docs: Status).

    Attributes:
        code: as HTTP's.
        reason: such as Forbidden or Expired.
        message: for people.
        details: more.
    """

    code: int = 0
    reason: str = ""
    message: str = ""
    details: StatusDetails | None = None


_status: Final = msgspec.json.Decoder(Status)


def read_status(body: bytes) -> Status:
    """The Status in a body; an empty one when it is none."""
    try:
        status = _status.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return Status()
    return msgspec.structs.replace(status, message=plain(status.message), reason=plain(status.reason))


def plain(text: str) -> str:
    """A text of the server as one bounded line without control characters."""
    shown = "".join(character if character.isprintable() else " " for character in text[:2000])
    return shown if len(shown) <= MAX_MESSAGE_CHARACTERS else shown[: MAX_MESSAGE_CHARACTERS - 1] + "…"


def page_decoder(kind: type[Any]) -> "msgspec.json.Decoder[Page[Any]]":
    """A decoder of list pages whose items are of this type."""
    return msgspec.json.Decoder(Page[kind])  # type: ignore[valid-type]  # a type that is known at run time
