# SPDX-License-Identifier: Apache-2.0
"""What goes in and out of the usage endpoints, as JSON Schema.

Answers are closed (`additionalProperties: false`): a member that is not written down fails the tests, and
cannot become something that a caller relies on by accident.
"""

from typing import Any, Final

from watchword.usage import MAX_ACCOUNT_CHARACTERS, MAX_ACCOUNTS

Json = dict[str, Any]
ACCOUNT: Final = {"type": "string", "minLength": 1, "maxLength": MAX_ACCOUNT_CHARACTERS}


def ref(name: str) -> Json:
    """Point to one of these schemas."""
    return {"$ref": f"#/components/schemas/{name}"}


_TIME: Final = {"type": "string", "format": "date-time"}
_SPAN: Final = {"start": _TIME, "end": _TIME}
_AMOUNTS: Final = {"type": "object", "additionalProperties": {"type": "number"}}
_GROUPS: Final = {"type": "object", "additionalProperties": {"type": "array", "items": ref("Group")}}
_USAGE: Final = {
    "account": ACCOUNT,
    "meters": _AMOUNTS,
    "groups": _GROUPS,
    "incomplete_before": {
        "type": "object",
        "description": "Meters that do not reach back to the start of the period, with the first day that "
        "they are whole for.",
        "additionalProperties": _TIME,
    },
    "windows": {"type": "array", "items": ref("Window")},
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
SCHEMAS: Final[Json] = {
    "Period": {"type": "object", "required": ["start", "end"], "properties": _SPAN},
    "AccountUsage": {
        "type": "object",
        "required": ["account", "period", "meters"],
        "properties": {**_USAGE, "period": ref("Period")},
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
            "period": ref("Period"),
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
        "properties": {
            "meters": {"type": "array", "items": ref("Meter")},
            "late_days": {
                "type": "integer",
                "description": "How many days ago an event may be; absent where that is not bounded.",
            },
        },
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
            "subject": ACCOUNT,
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
            "results": {"type": "array", "items": ref("Outcome")},
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
