# SPDX-License-Identifier: Apache-2.0
"""Stored events as CloudEvents again, to be carried to another store. Pure.

What comes out goes in again as the same event: the same key, the same time, the data digit for digit.
"""

from __future__ import annotations

import msgspec

from watchword.usage.events import Event
from watchword.usage.times import instant

_ENCODER = msgspec.json.Encoder(decimal_format="number")

COLUMNS = ("id", "source", "type", "subject", "time", "data", "data_base64", "extensions")
"""The columns of a table of events; `data` and `extensions` are JSON texts."""


def line_of(event: Event) -> bytes:
    """Write an event as one line of JSON (CloudEvents JSON format 1.0.2), without its end."""
    members: dict[str, object] = {
        "specversion": "1.0",
        "id": event.id,
        "source": event.source,
        "type": event.type,
        "subject": event.account,
        "time": instant(event.time),
    }
    if event.extensions is not None:
        members |= msgspec.json.decode(event.extensions)
    if event.data_text is not None:
        members["data"] = msgspec.Raw(event.data_text.encode())
    if event.data_base64 is not None:
        members["data_base64"] = event.data_base64
    return _ENCODER.encode(members)


def row_of(event: Event) -> tuple[str | None, ...]:
    """Give an event as a row of a table, in the order of COLUMNS."""
    return (
        event.id,
        event.source,
        event.type,
        event.account,
        instant(event.time),
        event.data_text,
        event.data_base64,
        event.extensions,
    )


def line_of_row(row: dict[str, str | None]) -> bytes:
    """Write a row of a table as the line of JSON that `line_of` would write.

    A column that is empty or None is left out; one that is no column of ours is an attribute. What is wrong
    in it is found when the line is read.
    """
    members: dict[str, object] = {"specversion": "1.0"}
    for name, text in row.items():
        if not text:
            continue
        if name == "data":
            members["data"] = msgspec.Raw(text.encode())
        elif name == "extensions":
            members |= _object(text)
        else:
            members[name] = text
    return _ENCODER.encode(members)


def _object(text: str) -> dict[str, object]:
    try:
        return msgspec.json.decode(text, type=dict[str, object])
    except msgspec.MsgspecError:
        return {"extensions": text}
