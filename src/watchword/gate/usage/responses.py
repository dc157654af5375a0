# SPDX-License-Identifier: Apache-2.0
"""What the usage endpoints answer when it is no usage: each with what was found and what would be right.

A 503 and a 429 say when to come again. Both promise that nothing of the request was kept without a word:
events are known by account, source and id, so that sending the same ones again is always safe.
"""

import hashlib
from collections.abc import Mapping
from typing import Final

from watchword.gate.engine import RequestHeaders
from watchword.gate.logs import LOGGER
from watchword.gate.responses import Answer, Headers, bytes_answer, problem
from watchword.gate.usage.fair_queue import QueueFullError
from watchword.gate.usage.negotiation import CSV
from watchword.usage import (
    MAX_BODY_BYTES,
    EventProblem,
    MetersChangedError,
    Outcome,
    QueryProblem,
    StoreError,
    StoreUnavailableError,
    encode,
)

RETRY_SECONDS: Final = 2


def account_not_in_path(base_path: str) -> Answer:
    """404: the account's name holds what a path cannot hold without two readings; a parameter can."""
    remedy = f"GET {base_path}/usage?account=NAME, with the name percent-encoded once."
    detail = (
        "The account's name holds a character that parsers of paths differ on: / \\ % ; ? # or a dot segment."
    )
    return problem(
        404, "This account is not read by its path.", detail, reason="account_not_in_path", remedy=remedy
    )


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


def queue_is_full(full: QueueFullError) -> Answer:
    """More requests wait than may: the caller's own (429), or everyone's (503)."""
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
    status = 503 if isinstance(error, StoreUnavailableError | MetersChangedError) else 500
    headers = [(b"retry-after", str(RETRY_SECONDS).encode())] if status == 503 else []
    LOGGER.error("the usage store failed", extra={"detail": error.detail, "remedy": error.remedy})
    return problem(
        status,
        "Usage is not available now.",
        "The usage store did not answer. Sending the same again is safe.",
        headers,
        reason="usage_unavailable",
    )


def usage_answer(
    document: Mapping[str, object] | bytes, headers: RequestHeaders, more: Headers | None = None
) -> Answer:
    """An answer of the read model, or 304 when the caller has it already (RFC 9110, section 13.1.2).

    No one may serve it from a cache without asking: whether the caller may see it is decided each time.
    `document` is CSV where it is bytes; `more` are further fields of the answer.
    """
    body, kind = (document, CSV) if isinstance(document, bytes) else (encode(document), b"application/json")
    tag = b'"%b"' % hashlib.blake2b(body, digest_size=16).hexdigest().encode()
    given = [value for name, value in headers if name.lower() == b"if-none-match"]
    fields = [(b"etag", tag), (b"vary", b"accept, authorization"), *(more or [])]
    known = {each.strip().removeprefix(b"W/") for value in given for each in value.split(b",")}
    if tag in known or b"*" in known:
        return _private(Answer(304, fields))
    return _private(bytes_answer(200, body, fields, kind))


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
    answer: dict[str, object] = {"index": outcome.index, "outcome": outcome.status}
    if outcome.differs:
        answer["differs"] = list(outcome.differs)
    if is_late and outcome.status == "stored":
        answer["late"] = True
    return answer
