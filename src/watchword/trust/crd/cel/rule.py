# SPDX-License-Identifier: Apache-2.0
"""One rule of admission as a value, and the CEL that several rules are made of.

Texts are quoted raw: a pattern that is escaped twice is one that no one reads, and so no one notices when it
is wrong.
"""

from typing import Any, Final

import msgspec


class Rule(msgspec.Struct, frozen=True):
    """One rule of admission (Kubernetes, "Validation rules").

    Attributes:
        place: what it is asked of: a kind (`ProtectedService`), a type (`KeySource`), a field
            (`KeySource.inline`) or a list's items (`ServiceSpec.audiences[]`).
        expression: in CEL; it must be true.
        detail: what is wrong when it is not.
        remedy: what would be right.
        field: the field that the answer names, relative to the place, such as `.burst`; empty: the place.
    """

    place: str
    expression: str
    detail: str
    remedy: str
    field: str = ""

    @property
    def message(self) -> str:
        """What the API server answers."""
        return f"{self.detail}: {self.remedy}"

    def as_json(self) -> dict[str, Any]:
        """The rule as a CRD writes it."""
        rule = {"rule": self.expression, "message": self.message}
        return rule | ({"fieldPath": self.field} if self.field else {})


def is_whole(pattern: str, text: str = "self") -> str:
    """CEL for "the whole text has this form"."""
    return f"{text}.matches({quoted(f'^(?:{pattern})$')})"


def lacks(pattern: str) -> str:
    """CEL for "nothing in the text has this form"."""
    return f"!self.matches({quoted(pattern)})"


def quoted(text: str) -> str:
    """A text as a raw CEL literal. Raises ValueError for one with both kinds of quotes, or a line break."""
    for quote in ("'", '"'):
        if quote not in text and "\n" not in text:
            return f"r{quote}{text}{quote}"
    raise ValueError(f"no raw literal can hold {text!r}")


# C0, C1 and the line ends of Unicode: what could end a line of a log, or a header.
_CONTROL: Final = r"[\x00-\x1f\x7f-\x9f\x{2028}\x{2029}]"


def plain(place: str) -> Rule:
    """The rule that a text holds no control character."""
    detail = "it holds a control character, such as a line break"
    return Rule(place, lacks(_CONTROL), detail, "write it on one line, plainly")


def named(place: str, pattern: str, what: str, remedy: str) -> Rule:
    """The rule that a text is a name of some kind."""
    return Rule(place, is_whole(pattern), f"not the name of {what}", remedy)
