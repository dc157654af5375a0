# SPDX-License-Identifier: Apache-2.0
"""The OpenAPI 3.1 document of the usage endpoints, made from the bounds that the code itself keeps.

A document that is written beside the code drifts from it; this one is asked of a running gate by tests.
"""

from collections.abc import Mapping
from typing import Any, Final

from watchword.usage import (
    BATCHED,
    MAX_ACCOUNT_CHARACTERS,
    MAX_ACCOUNTS,
    MAX_BATCH_EVENTS,
    MAX_BODY_BYTES,
    MAX_EVENT_BYTES,
    MAX_GROUP_ENTRIES,
    MAX_PERIOD_DAYS,
    STRUCTURED,
)

Json = dict[str, Any]
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
                    "content": {"application/problem+json": {"schema": _ref("Problem")}},
                },
                "NotModified": {"description": "The caller has this answer already (If-None-Match)."},
            },
            "schemas": _SCHEMAS,
        },
    }


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _answers(found: Mapping[str, Json], *more: str) -> Json:
    return {**found, **{status: {"$ref": _PROBLEM} for status in (*more, *_REFUSALS)}}


def _read(schema: Json, what: str) -> Json:
    headers = {"ETag": {"schema": {"type": "string"}}, "Cache-Control": {"schema": {"type": "string"}}}
    content = {"application/json": {"schema": schema}}
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


_DATE: Final = {"type": "string", "format": "date"}
_ACCOUNT: Final = {"type": "string", "minLength": 1, "maxLength": MAX_ACCOUNT_CHARACTERS}
_PERIOD_PARAMETERS: Final = [
    _parameter("from", "First UTC day. Default: the first day of the current month.", _DATE),
    _parameter(
        "to",
        f"The day after the last one; needs `from`. At most {MAX_PERIOD_DAYS} days. Default: the first day of "
        "the next month.",
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
            {"name": "account", "in": "path", "required": True, "schema": _ACCOUNT},
            *_PERIOD_PARAMETERS,
            _parameter("shape", "The plain form for the current month.", {"enum": ["flat"]}),
        ],
        "responses": _answers(
            _read({"anyOf": [_ref("AccountUsage"), _ref("FlatUsage")]}, "What it used."), "404"
        ),
    }


def _of_accounts() -> Json:
    accounts = {"type": "array", "items": _ACCOUNT, "maxItems": MAX_ACCOUNTS}
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
        "responses": _answers(_read(_ref("AccountsUsage"), "What they used.")),
    }


def _of_meters() -> Json:
    return {
        "operationId": "readMeters",
        "summary": "What is counted, and since when",
        "description": "Scope `account:usage:read`.",
        "responses": _answers(_read(_ref("Meters"), "The meters.")),
    }


