# SPDX-License-Identifier: Apache-2.0
"""What goes back over HTTP: identity headers for a yes, a problem that explains itself for a no.

Every identity header is there in every yes, empty if need be: a proxy that copies only what is present would
otherwise let a caller's own header through (CVE-2026-30851).
"""

import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import quote

import msgspec

from watchword.identity import Grant, Identity, Reason, Refusal

Headers = list[tuple[bytes, bytes]]

# Where the reason's page is found; relative to wherever the docs of this release are published.
TYPE_PREFIX: Final = "https://watchword.dev/reasons#"
# Visible ASCII (RFC 9110, section 5.5) but the two that have a meaning here: the comma between accounts and
# the percent sign of the encoding itself.
_HEADER_SAFE: Final = "".join(map(chr, range(0x21, 0x7F))).translate({ord(","): None, ord("%"): None})
_SAFE_BYTES: Final = _HEADER_SAFE.encode()
_UNSAFE_IN_QUOTES: Final = re.compile(r'[^\x20-\x7e]|["\\]')
_ENDS_LINE: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_ERRORS: Final = {400: "invalid_request", 401: "invalid_token", 403: "insufficient_scope"}


class Answer(msgspec.Struct, frozen=True):
    """One HTTP response.

    Attributes:
        status: the HTTP status.
        headers: names in lower case, and values.
        body: the bytes.
        lines: the headers as they go out, where they are made already; else nothing.
    """

    status: int
    headers: Headers
    body: bytes = b""
    lines: bytes = b""


class Allowed(msgspec.Struct, frozen=True, gc=False):
    """A yes: a 200 without a body, of which all but the decision's id is known beforehand.

    Attributes:
        identity: the lines that say who is calling.
        granted: the lines that say what was granted.
        decision_id: names this decision in the audit log.
    """

    identity: bytes
    granted: bytes
    decision_id: str

    @property
    def status(self) -> int:
        """200."""
        return 200

    @property
    def headers(self) -> Headers:
        """Names in lower case, and values."""
        lines = b"".join((ALLOWED_LINES, self.identity, self.granted)).split(b"\r\n")[:-1]
        pairs = (line.partition(b": ") for line in lines)
        own = [(name, value) for name, _, value in pairs]
        return [*own, (b"x-watchword-decision-id", self.decision_id.encode())]

    @property
    def body(self) -> bytes:
        """Nothing."""
        return b""


# What every yes begins with; then who is calling, what was granted, and the decision's id.
ALLOWED_LINES: Final = b"content-length: 0\r\ncache-control: no-store\r\n"


def identity_lines(identity: Identity) -> bytes:
    """Who is calling, as the lines of a head: the same for every request of one workload."""
    names = (identity.subject.encode(), identity.issuer.encode(), identity.workload.encode())
    if b"".join(names).translate(None, _SAFE_BYTES):
        names = (_value(identity.subject), _value(identity.issuer), _value(identity.workload))
    return b"x-watchword-subject: %b\r\nx-watchword-issuer: %b\r\nx-watchword-workload: %b\r\n" % names


def grant_lines(grants: Iterable[Grant]) -> bytes:
    """What was granted, as the lines of a head."""
    held = tuple(grants)
    scopes = sorted({scope for grant in held for scope in grant.scopes})
    accounts = sorted({account for grant in held for account in grant.accounts})
    return b"x-watchword-scopes: %b\r\nx-watchword-accounts: %b\r\n" % (
        b" ".join(map(_value, scopes)),
        b",".join(map(_value, accounts)),
    )


def lines_of(headers: Headers) -> bytes:
    """Headers as they go out, each line with its end (RFC 9112, section 5).

    Raises:
        ValueError: a value that would end its line and start another.
    """
    if _ENDS_LINE.search(b"".join([value for _, value in headers])):
        raise ValueError("a header value holds a control character")
    return b"".join([b"%b: %b\r\n" % header for header in headers])


def _value(name: str) -> bytes:
    # Names come from manifests, which are checked; a bundle made by hand must not add a header of its own.
    return quote(name, safe=_HEADER_SAFE).encode()


