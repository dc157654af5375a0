# SPDX-License-Identifier: Apache-2.0
"""What a watch tells: objects that are there, objects that are gone, and how it is doing itself."""

from typing import Generic, TypeVar

import msgspec

from watchword.kube.watch.problems import WatchProblem

Kept = TypeVar("Kept")


class Upserted(msgspec.Struct, Generic[Kept], frozen=True):
    """An object is there, new or changed, as far as what is kept of it goes."""

    object: Kept


class Removed(msgspec.Struct, Generic[Kept], frozen=True):
    """An object is gone. It is given as it was known last, also when it went while no watch was open."""

    object: Kept


class Synced(msgspec.Struct, frozen=True):
    """All objects that there were at one moment have been told: said after each list."""


class Troubled(msgspec.Struct, frozen=True):
    """Nothing can be received from the API server. What was told before still stands, as far as is known."""

    problem: WatchProblem


class Recovered(msgspec.Struct, frozen=True):
    """The watch stands again after trouble."""


Event = Upserted[Kept] | Removed[Kept] | Synced | Troubled | Recovered
