# SPDX-License-Identifier: Apache-2.0
"""What the usage endpoints answer when it is no usage: each with what was found and what would be right.

A 503 and a 429 say when to come again. Both promise that nothing of the request was kept without a word:
events are known by source and id, so that sending the same ones again is always safe.
"""

import hashlib
from collections.abc import Mapping
from typing import Final

from watchword.gate.answers import Answer, bytes_answer, problem
from watchword.gate.engine import RequestHeaders
from watchword.gate.fairline import LineIsFull
from watchword.gate.logs import LOGGER
from watchword.usage import (
    MAX_BODY_BYTES,
    EventProblem,
    MetersChanged,
    Outcome,
    QueryProblem,
    StoreError,
    StoreUnavailable,
    encode,
)

RETRY_SECONDS: Final = 2


def not_found() -> Answer:
    """There is nothing here."""
    return problem(404, "There is nothing at this path.", "Check the path and the method.")


def account_not_found() -> Answer:
    """The account was never heard of."""
    detail = "No usage event was ever stored for this account."
    return problem(404, "The account is not known.", detail, reason="account_not_found")


def body_too_large() -> Answer:
    """The answer to a body that goes on beyond the limit."""
    detail = f"The body has more than {MAX_BODY_BYTES} bytes."
    return problem(
        413, "The body is too large.", detail, reason="body_too_large", remedy="Send smaller batches."
    )


def query_problem(found: QueryProblem) -> Answer:
    """The query has no answer."""
    return problem(
        400,
        "The query is not right.",
        found.detail,
        reason=found.code,
        parameter=found.parameter,
        remedy=found.remedy,
    )


def line_is_full(full: LineIsFull) -> Answer:
    """More requests wait than may: the caller's own (429), or everybody's (503)."""
    headers = [(b"retry-after", str(RETRY_SECONDS).encode())]
    if full.is_own:
        return problem(
            429,
            "Too many requests of yours are waiting.",
            "Nothing of this one was stored.",
            headers,
            reason="usage_too_many_waiting",
            remedy="Send fewer requests at once; send this one again later.",
        )
    return problem(
        503,
        "Too many requests are waiting.",
        "Nothing of this one was stored.",
        headers,
        reason="usage_busy",
        remedy="Send the same again later.",
    )


def unavailable(error: StoreError) -> Answer:
    """The store did not do it: 503 when the same may succeed later, else 500."""
    status = 503 if isinstance(error, StoreUnavailable | MetersChanged) else 500
    headers = [(b"retry-after", str(RETRY_SECONDS).encode())] if status == 503 else []
    LOGGER.error("the usage store failed", extra={"detail": error.detail, "remedy": error.remedy})
    return problem(
        status,
        "Usage is not available now.",
        "The usage store did not answer. Sending the same again is safe.",
        headers,
        reason="usage_unavailable",
    )


def usage_answer(document: Mapping[str, object], headers: RequestHeaders) -> Answer:
    """An answer of the read model, or 304 when the caller has it already (RFC 9110, section 13.1.2).

    Nobody may serve it from a cache without asking: whether the caller may see it is decided each time.
    """
    body = encode(document)
    tag = b'"%b"' % hashlib.blake2b(body, digest_size=16).hexdigest().encode()
    asked = [value for name, value in headers if name.lower() == b"if-none-match"]
    fields = [(b"etag", tag), (b"vary", b"authorization")]
    known = {each.strip().removeprefix(b"W/") for value in asked for each in value.split(b",")}
    if tag in known or b"*" in known:
        return _private(Answer(304, fields))
    return _private(bytes_answer(200, body, fields))


def _private(answer: Answer) -> Answer:
    fields = [(name, value) for name, value in answer.headers if name != b"cache-control"]
    return Answer(answer.status, [*fields, (b"cache-control", b"private, no-cache")], answer.body)


def refused(found: EventProblem) -> dict[str, object]:
    """What became of an event that was not stored."""
    return {
        "index": found.index,
        "outcome": "refused",
        "code": found.code,
        "field": found.field,
        "detail": found.detail,
        "remedy": found.remedy,
    }


def result(outcome: Outcome, *, is_late: bool) -> dict[str, object]:
    """What became of an event. `is_late`: it counts for a month that was over when it came."""
    if outcome.status == "refused" and outcome.problem is not None:
        return refused(outcome.problem)
    if outcome.status == "duplicate" and "subject" in outcome.differs:
        # Somebody else's event took this key: calling it a duplicate would drop this one without a word.
        detail = "An event with this source and id was stored for another account."
        remedy = "Make ids unique for each source, whatever the account."
        return refused(EventProblem(outcome.index, "id_conflict", "id", detail, remedy))
    answer: dict[str, object] = {"index": outcome.index, "outcome": outcome.status}
    if outcome.differs:
        answer["differs"] = list(outcome.differs)
    if is_late and outcome.status == "stored":
        answer["late"] = True
    return answer
