# SPDX-License-Identifier: Apache-2.0
"""One token, judged check by check as the gates of a service do.

The token is in the body of one request, and nowhere else: it is not stored, logged, shown again, or sent on.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from watchword.cli.missing_workload import workload_yaml
from watchword.cli.narrowing import shown_grant
from watchword.cli.report import Report, RequestLine, report_on
from watchword.cli.report_text import desk_facts_of, facts_of
from watchword.cli.token_input import MAX_TOKEN_FILE_BYTES
from watchword.console import commands
from watchword.console.exposure import reports_until
from watchword.console.filters import MAX_VALUE, BadQueryError, Query, read_query
from watchword.console.model import Gap
from watchword.console.snapshots import Snapshots
from watchword.console.source import Source
from watchword.gate.report_only import may_pass
from watchword.identity import Identity
from watchword.kube.names import NamespacedName
from watchword.trust import Ruleset, held_grants
from watchword.trust.timestamps import rfc3339

# Percent-encoding may make three bytes of one.
MAX_BODY_BYTES: Final = 3 * MAX_TOKEN_FILE_BYTES + 4096
_FIELDS: Final = ("token", "service", "method", "path")
_MAX_SERVICES: Final = 1000


class TokenPage:
    """The form for a token, and what a gate makes of it."""

    def __init__(self, source: Source, snapshots: Snapshots, render: Callable[..., str]) -> None:
        """Judge by what a source holds."""
        self._source, self._snapshots, self._render = source, snapshots, render

    async def form(self, request: Request) -> Response:
        """The empty form; the query may choose the service and the request."""
        query = read_query(request.scope["query_string"], _FIELDS[1:])
        return await self._page(query, None, 200)

    async def judge(self, request: Request) -> Response:
        """The report on the token of the body."""
        given = await _form_of(request)
        token = given.pop("token", "").encode(errors="surrogateescape")
        # A paste ends in one line break, as `watchword explain` allows for; the rest is the gate's to judge.
        token = token.removesuffix(b"\n").removesuffix(b"\r")
        namespace, _, name = given["service"].partition("/")
        service = NamespacedName(namespace, name)
        shot = await self._snapshots.current()
        if service not in shot.service_names:
            shown = given["service"][:100]
            raise BadQueryError(
                "service", f"there is no service {shown!a}", "Choose one of those that one may read."
            )
        if not token:
            raise BadQueryError("token", "it is empty", "Paste the token, without `Bearer`.")
        if bool(given["method"]) != bool(given["path"]):
            raise BadQueryError("path", "method and path belong together", "Give both, or neither.")
        ruleset = await asyncio.to_thread(self._source.ruleset, service)
        if isinstance(ruleset, Gap):
            return await self._page(given, None, 200, gaps=(ruleset,))
        line = RequestLine(given["method"], given["path"]) if given["method"] else None
        now = time.time()
        report = report_on(token, ruleset, now, line)
        return await self._page(given, _shown(report, ruleset, now), 200)

    async def _page(
        self,
        query: Query,
        report: dict[str, Any] | None,
        status: int,
        *,
        gaps: tuple[Gap, ...] = (),
    ) -> Response:
        shot = await self._snapshots.current()
        services = shot.service_names
        namespace, _, name = query["service"].partition("/")
        text = self._render(
            "token.html",
            source=self._source,
            apply=commands.apply(self._source),
            shot=shot,
            query=query,
            path="/token",
            section="/token",
            services=services[:_MAX_SERVICES],
            report=report,
            more_gaps=gaps,
            same=commands.explanation(self._source, NamespacedName(namespace or "NAMESPACE", name or "NAME")),
        )
        return HTMLResponse(text, status)


async def _form_of(request: Request) -> Query:
    """The fields of a form.

    Raises:
        BadQueryError: it is too large, no form, or has other fields.
    """
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MAX_BODY_BYTES:
            detail = f"the form has more than {MAX_BODY_BYTES} bytes"
            raise BadQueryError("token", detail, "Give the token alone; it has about 1 KiB.")
    kind = request.headers.get("content-type", "").partition(";")[0].strip()
    if kind != "application/x-www-form-urlencoded":
        raise BadQueryError("form", "it is not application/x-www-form-urlencoded", "Use the page's own form.")
    try:
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=8)
    except ValueError:
        raise BadQueryError("form", "it is not percent-encoded UTF-8", "Use the page's own form.") from None
    found = Query()
    for name, value in pairs:
        # The value is not repeated: it may be the token, in the wrong field.
        if name not in _FIELDS or name in found:
            raise BadQueryError("form", "a field is not known, or is given twice", "Use the page's own form.")
        if name != "token" and len(value) > 10 * MAX_VALUE:
            raise BadQueryError(name, "it is too long", f"Give at most {10 * MAX_VALUE} characters.")
        found[name] = value if name == "token" else value.strip()
    if len(found["token"]) > MAX_TOKEN_FILE_BYTES:
        raise BadQueryError(
            "token", "it is too large", f"A token has about 1 KiB, never {MAX_TOKEN_FILE_BYTES}."
        )
    return found


def _shown(report: Report, ruleset: Ruleset, now: float) -> dict[str, Any]:
    """What the template is given of a report."""
    decision = report.decision
    is_signed = any(each.number == 6 and each.outcome == "pass" for each in report.checks)
    found: dict[str, Any] = {
        "checks": report.checks,
        "is_signed": is_signed,
        "header": report.unverified_header,
        "claims": facts_of(report, now),
        "desk": desk_facts_of(report, now),
        "is_accepted": isinstance(decision, Identity),
        "service": ruleset.service,
        "note": report.note,
        "narrowing": report.narrowing,
        "permitted_by": report.permitted_by,
        "is_public": report.is_public,
        "passes_until": "",
    }
    if isinstance(decision, Identity):
        return found | {
            "workload": decision.workload,
            "grants": [shown_grant(each) for each in held_grants(decision)],
        }
    if reports_until(ruleset.report_only_until, now) and may_pass(decision):
        found["passes_until"] = rfc3339(ruleset.report_only_until or 0.0)
    missing = report.trusted_workload
    return found | {
        "reason": decision.reason.code,
        "status": decision.reason.status,
        "detail": decision.sentence(),
        "remedy": decision.remedy,
        "missing": None if missing is None else workload_yaml(missing, ruleset),
    }
