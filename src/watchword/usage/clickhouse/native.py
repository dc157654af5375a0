# SPDX-License-Identifier: Apache-2.0
"""Rows as one block of ClickHouse's Native format, and keys as a parameter: column by column, in few steps.

A client that converts value by value takes longer for a batch than the server takes to store it. Here each
different value is written once, and a column is joined from what was written.
"""

from __future__ import annotations

import struct
import uuid
from collections.abc import Callable, Iterable, Sequence
from decimal import Context, Decimal
from typing import Any, Final

_SCALE: Final = 30
# All digits of Decimal(76, 30), so that nothing is rounded on its way.
_WIDE: Final = Context(prec=100)


class Numbers:
    """Whole numbers as the parameter of an Array: the client asks for the text of a value that it does not
    know, where it would write number by number.
    """

    def __init__(self, numbers: Iterable[int]) -> None:
        """Write the numbers."""
        self._text = f"[{','.join(map(str, numbers))}]"

    def __str__(self) -> str:
        """Give the text that the server reads."""
        return self._text


def short_keys(keys: Iterable[bytes]) -> Numbers:
    """Give the first eight bytes of each key as numbers: enough to find a key's few rows."""
    return Numbers(short_key(key) for key in keys)


def short_key(key: bytes) -> int:
    """Give the first eight bytes of a key as a number."""
    return int.from_bytes(key[:8], "big")


def block(columns: Sequence[tuple[str, str]], count: int, values: Sequence[Sequence[Any] | bytes]) -> bytes:
    """Write columns of `count` values as one block; `columns` are names with their types. The values of a
    column in bytes are written already.
    """
    pieces = [_length(len(columns)), _length(count)]
    for (name, kind), these in zip(columns, values, strict=True):
        pieces += [
            _text(name),
            _text(kind),
            these if isinstance(these, bytes) else column(kind, these),
        ]
    return b"".join(pieces)


def column(kind: str, values: Sequence[Any]) -> bytes:
    """Write the values of a column of a type."""
    layout = _NUMBERS.get(kind)
    if layout is not None:
        return struct.pack(f"<{len(values)}{layout}", *values)
    if kind.startswith("Nullable("):
        nulls = bytes(value is None for value in values)
        return nulls + _each(_text, ["" if value is None else value for value in values])
    if kind.startswith("FixedString("):
        return b"".join(values)
    return _each(_WRITERS[kind], values)


def _each(write: Callable[[Any], bytes], values: Sequence[Any]) -> bytes:
    written = {value: write(value) for value in set(values)}
    return b"".join(map(written.__getitem__, values))


def _text(value: str) -> bytes:
    raw = value.encode()
    return _length(len(raw)) + raw


def _length(number: int) -> bytes:
    if number < 128:
        return _SMALL[number]
    found = bytearray()
    while number >= 128:
        found.append(number & 127 | 128)
        number >>= 7
    found.append(number)
    return bytes(found)


def _uuid(value: uuid.UUID) -> bytes:
    return struct.pack("<QQ", value.int >> 64, value.int & (2**64 - 1))


def _decimal(value: Decimal) -> bytes:
    return int(value.scaleb(_SCALE, _WIDE)).to_bytes(32, "little", signed=True)


_SMALL: Final = [bytes((number,)) for number in range(128)]
_NUMBERS: Final = {"Int32": "i", "Int64": "q", "UInt8": "B", "UInt64": "Q"}
_WRITERS: Final[dict[str, Callable[[Any], bytes]]] = {
    "String": _text,
    "UUID": _uuid,
    f"Decimal(76, {_SCALE})": _decimal,
}
