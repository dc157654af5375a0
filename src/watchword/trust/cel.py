# SPDX-License-Identifier: Apache-2.0
"""What the API server refuses on its own: the rules of `rules.py`, said in CEL, with what would be right.

A mistake that is refused as it is made costs a second; the same one found by the operator costs a condition
that somebody has to read. The bounds on lists and texts keep these rules within the API server's budget.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec


class Rule(msgspec.Struct, frozen=True):
    """One rule of admission (Kubernetes, "Validation rules").

    Attributes:
        place: what it is asked of: a type (`KeySource`), a field (`KeySource.inline`) or a list's items
            (`ServiceSpec.audiences[]`).
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

    def as_json(self) -> dict[str, Any]:
        """The rule as a CRD writes it."""
        rule = {"rule": self.expression, "message": f"{self.detail}: {self.remedy}"}
        return rule | ({"fieldPath": self.field} if self.field else {})


RULES: Final = (
    Rule(
        "KeySource",
        "[has(self.inline), has(self.configMap), has(self.discovery), has(self.cluster)]"
        ".filter(given, given).size() == 1",
        "not exactly one key source is given",
        "give exactly one of inline, configMap, discovery, cluster",
    ),
)
ROOT_RULES: Final[Mapping[str, tuple[Rule, ...]]] = {}


def rules_at(place: str) -> tuple[Rule, ...]:
    """The rules that are asked at one place."""
    return tuple(rule for rule in RULES if rule.place == place)