def refused(
    refusal: Refusal, decision_id: str, *, scope: str | None = None, retry_after: int | None = None
) -> Answer:
    """The response to a refusal (RFC 9457; RFC 6750, section 3).

    Args:
        refusal: why not.
        decision_id: names this decision in the audit log.
        scope: the scope that was missing, where it is known.
        retry_after: seconds, for 429 and 503.
    """
    is_plain = not (refusal.detail or refusal.hint or scope or retry_after)
    stem = _PLAIN.get(refusal.reason.code) if is_plain else None
    if stem is None:
        stem = _Stem.of(refusal, scope, retry_after)
        if is_plain:
            _PLAIN[refusal.reason.code] = stem
    return stem.answer(decision_id.encode())


class _Stem(msgspec.Struct, frozen=True):
    """All of a refusal's answer but the decision's id. A flood of refusals mostly differs in that alone."""

    status: int
    body: bytes
    before: Headers
    after: Headers
    lines_before: bytes
    lines_after: bytes

    @classmethod
    def of(cls, refusal: Refusal, scope: str | None, retry_after: int | None) -> "_Stem":
        reason = refusal.reason
        # The id comes last, so that it can be put there: the body ends behind it.
        document = {
            "type": TYPE_PREFIX + reason.code,
            "title": reason.summary,
            "status": reason.status,
            "detail": refusal.sentence(),
            "reason": reason.code,
            "remedy": refusal.remedy,
            "decision_id": "",
        }
        body = msgspec.json.encode(document).removesuffix(_BODY_END)
        before: Headers = [(b"cache-control", b"no-store"), (b"x-watchword-reason", reason.code.encode())]
        after: Headers = []
        if reason.status in {400, 401, 403}:
            after.append((b"www-authenticate", _challenge(refusal, scope)))
        if retry_after is not None:
            after.append((b"retry-after", str(retry_after).encode()))
        return cls(reason.status, body, before, after, lines_of(before), lines_of(after))

    def answer(self, decision_id: bytes) -> Answer:
        body = b"%b%b%b" % (self.body, decision_id, _BODY_END)
        size = b"%d" % len(body)
        headers = [_PROBLEM_TYPE, (b"content-length", size), *self.before, (_ID, decision_id), *self.after]
        lines = _PROBLEM_LINES % (size, self.lines_before, decision_id, self.lines_after)
        return Answer(self.status, headers, body, lines)


_PLAIN: Final[dict[str, _Stem]] = {}
_BODY_END: Final = b'"}'
_ID: Final = b"x-watchword-decision-id"
_PROBLEM_TYPE: Final = (b"content-type", b"application/problem+json")
_PROBLEM_LINES: Final = (
    b"content-type: application/problem+json\r\ncontent-length: %b\r\n%bx-watchword-decision-id: %b\r\n%b"
)


def problem(
    status: int, title: str, detail: str, headers: Headers | None = None, **members: object
) -> Answer:
    """A problem that is no refusal: a path that is not there, a query that cannot be read (RFC 9457)."""
    document = {"type": "about:blank", "title": title, "status": status, "detail": detail, **members}
    return json_answer(status, document, headers or [], b"application/problem+json")


def json_answer(
    status: int, document: object, headers: Headers | None = None, kind: bytes = b"application/json"
) -> Answer:
    """A JSON document that nobody may cache."""
    return bytes_answer(status, msgspec.json.encode(document), headers, kind)


def bytes_answer(
    status: int, body: bytes, headers: Headers | None = None, kind: bytes = b"application/json"
) -> Answer:
    """A body that is encoded already."""
    own = [
        (b"content-type", kind),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
    ]
    return Answer(status, own + (headers or []), body)


def _challenge(refusal: Refusal, scope: str | None) -> bytes:
    reason = refusal.reason
    parts = ['realm="watchword"']
    if reason is Reason.MISSING_CREDENTIAL:
        # RFC 6750, section 3.1: no error code nor other information, the client did nothing wrong yet.
        return ("Bearer " + parts[0]).encode()
    parts.append(f'error="{_ERRORS[reason.status]}"')
    parts.append(f'reason="{reason.code}"')
    parts.append(f'error_description="{_UNSAFE_IN_QUOTES.sub(" ", refusal.sentence())}"')
    if scope is not None:
        parts.append(f'scope="{_UNSAFE_IN_QUOTES.sub(" ", scope)}"')
    return ("Bearer " + ", ".join(parts)).encode()
