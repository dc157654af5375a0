# SPDX-License-Identifier: Apache-2.0
"""One token on its way through the table, with what each check has proven of it."""

from watchword.identity.claims import VerifiedClaims
from watchword.identity.compact import UnverifiedToken
from watchword.identity.desk_claims import DeskClaims
from watchword.identity.policy import PinnedKey, Workload
from watchword.identity.subject import Subject


class Attempt:
    """One token on its way through the checks. Each attribute is set by the check that proves it.

    Of a desk token, `claims` are its own until check 10, and those of its origin from check 11 on: what is
    asked of a workload's token is asked of the token that it was issued for.
    """

    __slots__ = ("candidates", "claims", "desk", "now", "pinned", "subject", "token", "workload")

    def __init__(self, token: UnverifiedToken, now: float) -> None:
        self.token = token
        self.now = now
        # Those of the kid; from check 6 on, those of the one key that signed.
        self.candidates: tuple[PinnedKey, ...]
        self.pinned: PinnedKey
        self.claims: VerifiedClaims
        # What a desk token says; None for a cluster's.
        self.desk: DeskClaims | None = None
        self.subject: Subject
        self.workload: Workload
