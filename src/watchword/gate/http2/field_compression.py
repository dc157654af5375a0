# SPDX-License-Identifier: Apache-2.0
"""HPACK (RFC 7541) at less cost than the library's own classes, whose tables and Huffman codes these use.

A call repeats its caller's token, for many clients without the table: expanding its Huffman code, symbol by
symbol, is a third of the work for a call. And towards an app, which is next door, searching a table of what
was sent costs more than the bytes that it saves.
"""

from collections.abc import Iterable
from typing import Final

from hpack.exceptions import HPACKDecodingError, OversizedHeaderListError
from hpack.hpack import Decoder, Encoder, decode_integer, encode_integer
from hpack.struct import HeaderTuple, NeverIndexedHeaderTuple
from hpack.table import HeaderTable

from watchword.gate.http2.huffman import expand

# What one connection remembers of the texts that it expanded, in bytes: two tokens with their codes. Shorter
# ones are not worth it.
REMEMBERED_BYTES: Final = 4096
_WORTH_REMEMBERING: Final = 16
# What an entry of a table takes next to its name and value (RFC 7541, section 4.1).
_ENTRY_BYTES: Final = 32
_INDEXED, _WITH_INDEXING, _TABLE_SIZE, _NEVER_INDEXED, _HUFFMAN = 0x80, 0x40, 0x20, 0x10, 0x80


class RememberingDecoder(Decoder):
    """Reads field blocks as the library does, and expands a text that it expanded just before only once."""

    def __init__(self) -> None:
        """Remember nothing yet."""
        super().__init__()
        self._expanded: dict[bytes, bytes] = {}
        self._remembered_bytes = 0

    def decode(self, data: bytes, raw: bool = True) -> list[HeaderTuple]:
        """Give the fields of a block, names and values as bytes, in order.

        Raises:
            HPACKDecodingError: it cannot be read, and neither can what follows on the connection.
            OversizedHeaderListError: its fields come to more than `max_header_list_size`.
        """
        del raw
        table, fields, size, at, end = self.header_table, list[HeaderTuple](), 0, 0, len(data)
        while at < end:
            first = data[at]
            if first & _INDEXED:
                index, at = _integer(data, at, 7)
                field = HeaderTuple(*table.get_by_index(index))
            elif first & (_WITH_INDEXING | _TABLE_SIZE) == _TABLE_SIZE:
                if fields:
                    raise HPACKDecodingError("a table's size changes behind the first field")
                at += self._update_encoding_context(data[at:])
                continue
            else:
                index, at = _integer(data, at, 6 if first & _WITH_INDEXING else 4)
                if index:
                    name = table.get_by_index(index)[0]
                else:
                    name, at = self._text(data, at)
                value, at = self._text(data, at)
                if first & _WITH_INDEXING:
                    table.add(name, value)
                    field = HeaderTuple(name, value)
                else:
                    field = (NeverIndexedHeaderTuple if first & _NEVER_INDEXED else HeaderTuple)(name, value)
            fields.append(field)
            size += _ENTRY_BYTES + len(field[0]) + len(field[1])
            if size > self.max_header_list_size:
                raise OversizedHeaderListError(
                    f"the fields come to more than {self.max_header_list_size} bytes"
                )
        self._assert_valid_table_size()
        return fields

    def _text(self, data: bytes, at: int) -> tuple[bytes, int]:
        if at >= len(data):
            raise HPACKDecodingError("the block ends before a text")
        is_huffman = data[at] & _HUFFMAN
        length, at = _integer(data, at, 7)
        text = data[at : at + length]
        if len(text) != length:
            raise HPACKDecodingError("the block ends within a text")
        return self._expand(text) if is_huffman else text, at + length

    def _expand(self, code: bytes) -> bytes:
        if len(code) < _WORTH_REMEMBERING:
            return expand(code)
        known = self._expanded.get(code)
        if known is not None:
            return known
        text = expand(code)
        size = len(code) + len(text)
        if size <= REMEMBERED_BYTES:
            if self._remembered_bytes + size > REMEMBERED_BYTES:
                self._expanded.clear()
                self._remembered_bytes = 0
            self._expanded[code] = text
            self._remembered_bytes += size
        return text


class CountingEncoder(Encoder):
    """Writes field blocks as the library does, but says of a table's sizes what has to be said.

    Attributes:
        blocks: how many were begun. Each may have changed the table that all later ones refer to.
    """

    def __init__(self) -> None:
        """Write the first block of a connection next."""
        super().__init__()
        self.blocks = 0
        # Of the sizes since the last block; None: it did not change.
        self._smallest: int | None = None

    @property
    def header_table_size(self) -> int:
        """How large the table may become, in bytes."""
        return self.header_table.maxsize

    @header_table_size.setter
    def header_table_size(self, value: int) -> None:
        if self._smallest is not None or value != self.header_table.maxsize:
            self._smallest = value if self._smallest is None else min(self._smallest, value)
        self.header_table.maxsize = value
        # The library's own note, which forgets a change if the same size is said again.
        self.header_table.resized = False

    def encode(self, headers: Iterable[tuple[bytes, bytes]], huffman: bool = True) -> bytes:  # type: ignore[override]  # ours are bytes
        """Give the block of these fields."""
        self.blocks += 1
        return self._sizes() + super().encode(headers, huffman)

    def _sizes(self) -> bytes:
        """The smallest size since the last block, which drops entries, and the present one (section 4.2)."""
        smallest, self._smallest = self._smallest, None
        if smallest is None:
            return b""
        present = self.header_table.maxsize
        return b"".join(_size(each) for each in dict.fromkeys((smallest, present)))


class TablelessEncoder(CountingEncoder):
    """Writes each field by itself: what the static table has by its number, all else as it is.

    Nothing enters a table, here or at the other side, and no one on the way may put it into one either
    (section 7.1.3): there are tokens and identities among the fields.
    """

    def encode(self, headers: Iterable[tuple[bytes, bytes]], huffman: bool = False) -> bytes:  # type: ignore[override]  # ours are bytes
        """Give the block of these fields."""
        del huffman
        self.blocks += 1
        block = [self._sizes()]
        static = HeaderTable.STATIC_TABLE_MAPPING
        for name, value in headers:
            found = static.get(name)
            if found is None:
                block += (b"\x10", _length(name), name, _length(value), value)
            elif (index := found[1].get(value)) is not None:
                block.append(bytes((_INDEXED | index,)))
            else:
                prefix = encode_integer(found[0], 4)
                prefix[0] |= _NEVER_INDEXED
                block += (bytes(prefix), _length(value), value)
        return b"".join(block)


def _integer(data: bytes, at: int, bits: int) -> tuple[int, int]:
    """A number (section 5.1) and where it ends."""
    most = (1 << bits) - 1
    number = data[at] & most
    if number < most:
        return number, at + 1
    number, length = decode_integer(data[at:], bits)
    return number, at + length


def _size(number: int) -> bytes:
    update = encode_integer(number, 5)
    update[0] |= _TABLE_SIZE
    return bytes(update)


def _length(text: bytes) -> bytes:
    number = len(text)
    return bytes((number,)) if number < 0x7F else bytes(encode_integer(number, 7))
