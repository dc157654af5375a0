# SPDX-License-Identifier: Apache-2.0
"""What a desk signs comes back to it in several kinds, and all of them are taken apart here, in one way.

A kind is the header's `typ`. The header is compared whole, so that none of them passes for another, and a
parameter that someone added makes it none of them.
"""

from watchword.desk.state import DeskState
from watchword.identity import Refusal
from watchword.identity.compact import parse_compact
from watchword.identity.signature import signature_holds
from watchword.trust.desk_tokens import DESK_ALGORITHM


def own_payload(token: str, kind: str, state: DeskState) -> bytes | None:
    """The payload that this desk signed as a token of a kind, unparsed; None: it signed no such token.

    Args:
        token: what the caller sent.
        kind: the `typ` that its header must have.
        state: what the desk runs.
    """
    unverified = parse_compact(token.encode("utf-8", "replace"))
    if isinstance(unverified, Refusal):
        return None
    kid = unverified.header.get("kid")
    key = state.own_keys.get(kid) if isinstance(kid, str) else None
    if key is None or unverified.header != {"alg": DESK_ALGORITHM, "typ": kind, "kid": kid}:
        return None
    return unverified.payload if signature_holds(key, unverified.signed, unverified.signature) else None
