# SPDX-License-Identifier: Apache-2.0
"""One difference between two states of trust, as `watchword diff` shows it."""

from typing import Literal

import msgspec

Kind = Literal["gains", "loses", "changes"]


class Change(msgspec.Struct, frozen=True):
    """One thing that would change.

    Attributes:
        kind: whether someone gains access, loses it, or something else changes.
        where: the service, as `namespace/name`, or the kind and the name of another object.
        who: the workload, as `ServiceAccount namespace/name of issuer`; empty where it is no one's access.
        what: in words.
    """

    kind: Kind
    where: str
    who: str
    what: str
