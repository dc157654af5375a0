# SPDX-License-Identifier: Apache-2.0
"""Every Event that is no echo of a condition: the reason, on what, and what to do about it.

Besides these, a condition that turns False is told once as a Warning with the condition's own reason, and
one that turns True again as a Normal Event. Only changes are told, never a loop that changed nothing.
"""

from enum import Enum, unique
from typing import Literal, NamedTuple

from watchword.trust.conditions import DESK, ISSUER, SERVICE, WORKLOAD

EventType = Literal["Normal", "Warning"]


class _Facts(NamedTuple):
    kind: str
    type: EventType
    reason: str
    meaning: str
    remedy: str


@unique
class EventReason(Enum):
    """An Event's kind of object, type and reason, with its meaning and its remedy."""

    HAND_EDIT_UNDONE = _Facts(
        SERVICE,
        "Warning",
        "HandEditUndone",
        "An object that Watchword keeps was changed or deleted by someone else, and was put back.",
        "Edit the ProtectedService or its TrustedWorkloads instead.",
    )
    ACCOUNT_REPLACED = _Facts(
        WORKLOAD,
        "Warning",
        "ServiceAccountReplaced",
        "The ServiceAccount was deleted and made again: tokens of the old one are refused from now on.",
        "Restart pods that still hold such a token; if no one meant it, find out who did it.",
    )
    KEY_TRUSTED = _Facts(ISSUER, "Normal", "KeyTrusted", "A key is trusted from now on.", "")
    KEY_PENDING = _Facts(
        ISSUER,
        "Warning",
        "KeyPending",
        "A key is served that is not trusted.",
        "Compare it with the cluster, then run `watchword approve`.",
    )
    KEY_RETIRING = _Facts(
        ISSUER, "Normal", "KeyRetiring", "A trusted key is no longer served, and retires.", ""
    )
    KEY_RETIRED = _Facts(ISSUER, "Normal", "KeyRetired", "A key is no longer trusted: it has retired.", "")
    KEY_WITHDRAWN = _Facts(
        ISSUER, "Normal", "KeyWithdrawn", "A key that was never trusted is no longer served.", ""
    )
    KEY_DISTRUSTED = _Facts(
        ISSUER,
        "Warning",
        "KeyDistrusted",
        "A key that was trusted is refused from now on, by an edit of the object.",
        "Nothing, if that was meant; else approve it again.",
    )

    SIGNING_KEY_MADE = _Facts(
        DESK,
        "Normal",
        "SigningKeyMade",
        "A new signing key is in the bundles, and signs when its time comes.",
        "",
    )
    SIGNING_KEY_REVOKED = _Facts(
        DESK,
        "Warning",
        "SigningKeyRevoked",
        "A signing key was taken back: every token that it signed is refused from now on.",
        "Callers exchange their own tokens again; nothing is to be done, if that was meant.",
    )
    SIGNING_KEY_REMOVED = _Facts(
        DESK, "Normal", "SigningKeyRemoved", "A key was removed: no token by it can be alive any more.", ""
    )

    @property
    def kind(self) -> str:
        """The kind of the object that it is told of."""
        return self.value.kind

    @property
    def type(self) -> EventType:
        """Normal, or a Warning for which something is to be done."""
        return self.value.type

    @property
    def reason(self) -> str:
        """The stable code."""
        return self.value.reason

    @property
    def meaning(self) -> str:
        """What happened, in general."""
        return self.value.meaning

    @property
    def remedy(self) -> str:
        """What to do about it; empty where nothing is to be done."""
        return self.value.remedy
