# SPDX-License-Identifier: Apache-2.0
"""One difference between two states of trust, as `watchword diff` shows it."""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from watchword.identity import Key, load_key_objects

Kind = Literal["gains", "loses", "changes"]


class Change(msgspec.Struct, frozen=True):
    """One thing that would change.

    Attributes:
        kind: whether someone gains access, loses it, or something else changes.
        where: the service, as `namespace/name`, or the kind and the name of another object.
        who: the workload, as `ServiceAccount namespace/name of issuer`, or `agents of the TokenDesk`, or
            `anyone, without a token`; empty where it is no one's access.
        what: in words.
    """

    kind: Kind
    where: str
    who: str
    what: str


def written_keys(jwks: Mapping[str, Any] | None) -> tuple[Key, ...]:
    """The keys that an object itself holds and that can be used; None: it holds none."""
    return () if jwks is None else load_key_objects(jwks.get("keys")).keys


def key_name(key: Key) -> str:
    """What a key is called in what is shown."""
    return f"{key.thumbprint} (kid {key.kid})"
