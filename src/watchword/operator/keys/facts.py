# SPDX-License-Identifier: Apache-2.0
"""What is known of one issuer's keys, as one value that the rest of the operator reads.

Everything that a reconcile needs stands in it together, so that a bundle and a status can never be made from
two different moments.
"""

import msgspec

from watchword.trust.conditions import ConditionValue
from watchword.trust.heldkeys import HeldKey


class IssuerKeys(msgspec.Struct, frozen=True):
    """An issuer's keys at one moment.

    Attributes:
        jwks: the JWKS of what is trusted (Active and Retiring), for the compiler; None where nothing is, and
            for inline keys, which the compiler reads in the object.
        held: every key that is known, for status.
        fresh: the condition KeysFresh.
        settled: the condition RotationSettled.
        fetched_at: unix seconds of the last good answer of this process; None: there was none yet.
    """

    jwks: bytes | None
    held: tuple[HeldKey, ...]
    fresh: ConditionValue
    settled: ConditionValue
    fetched_at: float | None = None
