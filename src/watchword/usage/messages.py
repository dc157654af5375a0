# SPDX-License-Identifier: Apache-2.0
"""From an HTTP body and its headers to usage events: CloudEvents 1.0 in structured, batched and binary mode.

Pure: bytes in, values out. A body that cannot be read at all is one problem; otherwise each event of a batch
gets its own answer, so that one bad event neither takes 999 good ones with it nor disappears among them.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from typing import Final
from urllib.parse import unquote_to_bytes

import msgspec

from watchword.usage.events import (
    FUTURE_SKEW_SECONDS,
    Event,
    EventRefusedError,
    Receipt,
    event_of,
)
from watchword.usage.media_types import is_json_media_type, split_media_type
from watchword.usage.problems import BodyProblem, EventProblem, named, shown
from watchword.usage.strict_json import Flaw, StrictReader
from watchword.usage.weight import MAX_VALUES, Weight, weigh

MAX_BODY_BYTES: Final = 1_048_576
MAX_EVENT_BYTES: Final = 65_536
MAX_BATCH_EVENTS: Final = 1000

STRUCTURED: Final = "application/cloudevents+json"
BATCHED: Final = "application/cloudevents-batch+json"

Headers = Sequence[tuple[bytes, bytes]]
Parsed = list[Event | EventProblem]

_EXACT_JSON = msgspec.json.Encoder(decimal_format="number")
_BAD_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_QUOTED_PAIR = re.compile(r"\\(.)")


def parse_events(
    body: bytes,
    headers: Headers,
    now: float,
    *,
    future_skew_seconds: float = FUTURE_SKEW_SECONDS,
    late_days: int | None = None,
    weight: Weight | None = None,
) -> Parsed | BodyProblem:
    """Read the events of one HTTP message (CloudEvents HTTP binding 1.0.2, section 3). Never raises.

    `headers` are pairs of bytes as an ASGI scope has them. `now` is the time of receipt, in seconds since the
    epoch: the time of events that have none. Events more than `future_skew_seconds` ahead of it are refused,
    and those of days more than `late_days` before its day; without the latter, all from 1970 on are taken.
    `weight` is what `weigh` said of the body, where the caller asked already; nothing is made of a body
    that comes to too much. Answers with one Event or EventProblem per event, in the order of the
    batch.
    """
    if len(body) > MAX_BODY_BYTES:
        return BodyProblem(
            413,
            "body_too_large",
            f"the body has {len(body)} bytes",
            f"send at most {MAX_BODY_BYTES} bytes a request; split the batch",
        )
    named = [(name.lower(), value) for name, value in headers]
    encodings = [value.strip().lower() for name, value in named if name == b"content-encoding"]
    if any(encoding != b"identity" for encoding in encodings):
        return BodyProblem(
            415, "unsupported_encoding", "the body is compressed", "send it without Content-Encoding"
        )
    content_types = [value for name, value in named if name == b"content-type"]
    if len(content_types) > 1:
        return BodyProblem(
            400, "repeated_content_type", "there are several Content-Type headers", "send exactly one"
        )
    content_type = content_types[0].decode("latin-1") if content_types else ""
    media_type, charset = split_media_type(content_type)
    attributes = [(name[3:], value) for name, value in named if name.startswith(b"ce-")]
    receipt = Receipt(now, future_skew_seconds, late_days)
    if excess := _excess(weigh(body) if weight is None else weight, batched=media_type == BATCHED):
        return excess
    if media_type.startswith("application/cloudevents"):
        if media_type not in (STRUCTURED, BATCHED) or charset not in (None, "utf-8"):
            return _unsupported(content_type)
        return _json_mode(body, batched=media_type == BATCHED, receipt=receipt)
    if attributes and (is_json_media_type(content_type) or not (content_type or body)):
        try:
            return [_binary_event(body, attributes, content_type, receipt)]
        except EventRefusedError as refused:
            return [refused.problem(0)]
    return _unsupported(content_type)


def _excess(weight: Weight, *, batched: bool) -> BodyProblem | None:
    """What a body has too much of, or None."""
    if weight.values > MAX_VALUES:
        return BodyProblem(
            413,
            "too_many_values",
            f"the body has {weight.values} values, counting elements, members and their names",
            f"send at most {MAX_VALUES} a request; split the batch, or send sums instead of lists",
        )
    if batched and weight.elements > MAX_BATCH_EVENTS:
        return _too_many_events()
    return None


def _too_many_events() -> BodyProblem:
    return BodyProblem(
        413,
        "too_many_events",
        f"the batch has more than {MAX_BATCH_EVENTS} events",
        f"send at most {MAX_BATCH_EVENTS} events a request",
    )


def _unsupported(content_type: str) -> BodyProblem:
    return BodyProblem(
        415,
        "unsupported_content_type",
        f"Content-Type {shown(content_type)} is not CloudEvents in JSON"
        if content_type
        else "no Content-Type",
        f"send {STRUCTURED}, {BATCHED}, or application/json with ce-* headers; UTF-8",
    )


def _not_json(detail: str) -> BodyProblem:
    return BodyProblem(400, "malformed_body", detail, "send one JSON document in UTF-8 (RFC 8259)")


def _json_mode(body: bytes, *, batched: bool, receipt: Receipt) -> Parsed | BodyProblem:
    try:
        reader = StrictReader(body.decode())
    except UnicodeDecodeError:
        return _not_json("the body is not UTF-8")
    try:
        if batched:
            return _batch(reader, receipt)
        value, end, flaw = reader.value_at(reader.skip_whitespace(0))
        if reader.skip_whitespace(end) != len(reader.text):
            return _not_json("there is something after the JSON document")
        return [_structured(0, value, len(body), flaw, receipt)]
    except ValueError:
        return _not_json("the body is not JSON")
    except RecursionError:
        return _not_json("the body is nested too deep")


def _batch(reader: StrictReader, receipt: Receipt) -> Parsed | BodyProblem:
    """Read the array element by element: memory stays bounded, and a flaw in one does not hide the next."""
    text = reader.text
    position = reader.skip_whitespace(0)
    if text[position : position + 1] != "[":
        return _not_json("a batch is a JSON array, and this is not one")
    results: Parsed = []
    position = reader.skip_whitespace(position + 1)
    closed = text[position : position + 1] == "]"
    while not closed:
        if len(results) == MAX_BATCH_EVENTS:
            return _too_many_events()
        value, end, flaw = reader.value_at(position)
        # An ASCII character is one byte; only what is near the bound needs to be encoded to know.
        size = end - position
        if size <= MAX_EVENT_BYTES < size * 4:
            size = len(text[position:end].encode())
        results.append(_structured(len(results), value, size, flaw, receipt))
        position = reader.skip_whitespace(end)
        separator = text[position : position + 1]
        if separator not in (",", "]") or not separator:
            return _not_json("the batch is not a well-formed JSON array")
        closed = separator == "]"
        if not closed:
            position = reader.skip_whitespace(position + 1)
    if reader.skip_whitespace(position + 1) != len(text):
        return _not_json("there is something after the JSON document")
    return results


def _structured(
    index: int, value: object, size: int, flaw: Flaw | None, receipt: Receipt
) -> Event | EventProblem:
    """Read one event of the JSON format (CloudEvents JSON format 1.0.2, sections 2 and 3)."""
    try:
        _check_size(size)
        if flaw is not None:
            raise EventRefusedError(flaw.code, "event", flaw.detail, flaw.remedy)
        if not isinstance(value, dict):
            raise EventRefusedError(
                "not_an_object", "event", "it is not a JSON object", "send a CloudEvents object"
            )
        attributes = dict(value)
        absent = "data" not in attributes
        data = attributes.pop("data", None)
        binary = attributes.pop("data_base64", None)
        if binary is not None:
            if not absent:
                raise EventRefusedError(
                    "two_data_members", "data_base64", "the event has `data` too", "send only one of them"
                )
            _check_base64(binary)
        return event_of(
            index,
            attributes,
            data=data,
            data_text=None if absent else _json_text(data),
            data_base64=binary,
            receipt=receipt,
        )
    except EventRefusedError as refused:
        return refused.problem(index)


def _binary_event(
    body: bytes, headers: list[tuple[bytes, bytes]], content_type: str, receipt: Receipt
) -> Event:
    """Read one event whose attributes are headers (CloudEvents HTTP binding 1.0.2, section 3.1)."""
    _check_size(len(body) + sum(len(name) + len(value) for name, value in headers))
    attributes: dict[str, object] = {}
    for raw_name, raw_value in headers:
        name = raw_name.decode("latin-1")
        if name in attributes:
            raise EventRefusedError(
                "repeated_header", f"ce-{named(name)}", "the header comes twice", "send it once"
            )
        if name in ("datacontenttype", "data", "data_base64"):
            raise EventRefusedError(
                "unexpected_header",
                f"ce-{name}",
                "in binary mode the body is the data, and Content-Type its type",
                "leave this header out",
            )
        attributes[name] = _header_text(name, raw_value)
    if content_type:
        attributes["datacontenttype"] = content_type
    data, data_text = (None, None) if not body else _body_data(body)
    return event_of(
        0,
        attributes,
        data=data,
        data_text=data_text,
        data_base64=None,
        receipt=receipt,
    )


def _body_data(body: bytes) -> tuple[object, str]:
    try:
        reader = StrictReader(body.decode())
        data, end, flaw = reader.value_at(reader.skip_whitespace(0))
        if reader.skip_whitespace(end) != len(reader.text):
            raise ValueError("something follows")
    except (ValueError, RecursionError):  # UnicodeDecodeError is a ValueError
        raise EventRefusedError(
            "malformed_data", "data", "the body is not one JSON document in UTF-8", "send JSON (RFC 8259)"
        ) from None
    if flaw is not None:
        raise EventRefusedError(flaw.code, "data", flaw.detail, flaw.remedy)
    return data, _json_text(data)


def _header_text(name: str, raw: bytes) -> str:
    """Decode a header: quoted string, then percent-encoded UTF-8 (HTTP binding 1.0.2, section 3.1.3.2)."""
    try:
        text = raw.decode("ascii").strip(" \t")
        if len(text) >= 2 and text[0] == text[-1] == '"':
            text = _QUOTED_PAIR.sub(r"\1", text[1:-1])
        if _BAD_PERCENT.search(text):
            raise ValueError("a percent sign without two hexadecimal digits")
        return unquote_to_bytes(text).decode()
    except ValueError:
        raise EventRefusedError(
            "malformed_header",
            f"ce-{named(name)}",
            "the value is not percent-encoded UTF-8",
            "percent-encode everything outside printable ASCII, and the percent sign itself",
        ) from None


def _check_size(size: int) -> None:
    if size > MAX_EVENT_BYTES:
        raise EventRefusedError(
            "event_too_large",
            "event",
            f"it has {size} bytes",
            f"send at most {MAX_EVENT_BYTES} bytes an event",
        )


def _check_base64(binary: object) -> None:
    try:
        if isinstance(binary, str) and base64.b64encode(
            base64.b64decode(binary, validate=True)
        ) == binary.encode("ascii"):
            return
    except (binascii.Error, ValueError):
        pass
    raise EventRefusedError(
        "malformed_base64",
        "data_base64",
        "it is not a string of padded base64 (RFC 4648, section 4)",
        "send the data as JSON in `data`",
    )


def _json_text(data: object) -> str:
    try:
        return _EXACT_JSON.encode(data).decode()
    except UnicodeEncodeError:
        raise EventRefusedError(
            "invalid_characters",
            "data",
            "a string has half of a surrogate pair, which is no text",
            "send whole characters",
        ) from None
