# SPDX-License-Identifier: Apache-2.0
"""The desk's "no" as a value, and as the JSON that its callers read.

What a caller is told is its own: what it sent, and what it proved. Which rule of a service came nearest is
the owner's to know, and goes to the audit log.
"""

import re
from typing import Final

import msgspec

from watchword.desk.agents.reasons import AgentReason
from watchword.desk.reasons import DeskReason
from watchword.identity import Reason, Refusal

# RFC 6749, section 5.2: what error_description may hold. The rest becomes an apostrophe or a question mark.
_NOT_ALLOWED: Final = re.compile(r"[^\x20-\x21\x23-\x5b\x5d-\x7e]")
_MAX_DESCRIPTION: Final = 400
# How long to wait for a desk that lacks its configuration or its store, in seconds.
RETRY_SECONDS: Final = 2


class DeskRefusal(msgspec.Struct, frozen=True, kw_only=True):
    """The answer "no".

    Attributes:
        code: the stable code.
        status: the HTTP status.
        error: the RFC's `error`.
        detail: one sentence for the caller; quotes claims only after a signature held.
        remedy: what helps.
        internal: what the audit log knows beyond that; never sent.
        subject: who was refused, once signed bytes proved it; empty before.
        retry_after: seconds to wait; 0: the answer says nothing of it.
        max_age: how long ago the person may have signed in, in seconds; 0: that was not the matter.
    """

    code: str
    status: int
    error: str
    detail: str
    remedy: str
    internal: str = ""
    subject: str = ""
    retry_after: int = 0
    max_age: int = 0


def refuse(
    reason: DeskReason | AgentReason,
    detail: str = "",
    *,
    error: str = "",
    remedy: str = "",
    internal: str = "",
    subject: str = "",
    retry_after: int = 0,
    max_age: int = 0,
) -> DeskRefusal:
    """The refusal for a reason, with what is special about this case.

    Args:
        reason: the stable code with its status and its `error`.
        detail: one sentence about this request; empty: the reason's own summary.
        error: the `error` where it depends on the form of the request.
        remedy: what helps in this case; empty: the reason's own.
        internal: for the audit log only.
        subject: who was refused, once proven.
        retry_after: seconds to wait.
        max_age: how long ago the person may have signed in, in seconds.
    """
    return DeskRefusal(
        code=reason.code,
        status=reason.status,
        error=error or reason.error,
        detail=detail or reason.summary,
        remedy=remedy or reason.remedy,
        internal=internal,
        subject=subject,
        retry_after=retry_after,
        max_age=max_age,
    )


def not_ready(*, internal: str = "", subject: str = "") -> DeskRefusal:
    """The refusal of a desk that has not read, or cannot read, what it is to decide by."""
    return refuse(DeskReason.NOT_READY, internal=internal, subject=subject, retry_after=RETRY_SECONDS)


def refuse_subject_token(refusal: Refusal, subject: str = "") -> DeskRefusal:
    """The refusal for a subject token that the checks refused.

    RFC 8693, section 2.2.2: a token that is invalid, or refused by policy, is `invalid_request` with 400,
    whatever status a gate would have answered with. Only a desk without bundles is 503.
    """
    if refusal.reason is Reason.NOT_READY:
        return refuse(DeskReason.NOT_READY, retry_after=1)
    return DeskRefusal(
        code=refusal.reason.code,
        status=400,
        error="invalid_request",
        detail=refusal.sentence(),
        remedy=refusal.remedy,
        subject=subject,
    )


def body_of(refusal: DeskRefusal, request_id: str, *, with_message: bool = False) -> bytes:
    """The JSON of a refusal: the RFC's members, and `reason`, `remedy` and `request_id`.

    Args:
        refusal: why not.
        request_id: names the request in the audit log.
        with_message: say the description as `message` as well, as `auth.md` has it.
    """
    said = description(refusal.detail)
    return msgspec.json.encode(
        {
            "error": refusal.error,
            "error_description": said,
            **({"message": said} if with_message else {}),
            "reason": refusal.code,
            "remedy": refusal.remedy,
            "request_id": request_id,
            **({"max_age": refusal.max_age} if refusal.max_age else {}),
        }
    )


def event_body_of(refusal: DeskRefusal, request_id: str) -> bytes:
    """The JSON of a refusal of a security event (RFC 8935, section 2.4), with our members next to it."""
    return msgspec.json.encode(
        {
            "err": refusal.error,
            "description": description(refusal.detail),
            "reason": refusal.code,
            "remedy": refusal.remedy,
            "request_id": request_id,
        }
    )


def description(text: str) -> str:
    """A text in the characters that `error_description` may have (RFC 6749, section 5.2), bounded."""
    plain = _NOT_ALLOWED.sub("?", text.replace('"', "'"))
    return plain if len(plain) <= _MAX_DESCRIPTION else plain[: _MAX_DESCRIPTION - 3] + "..."
