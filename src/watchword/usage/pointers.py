# SPDX-License-Identifier: Apache-2.0
"""JSON pointers (RFC 6901): read once, followed in Python on the parsed event.

A pointer is never turned into a query of the store: one that reached SQL text was CVE-2026-8462 elsewhere.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from watchword.usage.problems import shown

MAX_POINTER_CHARACTERS: Final = 256
MISSING: Final = object()
"""What `resolve` gives when there is nothing at that place; None is a JSON null that is there."""

_ARRAY_INDEX = re.compile(r"(?:0|[1-9][0-9]*)\Z")
_BAD_ESCAPE = re.compile(r"~(?![01])")


@lru_cache(maxsize=1024)
def parse_pointer(pointer: str) -> tuple[str, ...]:
    """Split a JSON pointer into its unescaped reference tokens (RFC 6901, sections 3 and 4).

    Raises ValueError when it is not a pointer, or longer than MAX_POINTER_CHARACTERS.
    """
    if len(pointer) > MAX_POINTER_CHARACTERS:
        raise ValueError(f"value must have at most {MAX_POINTER_CHARACTERS} characters")
    if pointer and not pointer.startswith("/"):
        raise ValueError(f"value must be empty or start with '/' (RFC 6901), not {shown(pointer)}")
    if _BAD_ESCAPE.search(pointer):
        raise ValueError(f"value must have '~' only as '~0' or '~1' (RFC 6901), not {shown(pointer)}")
    # The order matters: "~01" is the token "~1", not "/".
    return tuple(token.replace("~1", "/").replace("~0", "~") for token in pointer.split("/")[1:])


def resolve(tokens: tuple[str, ...], value: object) -> object:
    """Follow the tokens into a parsed JSON value; MISSING where they lead nowhere."""
    for token in tokens:
        if isinstance(value, dict):
            value = value.get(token, MISSING)
        elif isinstance(value, list) and _ARRAY_INDEX.match(token):
            index = int(token)
            value = value[index] if index < len(value) else MISSING
        else:
            return MISSING
    return value
