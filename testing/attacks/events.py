# SPDX-License-Identifier: Apache-2.0
"""U1 and U2: events and meters that try to reach the store's language, or to be counted for no one or twice.

The reason is the stable code of the event's or the meter's problem.
"""

from functools import partial
from typing import Any

from testing.attacks.case import Case, cases
from testing.usage_samples import envelope
from watchword.usage import MAX_EVENT_BYTES

SQL = ("'; DROP TABLE events; --", '"; DELETE FROM events; --', "x' OR '1'='1", "a\"]') FROM t--")

POINTERS: list[Case[dict[str, Any]]] = cases(
    "U1",
    "refused",
    [
        (
            f"{field} {value!r}",
            partial(
                dict, **{"name": "m", "event_type": "e", "aggregation": "sum", "value": "/v", field: value}
            ),
        )
        for field, value in (
            ("value", "bytes"),
            ("value", "$.bytes"),
            ("value", "bytes') FROM t--"),
            ("value", "/a~2b"),
            ("value", "/a~"),
            ("value", "/" + "a" * 300),
            ("value", None),
            ("aggregation", "avg"),
            ("aggregation", "sum(x); --"),
            ("aggregation", ""),
            ("name", ""),
            ("name", "m\0"),
            ("name", "m\n"),
            ("name", "m" * 300),
            ("event_type", ""),
            ("event_type", "e\x1b[2J"),
        )
    ],
)
# Pointers and names that are legal, and must only ever be compared with, never run.
HARMLESS = [f"/{text}" for text in (*SQL, "a'b", "%s", "{x}", "$1", "?", ":v", "../../etc/passwd")]

EVENTS: list[Case[dict[str, Any]]] = [
    *cases(
        "U2",
        "invalid_account",
        [
            (f"subject {name}", partial(envelope, subject=value))
            for name, value in {
                "empty": "",
                "with a line break": "acme\n",
                "with a NUL": "acme\0",
                "of 300 letters": "a" * 300,
                "with DEL": "acme\x7f",
                "with a C1 control": "acme\x85",
            }.items()
        ],
    ),
    *cases(
        "U2",
        "missing_attribute",
        [
            (f"no {name}", partial(envelope, **{name: ...}))
            for name in ("subject", "id", "source", "specversion")
        ],
    ),
    *cases(
        "U2",
        "not_a_string",
        [
            ("subject a list of two", partial(envelope, subject=["acme", "other"])),
            ("subject an object", partial(envelope, subject={"$ne": ""})),
            ("subject a number", partial(envelope, subject=1)),
            ("id a number", partial(envelope, id=1)),
            ("id true", partial(envelope, id=True)),
            ("source an object", partial(envelope, source={})),
        ],
    ),
    *cases("U2", "empty_attribute", [("an empty id", partial(envelope, id=""))]),
    *cases(
        "U2",
        "attribute_too_long",
        [
            ("id of 300 letters", partial(envelope, id="i" * 300)),
            ("source of 2000 letters", partial(envelope, source="/" * 2000)),
        ],
    ),
    *cases(
        "U2", "invalid_source", [("source with SQL", partial(envelope, source="'; DROP TABLE events; --"))]
    ),
    *cases(
        "U2",
        "invalid_characters",
        [
            ("id with a NUL", partial(envelope, id="1\0")),
            ("id half a surrogate pair", partial(envelope, id="\ud800")),
        ],
    ),
    *cases("U2", "unsupported_specversion", [("specversion 0.3", partial(envelope, specversion="0.3"))]),
    *cases("U2", "event_from_the_future", [("a year ahead", partial(envelope, time="2027-11-24T00:00:00Z"))]),
    *cases("U2", "time_before_1970", [("before time", partial(envelope, time="1900-01-01T00:00:00Z"))]),
    *cases(
        "U2",
        "invalid_time",
        [
            ("time with SQL", partial(envelope, time="2026-11-03' OR '1'='1")),
            ("time a number", partial(envelope, time=1)),
            ("time without a zone", partial(envelope, time="2026-11-03T10:00:00")),
        ],
    ),
    *cases("U2", "two_data_members", [("data twice", partial(envelope, data_base64="AA=="))]),
    *cases("U2", "malformed_base64", [("loose base64", partial(envelope, data=..., data_base64="AB=="))]),
    *cases("U2", "event_too_large", [("64 KiB and more", partial(envelope, data="x" * MAX_EVENT_BYTES))]),
    *cases(
        "U2",
        "invalid_attribute_name",
        [
            ("an attribute in upper case", partial(envelope, Subject="other")),
            ("an attribute with SQL", partial(envelope, **{"a;--": "x"})),
        ],
    ),
]
