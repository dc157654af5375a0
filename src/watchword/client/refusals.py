# SPDX-License-Identifier: Apache-2.0
"""Is this answer the gate's own "no", and what does it say?

A gate says it three times over: in a problem body (RFC 9457), in X-Watchword-Reason, and in WWW-Authenticate
(RFC 6750, section 3), because proxies drop bodies, and some drop headers. What none of the three marks as
Watchword's belongs to the app: taking the app's own 401 for a refusal would hide its answer from its caller.
"""

import json
import re
from collections.abc import Iterable
from typing import Final, NamedTuple

import httpx

# As in docs/reference/reasons.md, and 500: that is what nginx's auth_request makes of all but 401 and 403.
REFUSAL_STATUSES: Final = frozenset({400, 401, 403, 429, 500, 503})
REASON_HEADER: Final = "X-Watchword-Reason"
DECISION_HEADER: Final = "X-Watchword-Decision-Id"

_PROBLEM_TYPE: Final = "application/problem+json"
# A refusal has less than 2 KiB; an app's problem report may have any size, and is not ours to buffer.
_MAX_BODY_BYTES: Final = 65_536
_MAX_TEXT_CHARACTERS: Final = 1_000
_LENGTH: Final = re.compile(r"[0-9]{1,9}")
_REASON: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")
_PARAMETER: Final = re.compile(r'([A-Za-z0-9_-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')


class GateRefusal(NamedTuple):
    """What could be read of a refusal."""

    reason: str
    detail: str
    remedy: str | None
    decision_id: str | None


def body_may_refuse(response: httpx.Response) -> bool:
    """Say whether the body is worth reading: that of any other answer is left to the caller, unread."""
    if response.status_code not in REFUSAL_STATUSES or not _is_problem(response):
        return False
    length: str = response.headers.get("Content-Length", "0")
    return bool(_LENGTH.fullmatch(length)) and int(length) <= _MAX_BODY_BYTES


def read_refusal(response: httpx.Response, *, secrets: Iterable[str] = ()) -> GateRefusal | None:
    """Read a refusal of a gate, or say that the answer is none.

    Args:
        response: the answer. A body that was not read counts as dropped.
        secrets: texts to black out, should the other side echo them.
    """
    if response.status_code not in REFUSAL_STATUSES:
        return None
    problem = _problem(response)
    challenge = _challenge(response)
    reason = (
        _code(problem.get("reason"))
        or _code(response.headers.get(REASON_HEADER))
        or _code(challenge.get("reason"))
    )
    if reason is None:
        return None
    secrets = tuple(secrets)

    def text(*candidates: object) -> str | None:
        for candidate in candidates:
            if isinstance(candidate, str) and candidate.strip():
                return presentable(candidate, secrets)
        return None

    return GateRefusal(
        reason,
        text(problem.get("detail"), problem.get("title"), challenge.get("error_description"))
        or "The explanation was lost on the way: only the reason arrived.",
        text(problem.get("remedy")),
        text(problem.get("decision_id"), response.headers.get(DECISION_HEADER)),
    )


def _is_problem(response: httpx.Response) -> bool:
    content_type: str = response.headers.get("Content-Type", "")
    return content_type.partition(";")[0].strip().lower() == _PROBLEM_TYPE


def _problem(response: httpx.Response) -> dict[str, object]:
    """The members of a gate's problem body, or none: an app's own lacks the pair that marks ours."""
    try:
        content = response.content if _is_problem(response) else b""
    except httpx.ResponseNotRead:
        return {}
    if not content or len(content) > _MAX_BODY_BYTES:
        return {}
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(found, dict):
        return {}
    if _code(found.get("reason")) is None or not isinstance(found.get("decision_id"), str):
        return {}
    return found


def _challenge(response: httpx.Response) -> dict[str, str]:
    """The parameters of the Bearer challenge of realm "watchword" (RFC 9110, section 11.6.1), or none."""
    for header in response.headers.get_list("WWW-Authenticate"):
        scheme, _, rest = header.strip().partition(" ")
        if scheme.lower() != "bearer":
            continue
        parameters = {
            match[1].lower(): re.sub(r"\\(.)", r"\1", match[2]) if match[2] is not None else match[3]
            for match in _PARAMETER.finditer(rest)
        }
        if parameters.get("realm") == "watchword":
            return parameters
    return {}


def _code(value: object) -> str | None:
    return value if isinstance(value, str) and _REASON.fullmatch(value) else None


def presentable(text: str, secrets: Iterable[str]) -> str:
    """One line of bounded length without secrets: this ends in logs, and came over the network.

    Args:
        text: what the other side said.
        secrets: texts to black out, before anything is cut: half of a token is still half of a token.
    """
    for secret in secrets:
        if secret:
            text = text.replace(secret, "[token]")
    line = "".join(character if character.isprintable() else " " for character in text).strip()
    return line if len(line) <= _MAX_TEXT_CHARACTERS else line[:_MAX_TEXT_CHARACTERS] + "…"
