# SPDX-License-Identifier: Apache-2.0
"""What is wrong with a resource, as a value: which object, which field, what, and what would be right.

A problem never stops the rest: its object is left out and everything else stands. The reasons are an enum,
because conditions, Events and the reference page are made from the same list.
"""

from enum import StrEnum
from typing import Final

import msgspec

# Problems shown of one object: the first ones are enough to begin with.
_SHOWN: Final = 3


class ProblemReason(StrEnum):
    """Why an object, or a part of it, was left out; or, last, why it does not protect what it should."""

    UNREADABLE = "Unreadable"
    UNKNOWN_KIND = "UnknownKind"
    INVALID_FIELD = "InvalidField"
    DUPLICATE_OBJECT = "DuplicateObject"
    SERVICE_NOT_FOUND = "ServiceNotFound"
    ISSUER_NOT_FOUND = "IssuerNotFound"
    ISSUER_UNUSABLE = "IssuerUnusable"
    NAMESPACE_NOT_ALLOWED = "NamespaceNotAllowed"
    KEYS_UNAVAILABLE = "KeysUnavailable"
    BAD_KEY = "BadKey"
    NO_USABLE_KEY = "NoUsableKey"
    KEY_CONFLICT = "KeyConflict"
    SUBJECT_CONFLICT = "SubjectConflict"
    NAMESPACE_BUDGET_EXCEEDED = "NamespaceBudgetExceeded"
    SELECTORS_OVERLAP = "SelectorsOverlap"
    AUDIENCE_RESERVED = "AudienceReserved"
    AUDIENCE_SHARED = "AudienceShared"
    NO_AUDIENCE = "NoAudience"
    DESK_NOT_FOUND = "DeskNotFound"
    DESK_NOT_ALLOWED = "DeskNotAllowed"
    DESK_WITHOUT_AUDIENCE = "DeskWithoutAudience"
    WRONG_NAMESPACE = "WrongNamespace"
    ISSUER_TAKEN = "IssuerTaken"
    REPORT_ONLY_NOT_ALLOWED = "ReportOnlyNotAllowed"
    REPORT_ONLY_TOO_LONG = "ReportOnlyTooLong"


class Problem(msgspec.Struct, frozen=True):
    """One thing that is wrong.

    Attributes:
        kind: the object's kind, or `File`.
        namespace: its namespace; empty for cluster-scoped objects and files.
        name: its name, or the file's.
        field: the path of the field at fault, such as `spec.audiences[0]`; empty for the whole object.
        reason: why, as a stable code.
        detail: what is wrong.
        remedy: what would be right.
        source: the file that it came from; empty where there was none.
    """

    kind: str
    namespace: str
    name: str
    field: str
    reason: ProblemReason
    detail: str
    remedy: str
    source: str = ""

    def __str__(self) -> str:
        name = f"{self.namespace}/{self.name}" if self.namespace else self.name
        where = f"{self.source}: " if self.source and self.kind != "File" else ""
        field = f": {self.field}" if self.field else ""
        line = f"{where}{self.kind} {name}{field}: {self.detail} ({self.reason}). Remedy: {self.remedy}"
        # Names come from the writer of the file: one problem must stay one line, and no terminal's command.
        return "".join(
            character if character.isprintable() else character.encode("unicode_escape").decode()
            for character in line
        )


def listed(problems: tuple[Problem, ...]) -> str:
    """The first few problems as one text, and how many more there are; empty: there is none."""
    shown = [f"{each.field}: {each.detail}" if each.field else each.detail for each in problems[:_SHOWN]]
    more = f"and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
    return "; ".join([*shown, more] if more else shown)
