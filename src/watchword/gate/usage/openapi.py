# SPDX-License-Identifier: Apache-2.0
"""The OpenAPI 3.1 document of the usage endpoints, made from the bounds that the code itself keeps.

A document that is written next to the code drifts from it; this one is asked of a running gate by tests.
"""

from collections.abc import Mapping
from typing import Any, Final

from watchword.gate.usage.openapi_schemas import ACCOUNT, SCHEMAS, Json, ref
from watchword.usage import (
    BATCHED,
    MAX_ACCOUNTS,
    MAX_BATCH_EVENTS,
    MAX_BODY_BYTES,
    MAX_EVENT_BYTES,
    MAX_GROUP_ENTRIES,
    MAX_PERIOD_DAYS,
    MAX_VALUES,
    STRUCTURED,
)

_PROBLEM: Final = "#/components/responses/Problem"
_REFUSALS: Final = ("400", "401", "403", "429", "500", "503")


def openapi(base_path: str) -> Json:
    """Give the document for a gate whose usage endpoints live under `base_path`."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Watchword usage",
            "version": "v1alpha1",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            "description": "Usage events in, amounts per account, meter and UTC day out. Every refusal is a "
            "problem document with a `reason` and what would be right.",
        },
        "servers": [{"url": base_path}],
        "security": [{"serviceAccountToken": []}],
        "paths": {
            "/accounts/{account}/usage": {"get": _of_account()},
            "/usage": {"get": _of_accounts()},
            "/usage/meters": {"get": _of_meters()},
            "/usage/events": {"post": _of_events()},
        },
        "components": {
            "securitySchemes": {
                "serviceAccountToken": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "JWT",
                    "description": "A projected ServiceAccount token with the service's audience.",
                }
            },
            "responses": {
                "Problem": {
                    "description": "A refusal (RFC 9457). 429 and 503 have Retry-After.",
                    "headers": {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds."}},
                    "content": {"application/problem+json": {"schema": ref("Problem")}},
                },
                "NotModified": {"description": "The caller has this answer already (If-None-Match)."},
            },
            "schemas": SCHEMAS,
        },
    }


def _answers(found: Mapping[str, Json], *more: str) -> Json:
    return {**found, **{status: {"$ref": _PROBLEM} for status in (*more, *_REFUSALS)}}


_TABLE: Final = {
    "type": "string",
    "description": "A row for each account, meter and, with `window`, window: account, meter, unit, amount, "
    "start, end, state (open, late, closed), complete_from. With `group_by` also a column for each dimension "
    "and `part` (total, group, overflow). A text that a spreadsheet would take for a formula has an "
    "apostrophe before it.",
}


def _read(schema: Json, what: str, more: Json | None = None, *, as_table: bool = True) -> Json:
    headers = {"ETag": {"schema": {"type": "string"}}, "Cache-Control": {"schema": {"type": "string"}}}
    headers |= more or {}
    content = {"application/json": {"schema": schema}}
    if as_table:
        content["text/csv"] = {"schema": _TABLE}
    return {
        "200": {"description": what, "headers": headers, "content": content},
        "304": {"$ref": "#/components/responses/NotModified"},
    }


def _parameter(name: str, description: str, schema: Json, **more: Any) -> Json:
    return {
        "name": name,
        "in": "query",
        "required": False,
        "description": description,
        "schema": schema,
        **more,
    }


_OF_PAGES: Final = {
    "X-Watchword-Accounts": {
        "schema": {"enum": ["all", "granted"]},
        "description": "Of a page: whether the pages have every account, or only those that were granted.",
    },
    "Link": {"schema": {"type": "string"}, "description": "The next page of CSV, as rel=next (RFC 8288)."},
}
_DATE: Final = {"type": "string", "format": "date"}
_PERIOD_PARAMETERS: Final = [
    _parameter("from", "First UTC day. Default: the first day of the current month.", _DATE),
    _parameter(
        "to",
        f"The day after the last one; needs `from`. At most {MAX_PERIOD_DAYS} days. Default: the first "
        "day of the next month.",
        _DATE,
    ),
    _parameter("window", "A series as well as the total.", {"enum": ["day", "month"]}),
    _parameter(
        "group_by",
        "`meter` (with a window: one series a meter), or names of dimensions, with commas between. At most "
        f"{MAX_GROUP_ENTRIES} amounts of groups in one answer.",
        {"type": "string"},
    ),
]


def _of_account() -> Json:
    return {
        "operationId": "readUsage",
        "summary": "What one account used",
        "description": "Scope `account:usage:read` for the account.",
        "parameters": [
            {"name": "account", "in": "path", "required": True, "schema": ACCOUNT},
            *_PERIOD_PARAMETERS,
            _parameter("shape", "The plain form for the current month.", {"enum": ["flat"]}),
        ],
        "responses": _answers(
            _read({"anyOf": [ref("AccountUsage"), ref("FlatUsage")]}, "What it used."), "404"
        ),
    }


def _of_accounts() -> Json:
    accounts = {"type": "array", "items": ACCOUNT, "maxItems": MAX_ACCOUNTS}
    return {
        "operationId": "readUsageOfAccounts",
        "summary": "What several accounts used, by name or page by page",
        "description": "Scope `account:usage:read` for each account. Without `account`: all known ones that "
        "were granted, in the order of their names' bytes.",
        "parameters": [
            _parameter("account", f"Up to {MAX_ACCOUNTS} times.", accounts, style="form", explode=True),
            _parameter("after", "Go on after this account (`next` of the page before).", {"type": "string"}),
            _parameter(
                "limit",
                f"Accounts in a page. More than {MAX_ACCOUNTS} is taken as {MAX_ACCOUNTS}.",
                {"type": "integer", "minimum": 1, "default": MAX_ACCOUNTS},
            ),
            *_PERIOD_PARAMETERS,
        ],
        "responses": _answers(_read(ref("AccountsUsage"), "What they used.", _OF_PAGES)),
    }


def _of_meters() -> Json:
    return {
        "operationId": "readMeters",
        "summary": "What is counted, and since when",
        "description": "Scope `account:usage:read`.",
        "responses": _answers(_read(ref("Meters"), "The meters.", as_table=False)),
    }


def _of_events() -> Json:
    event = {"schema": ref("Event")}
    batch = {"schema": {"type": "array", "items": ref("Event"), "maxItems": MAX_BATCH_EVENTS}}
    outcomes = {"content": {"application/json": {"schema": ref("Outcomes")}}}
    return {
        "operationId": "sendEvents",
        "summary": "CloudEvents 1.0 in",
        "description": "Scope `account:usage:write` for each event's account. An event is known by its "
        "account, source and id: sent again it is a duplicate, and counts once. A 2xx is said after the "
        "events are on disk; after a 429, a 503 or no answer, send the same again. Binary mode (ce-* "
        f"headers) too. At most {MAX_BODY_BYTES} bytes, {MAX_BATCH_EVENTS} events and {MAX_VALUES} values a "
        f"request, and {MAX_EVENT_BYTES} bytes an event.",
        "requestBody": {"required": True, "content": {STRUCTURED: event, BATCHED: batch}},
        "responses": _answers(
            {
                "200": {"description": "None was refused.", **outcomes},
                "207": {"description": "Some were refused, by name.", **outcomes},
                "422": {"description": "All were refused, by name.", **outcomes},
            },
            "408",
            "413",
            "415",
        ),
    }
