# SPDX-License-Identifier: Apache-2.0
"""What an API server's refusal means: a Status, or an HTTP status alone, as a problem with a remedy."""

from typing import Final

from watchword.kube.watch.answer import AnswerParser
from watchword.kube.watch.messages import Status, read_status
from watchword.kube.watch.problems import ProblemKind, WatchError

_KINDS: Final = {
    401: ProblemKind.UNAUTHORIZED,
    403: ProblemKind.FORBIDDEN,
    404: ProblemKind.NOT_FOUND,
    410: ProblemKind.EXPIRED,
    429: ProblemKind.THROTTLED,
}
_REMEDIES: Final = {
    ProblemKind.UNAUTHORIZED: "mount a token of this cluster for its API server that has not expired",
    ProblemKind.FORBIDDEN: "let the ServiceAccount get, list and watch it, by a Role and a RoleBinding",
    ProblemKind.NOT_FOUND: "install the resource's definition, or check the URL",
    ProblemKind.EXPIRED: "nothing to do: it is listed again",
    ProblemKind.THROTTLED: "it is asked again later; see what else asks this API server so much",
    ProblemKind.SERVER_ERROR: "see whether it and its etcd are well; it is asked again",
    ProblemKind.MALFORMED: "check that the URL is that of a Kubernetes API server, and what stands between",
}


def refusal_of(answer: AnswerParser, body: bytes, what: str) -> WatchError:
    """The failure that an answer other than 200 is.

    Args:
        answer: its head.
        body: its body, or the first of it.
        what: what was asked for, for people: `list configmaps in tuist`.
    """
    status = read_status(body)
    asked = answer.header(b"retry-after")
    # RFC 9110 section 10.2.3 allows a date as well; kube-apiserver sends seconds.
    seconds = float(asked) if asked.isdigit() and len(asked) <= 6 else None
    return refusal(answer.status, status, what, seconds)


def refusal(code: int, status: Status, what: str, retry_after_seconds: float | None = None) -> WatchError:
    """The failure that a status is.

    Args:
        code: as HTTP's.
        status: what the server says of it.
        what: what was asked for.
        retry_after_seconds: the header's; the Status' own counts where there is none.
    """
    kind = _KINDS.get(code) or (ProblemKind.SERVER_ERROR if code >= 500 else ProblemKind.MALFORMED)
    said = f": {status.message}" if status.message else ""
    seconds = retry_after_seconds
    if seconds is None and status.details is not None and status.details.retry_after_seconds > 0:
        seconds = float(status.details.retry_after_seconds)
    return WatchError(kind, f"the API server answers {code} to {what}{said}", _REMEDIES[kind], seconds)
