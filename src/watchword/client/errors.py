# SPDX-License-Identifier: Apache-2.0
"""Everything that the caller SDK raises, as one tree, each with what to do about it.

    WatchwordError
    ├── TokenUnavailable            nothing was sent: this pod has no usable token
    │   ├── TokenFileMissing
    │   ├── TokenFileUnreadable
    │   ├── TokenFileEmpty
    │   ├── TokenFileTooLarge
    │   └── TokenFileMalformed
    ├── OriginNotAllowed            nothing was sent: the token is for another service
    ├── ExchangeFailed              nothing was sent to the service: there is no desk token
    │   ├── DeskRefused             the desk says no, with its reason and remedy
    │   └── DeskUnreachable         the desk does not answer, or not as a desk
    └── WatchwordRefused            the gate answered no (also an httpx.HTTPStatusError)

No exception ever holds a token: exceptions end in logs, error trackers and task queues.
"""

from functools import partial
from pathlib import Path
from typing import Any

import httpx


class WatchwordError(Exception):
    """Base class of all that this package raises, wrong arguments (ValueError, TypeError) excepted."""


class TokenUnavailable(WatchwordError):  # noqa: N818  callers know it by this name
    """There is no token to send, so nothing was sent.

    Attributes:
        path: the file in question.
        problem: one sentence: what is wrong with it.
        remedy: what to change.
    """

    def __init__(self, path: Path, problem: str, remedy: str) -> None:
        super().__init__(path, problem, remedy)
        self.path = path
        self.problem = problem
        self.remedy = remedy

    def __str__(self) -> str:
        """The problem and the remedy."""
        return f"{self.problem} {self.remedy}"


class TokenFileMissing(TokenUnavailable):
    """No such file: the volume is not mounted, or the pod was not injected."""


class TokenFileUnreadable(TokenUnavailable):
    """The file cannot be read: its permissions forbid it, or it is no regular file."""


class TokenFileEmpty(TokenUnavailable):
    """The file holds nothing, or white space only."""


class TokenFileTooLarge(TokenUnavailable):
    """The file is longer than any token that a gate accepts (8 KiB)."""


class TokenFileMalformed(TokenUnavailable):
    """The file holds something other than one token."""


class OriginNotAllowed(WatchwordError):  # noqa: N818  callers know it by this name
    """The request goes to an origin that this token is not for, so nothing was sent.

    Attributes:
        origin: where the request would have gone, as scheme://host:port.
        allowed: where the token may go.
    """

    def __init__(self, origin: str, allowed: tuple[str, ...]) -> None:
        super().__init__(origin, allowed)
        self.origin = origin
        self.allowed = allowed

    def __str__(self) -> str:
        """The origin, those that are allowed, and the two ways out."""
        return (
            f"The token is for {', '.join(self.allowed)} and was not sent to {self.origin}. "
            "For another service, use another client; if it is the same one, name all its origins: "
            "WatchwordAuth(origins=[...])."
        )


class ExchangeFailed(WatchwordError):  # noqa: N818  callers know it by this name
    """A desk issued no token, so nothing was sent to the service."""


class DeskRefused(ExchangeFailed):
    """The desk said no.

    Attributes:
        error: the RFC's code, such as "invalid_target" (RFC 6749, section 5.2; RFC 8693, section 2.2.2).
        reason: the desk's own stable code, such as "target_unavailable"; empty if the answer has none.
        detail: what was wrong, for a person.
        remedy: what helps.
        request_id: what the desk's operators find this request by.
        status: the HTTP status.
        retry_after_seconds: how long to wait, where the desk says so; else None.
    """

    def __init__(
        self,
        error: str,
        *,
        reason: str = "",
        detail: str = "",
        remedy: str = "",
        request_id: str = "",
        status: int = 0,
        retry_after_seconds: int | None = None,
    ) -> None:
        super().__init__(error, reason, detail, remedy, request_id, status, retry_after_seconds)
        self.error, self.reason, self.detail, self.remedy = error, reason, detail, remedy
        self.request_id, self.status, self.retry_after_seconds = request_id, status, retry_after_seconds

    def __str__(self) -> str:
        """The code, the sentence, the remedy and the request's id."""
        code = f"{self.error}/{self.reason}" if self.reason else self.error
        parts = [f"The desk refused ({self.status} {code}): {self.detail}", self.remedy]
        if self.request_id:
            parts.append(f"[request {self.request_id}]")
        return " ".join(part for part in parts if part)

    def __reduce__(self) -> tuple[Any, ...]:
        """Keep it fit for process pools and task queues."""
        again = partial(
            type(self),
            self.error,
            reason=self.reason,
            detail=self.detail,
            remedy=self.remedy,
            request_id=self.request_id,
            status=self.status,
            retry_after_seconds=self.retry_after_seconds,
        )
        return again, ()


class DeskUnreachable(ExchangeFailed):
    """The desk does not answer, or what answers is no desk.

    Attributes:
        desk: its URL.
        problem: one sentence: what happened.
    """

    def __init__(self, desk: str, problem: str) -> None:
        super().__init__(desk, problem)
        self.desk, self.problem = desk, problem

    def __str__(self) -> str:
        """What happened, and what to look at."""
        return (
            f"The desk {self.desk} issued no token. {self.problem} Check its URL, and that this pod may "
            "reach it; a token of before is good until it ends."
        )


class WatchwordRefused(WatchwordError, httpx.HTTPStatusError):  # noqa: N818  callers know it by this name
    """The gate refused the request. Code that catches httpx.HTTPStatusError catches this too.

    Attributes:
        reason: the stable code, e.g. "wrong_audience" (docs/reference/reasons.md lists them all).
        detail: what was wrong, for a person.
        remedy: what the caller, or the owner of the service, can do; None if the answer does not say.
        decision_id: what the gate's operators find this decision by; None if a proxy dropped it.
        response: the answer as it came. Its requests no longer carry the token.
    """

    def __init__(
        self,
        reason: str,
        detail: str,
        *,
        response: httpx.Response,
        remedy: str | None = None,
        decision_id: str | None = None,
    ) -> None:
        parts = [f"Refused by Watchword ({response.status_code} {reason}): {detail}"]
        # Some answers end their detail with the remedy; saying it once is enough.
        if remedy is not None and remedy not in detail:
            parts.append(remedy)
        if decision_id is not None:
            parts.append(f"[decision {decision_id}]")
        super().__init__(" ".join(parts), request=response.request, response=response)
        self.reason = reason
        self.detail = detail
        self.remedy = remedy
        self.decision_id = decision_id

    @property
    def status(self) -> int:
        """The HTTP status of the refusal."""
        return self.response.status_code

    @property
    def retry_after_seconds(self) -> int | None:
        """How long to wait (RFC 9110, section 10.2.3), where the gate says so: with `rate_limited`."""
        value = self.response.headers.get("Retry-After", "")
        return int(value) if value.isascii() and value.isdigit() and len(value) < 10 else None

    def __reduce__(self) -> tuple[Any, ...]:
        """Keep it fit for process pools and task queues, which httpx's own status errors are not."""
        again = partial(
            type(self),
            self.reason,
            self.detail,
            response=self.response,
            remedy=self.remedy,
            decision_id=self.decision_id,
        )
        return again, ()
