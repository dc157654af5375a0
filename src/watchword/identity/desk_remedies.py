# SPDX-License-Identifier: Apache-2.0
"""Remedies for desk tokens, where those of a cluster's token would be false.

No kubelet renews a desk token and no file holds it: its caller exchanges the pod's own token again.
"""

from collections.abc import Callable
from typing import Final

import msgspec

from watchword.identity.attempt import Attempt
from watchword.identity.policy import Policy
from watchword.identity.reasons import Reason, Refusal

EXCHANGE_AGAIN: Final = "Exchange the pod's own token at the desk again."
REGISTER: Final = "Get a new token with the agent's own identity assertion, as /auth.md of the desk says."
_AS_ISSUED: Final = "Send the access token as the desk issued it, or the pod's own projected token."
_REMEDIES: Final = {
    Reason.UNSUPPORTED_ALGORITHM: _AS_ISSUED,
    Reason.UNSUPPORTED_HEADER: _AS_ISSUED,
    Reason.MISSING_KEY_ID: _AS_ISSUED,
    Reason.BAD_SIGNATURE: "Send the access token whole and unchanged, as the desk issued it. If it is: "
    "exchange the pod's own token at the desk again.",
    Reason.MALFORMED_CLAIMS: f"{EXCHANGE_AGAIN} If the new one is refused too, the platform's admins compare "
    "the releases of the desk and of the gate.",
    Reason.ISSUED_IN_FUTURE: "Set the clocks right: that of the node that the desk runs on, or that of the "
    "node that the gate runs on.",
    Reason.EXPIRED: f"{EXCHANGE_AGAIN} Do so shortly before each token ends, as `ExchangedToken` of the "
    "Python SDK does, since nothing renews it.",
    Reason.NOT_A_SERVICE_ACCOUNT: EXCHANGE_AGAIN,
}
# These are about the workload's own token, and a new one of that helps once it was exchanged.
_OF_ORIGIN: Final = frozenset({Reason.REVOKED, Reason.STALE_IDENTITY})

_Run = Callable[[Attempt, Policy], Refusal | None]


def for_desk(run: _Run) -> _Run:
    """The same check, whose refusals say what to do about a desk token."""

    def run_for_desk(attempt: Attempt, policy: Policy) -> Refusal | None:
        refusal = run(attempt, policy)
        return None if refusal is None else _told_of_desk(refusal, policy)

    return run_for_desk


def _told_of_desk(refusal: Refusal, policy: Policy) -> Refusal:
    if policy.desk is None:
        return refusal
    if refusal.reason is Reason.LIFETIME_TOO_LONG:
        hint = (
            f"The platform's admins set spec.tokens of the TokenDesk {policy.desk.name} to at most "
            f"{policy.max_lifetime_seconds} s, or the service's owner raises "
            f"spec.token.maxLifetimeSeconds of the ProtectedService {policy.service}."
        )
    elif refusal.reason is Reason.NOT_BOUND:
        hint = (
            "Exchange the projected token of a pod at the desk. To accept tokens of no pod, the service's "
            f"owner sets spec.token.binding: Any of the ProtectedService {policy.service}."
        )
    elif refusal.reason in _OF_ORIGIN:
        hint = f"{refusal.remedy} Afterwards, {EXCHANGE_AGAIN[0].lower()}{EXCHANGE_AGAIN[1:]}"
    else:
        hint = _REMEDIES.get(refusal.reason, refusal.hint)
    detail = refusal.detail
    if refusal.reason in (Reason.NOT_BOUND, Reason.REVOKED):
        for said in ("The token ", "This one token "):
            if detail.startswith(said):
                detail = f"The exchanged token {detail.removeprefix(said)}"
    return msgspec.structs.replace(refusal, detail=detail, hint=hint)
