# SPDX-License-Identifier: Apache-2.0
"""What a type says about a value that does not fit it, in the words of who wrote the value.

msgspec names `$.audiences[0]`, and a missing or unknown member only in its prose. Without this, a manifest
and a bundle would each explain the same mistake in their own way, or not name the field at all.
"""

import re
from typing import Final

_ERROR_PATH: Final = re.compile(r"^(?P<text>.*?)(?: - at `(?P<key>key in )?(?P<path>[^`]*)`)?$", re.DOTALL)
_UNKNOWN_FIELD: Final = re.compile(r"^Object contains unknown field `(?P<name>.*)`$", re.DOTALL)
_MISSING_FIELD: Final = re.compile(r"^Object missing required field `(?P<name>.*)`$", re.DOTALL)
# The writer's own text comes back in the answer, but never a page of it.
_QUOTED_CHARACTERS: Final = 253

Finding = tuple[str, str, str]


def explain(message: str, part: str = "") -> Finding:
    """The field at fault, what is wrong with it and what would be right.

    Args:
        message: the text of a `msgspec.ValidationError`.
        part: the path of what was validated, such as `spec`; empty for a whole document.
    """
    found = _ERROR_PATH.match(message)
    text, path = (found["text"], found["path"] or "$") if found else (message, "$")
    field = (part + path[1:]).removeprefix(".")
    if unknown := _UNKNOWN_FIELD.match(text):
        place = _member(field, unknown["name"])
        return place, "the field is unknown", "check its spelling and its place"
    if missing := _MISSING_FIELD.match(text):
        place = _member(field, missing["name"])
        return place, "the field is required and missing", f"set {place}"
    detail = text[:1].lower() + text[1:_QUOTED_CHARACTERS]
    return field, detail, f"see the reference of {field}" if field else "see the reference"


def _member(field: str, name: str) -> str:
    short = name[:_QUOTED_CHARACTERS]
    return f"{field}.{short}" if field else short