def _of_events() -> Json:
    event = {"schema": _ref("Event")}
    batch = {"schema": {"type": "array", "items": _ref("Event"), "maxItems": MAX_BATCH_EVENTS}}
    outcomes = {"content": {"application/json": {"schema": _ref("Outcomes")}}}
    return {
        "operationId": "sendEvents",
        "summary": "CloudEvents 1.0 in",
        "description": "Scope `account:usage:write` for each event's account. An event is known by its source "
        "and id: sent again it is a duplicate, and counts once. A 2xx is said after the events are on disk; "
        "after a 429, a 503 or no answer, send the same again. Binary mode (ce-* headers) is taken as well. "
        f"At most {MAX_BODY_BYTES} bytes, {MAX_BATCH_EVENTS} events and {MAX_EVENT_BYTES} bytes an event.",
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


_TIME: Final = {"type": "string", "format": "date-time"}
_SPAN: Final = {"start": _TIME, "end": _TIME}
_AMOUNTS: Final = {"type": "object", "additionalProperties": {"type": "number"}}
_GROUPS: Final = {"type": "object", "additionalProperties": {"type": "array", "items": _ref("Group")}}
_USAGE: Final = {
    "account": _ACCOUNT,
    "meters": _AMOUNTS,
    "groups": _GROUPS,
    "incomplete_before": {
        "type": "object",
        "description": "Meters that do not reach back to the start of the period, with the first day that "
        "they are whole for.",
        "additionalProperties": _TIME,
    },
    "windows": {"type": "array", "items": _ref("Window")},
    "series": {
        "type": "object",
        "additionalProperties": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["start", "end", "value"],
                "properties": {**_SPAN, "value": {"type": "number"}},
            },
        },
    },
}
_SCHEMAS: Final[Json] = {
    "Period": {"type": "object", "required": ["start", "end"], "properties": _SPAN},
    "AccountUsage": {
        "type": "object",
        "required": ["account", "period", "meters"],
        "properties": {**_USAGE, "period": _ref("Period")},
        "additionalProperties": False,
    },
    "FlatUsage": {
        "type": "object",
        "description": "`current_month_` and the meter's name, for each meter.",
        "patternProperties": {"^current_month_": {"type": "number"}},
        "additionalProperties": False,
    },
    "AccountsUsage": {
        "type": "object",
        "required": ["period", "accounts"],
        "properties": {
            "period": _ref("Period"),
            "accounts": {
                "type": "array",
                "maxItems": MAX_ACCOUNTS,
                "items": {
                    "type": "object",
                    "required": ["account", "meters"],
                    "properties": _USAGE,
                    "additionalProperties": False,
                },
            },
            "unknown": {"type": "array", "items": {"type": "string"}},
            "limit": {"type": "integer", "minimum": 1, "maximum": MAX_ACCOUNTS},
            "next": {"type": "string"},
        },
        "additionalProperties": False,
    },
    "Window": {
        "type": "object",
        "required": ["start", "end", "meters"],
        "properties": {**_SPAN, "meters": _AMOUNTS, "groups": _GROUPS},
        "additionalProperties": False,
    },
    "Group": {
        "type": "object",
        "description": "The values of the dimensions asked for, or `overflow` for the groups beyond the "
        "meter's `maxGroups`.",
        "required": ["value"],
        "properties": {"value": {"type": "number"}, "overflow": {"const": True}},
        "additionalProperties": {"type": ["string", "number", "boolean", "null"]},
    },
    "Meters": {
        "type": "object",
        "required": ["meters"],
        "properties": {"meters": {"type": "array", "items": _ref("Meter")}},
        "additionalProperties": False,
    },
    "Meter": {
        "type": "object",
        "required": ["name", "event_type", "aggregation"],
        "properties": {
            "name": {"type": "string"},
            "event_type": {"type": "string"},
            "aggregation": {"enum": ["count", "sum", "max", "unique_count"]},
            "value": {"type": "string"},
            "unit": {"type": "string"},
            "group_by": {"type": "array", "items": {"type": "string"}},
            "max_groups": {"type": "integer"},
            "retention_days": {"type": "integer"},
            "since": _TIME,
            "complete_from": _TIME,
        },
        "additionalProperties": False,
    },
    "Event": {
        "type": "object",
        "description": "CloudEvents 1.0; `subject` is the account.",
        "required": ["specversion", "id", "source", "type", "subject"],
        "properties": {
            "specversion": {"const": "1.0"},
            "id": {"type": "string", "minLength": 1, "maxLength": 256},
            "source": {"type": "string", "minLength": 1, "maxLength": 1024},
            "type": {"type": "string", "minLength": 1, "maxLength": 253},
            "subject": _ACCOUNT,
            "time": _TIME,
            "data": True,
        },
    },
    "Outcomes": {
        "type": "object",
        "required": ["stored", "duplicates", "refused", "results"],
        "properties": {
            "stored": {"type": "integer"},
            "duplicates": {"type": "integer"},
            "refused": {"type": "integer"},
            "results": {"type": "array", "items": _ref("Outcome")},
        },
        "additionalProperties": False,
    },
    "Outcome": {
        "type": "object",
        "required": ["index", "outcome"],
        "properties": {
            "index": {"type": "integer"},
            "outcome": {"enum": ["stored", "duplicate", "refused"]},
            "differs": {"type": "array", "items": {"type": "string"}},
            "late": {"const": True, "description": "It counts for a month that was over when it came."},
            "code": {"type": "string"},
            "field": {"type": "string"},
            "detail": {"type": "string"},
            "remedy": {"type": "string"},
        },
        "additionalProperties": False,
    },
    "Problem": {
        "type": "object",
        "required": ["type", "title", "status", "detail"],
        "properties": {
            "type": {"type": "string"},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string"},
            "reason": {"type": "string"},
            "remedy": {"type": "string"},
            "parameter": {"type": "string"},
            "decision_id": {"type": "string"},
        },
    },
}
