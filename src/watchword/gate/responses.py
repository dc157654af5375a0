# SPDX-License-Identifier: Apache-2.0
"""What goes back over HTTP: identity headers for a yes, a problem that explains itself for a no.

Every identity header is there in every yes, empty if need be: a proxy that copies only what is present would
otherwise let a caller's own header through (CVE-2026-30851).
"""

import json
import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import quote

import msgspec

from watchword.identity import Grant, Identity, Reason, Refusal

Headers = list[tuple[bytes, bytes]]

# Where the reason's page is found: `reasons` of the site that `make site` builds from docs.
TYPE_PREFIX: Final = "https://watchword.dev/reasons#"
# Visible ASCII (RFC 9110, section 5.5) but the two that have a meaning here: the comma between accounts and
# the percent sign of the encoding itself.
_HEADER_SAFE: Final = "".join(map(chr, range(0x21, 0x7F))).translate({ord(","): None, ord("%"): None})
_SAFE_BYTES: Final = _HEADER_SAFE.encode()
# nginx reads a whole head into one page of memory, 4 KiB (proxy_buffer_size): half of it.
MAX_GRANTS_BYTES: Final = 2048
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
        would_refuse: report only: the line that says to the caller why it would be refused, which is among
            `granted` for the app; else nothing.
    """

    identity: bytes
    granted: bytes
    decision_id: str
    would_refuse: bytes = b""

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


def would_refuse_header(allowed: Allowed) -> tuple[bytes, bytes]:
    """Report only: the header that says to app and caller why a request that passes would be refused."""
    name, _, value = allowed.would_refuse.removesuffix(b"\r\n").partition(b": ")
    return name, value


# What every yes begins with; then who is calling, what was granted, and the decision's id.
ALLOWED_LINES: Final = b"content-length: 0\r\ncache-control: no-store\r\n"


def identity_lines(identity: Identity) -> bytes:
    """Who is calling, as the lines of a head: the same for every request of one workload."""
    names = (identity.subject.encode(), identity.issuer.encode(), identity.workload.encode())
    if b"".join(names).translate(None, _SAFE_BYTES):
        names = (_value(identity.subject), _value(identity.issuer), _value(identity.workload))
    return b"x-watchword-subject: %b\r\nx-watchword-issuer: %b\r\nx-watchword-workload: %b\r\n" % names


# What a public route says of its caller: nothing, in each of the headers.
NO_IDENTITY_LINES: Final = b"x-watchword-subject: \r\nx-watchword-issuer: \r\nx-watchword-workload: \r\n"
NO_GRANT_LINES: Final = (
    b"x-watchword-scopes: \r\nx-watchword-accounts: \r\nx-watchword-account: \r\n"
    b"x-watchword-project: \r\nx-watchword-grants: \r\n"
)


def grant_lines(grants: Iterable[Grant]) -> bytes:
    """All that a caller holds, as the lines of a head: for a question that is about no request.

    The accounts of grants for projects are left out: read as the account's, they would open all of it. The
    grants themselves say what belongs together (`encoded_grants`).
    """
    held = tuple(grants)
    scopes = sorted({scope for grant in held for scope in grant.scopes})
    accounts = sorted({account for grant in held if not grant.projects for account in grant.accounts})
    return b"%bx-watchword-account: \r\nx-watchword-project: \r\nx-watchword-grants: %b\r\n" % (
        _held_lines(scopes, accounts),
        encoded_grants(held),
    )


def permit_lines(grant: Grant) -> bytes:
    """The grant that let a request pass, as the first lines of what was decided; then `decided_lines`."""
    return _held_lines(sorted(grant.scopes), sorted(grant.accounts))


def decided_lines(account: str | None, project: str | None) -> bytes:
    """The account and the project that a decision was about, each present and empty when there is none."""
    names = ((account or "").encode(), (project or "").encode())
    if b"".join(names).translate(None, _SAFE_BYTES):
        names = (_value(account or ""), _value(project or ""))
    return b"x-watchword-account: %b\r\nx-watchword-project: %b\r\nx-watchword-grants: \r\n" % names


def encoded_grants(grants: Iterable[Grant]) -> bytes:
    """Grants as JSON in visible ASCII: a list of `scopes`, `accounts`, `projects`, empty lists left out.

    More than MAX_GRANTS_BYTES are not cut: what a reader of half a list misses may be a bound. An object with
    `omitted`, `bytes` and `grants` takes the list's place, which no reader of a list takes for one.
    """
    rows = [
        {name: list(held) for name, held in _lists_of(grant) if held}
        for grant in sorted(set(grants), key=lambda each: (each.scopes, each.accounts, each.projects))
    ]
    encoded = _ascii_json(rows)
    if len(encoded) > MAX_GRANTS_BYTES:
        return _ascii_json({"omitted": "too_long", "bytes": len(encoded), "grants": len(rows)})
    return encoded


def _lists_of(grant: Grant) -> tuple[tuple[str, tuple[str, ...]], ...]:
    return (("scopes", grant.scopes), ("accounts", grant.accounts), ("projects", grant.projects))


def _ascii_json(document: object) -> bytes:
    # Control characters and all beyond ASCII are escaped by the encoder, DEL alone is not.
    text = json.dumps(document, ensure_ascii=True, separators=(",", ":"))
    return text.replace("\x7f", "\\u007f").encode("ascii")


def _held_lines(scopes: Iterable[str], accounts: Iterable[str]) -> bytes:
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
    """A JSON document that no one may cache."""
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
