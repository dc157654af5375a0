# SPDX-License-Identifier: Apache-2.0
"""Why an API server cannot be followed just now, as a value with a remedy.

"Forbidden" and "unreachable" need different people; a watcher that only says "error, retrying" leaves each
of them believing that it is the other's turn.
"""

from enum import StrEnum

import msgspec


class ProblemKind(StrEnum):
    """What kind of thing went wrong; the label of metrics."""

    UNREACHABLE = "unreachable"
    UNTRUSTED = "untrusted"
    NO_CREDENTIAL = "no_credential"
    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    THROTTLED = "throttled"
    SERVER_ERROR = "server_error"
    EXPIRED = "expired"
    CUT = "cut"
    SILENT = "silent"
    MALFORMED = "malformed"
    TOO_LARGE = "too_large"


class WatchProblem(msgspec.Struct, frozen=True):
    """Why nothing can be received from the API server.

    Attributes:
        kind: what kind of thing went wrong.
        detail: what is wrong; never holds a token.
        remedy: what would be right.
    """

    kind: ProblemKind
    detail: str
    remedy: str


class WatchError(Exception):
    """A list or a watch ended before its time.

    Attributes:
        problem: why.
        retry_after_seconds: the least time to wait, where the server said so.
    """

    def __init__(
        self, kind: ProblemKind, detail: str, remedy: str, retry_after_seconds: float | None = None
    ) -> None:
        super().__init__(detail)
        self.problem = WatchProblem(kind, detail, remedy)
        self.retry_after_seconds = retry_after_seconds
