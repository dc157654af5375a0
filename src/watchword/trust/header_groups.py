# SPDX-License-Identifier: Apache-2.0
"""What a group of request headers is that an app takes for the same thing."""

from typing import Literal

import msgspec

Action = Literal["passable", "never"]


class HeaderGroup(msgspec.Struct, frozen=True, kw_only=True):
    """Headers that an app takes for the same thing.

    Attributes:
        title: what they are, as a heading.
        why: what an app would do with one of them.
        action: whether `spec.proxy.passHeaders` may name one of them.
        names: folded names, that is lower case with hyphens; a last `*` stands for any rest, also none.
        twins_only: the header itself is handled by the framing of messages; only other spellings are dropped.
    """

    title: str
    why: str
    action: Action
    names: tuple[str, ...]
    twins_only: bool = False
