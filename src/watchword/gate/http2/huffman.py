# SPDX-License-Identifier: Apache-2.0
"""Huffman codes of field blocks (RFC 7541, section 5.2 and appendix B), expanded a byte at a time.

The library goes half a byte at a time, through a table of states by four bits. The rows here are for a state
by eight, put together out of that table when a code first comes there: most codes need few of the 256.
"""

from typing import Final

from hpack.exceptions import HPACKDecodingError
from hpack.huffman_table import HUFFMAN_COMPLETE, HUFFMAN_EMIT_SYMBOL, HUFFMAN_FAIL, HUFFMAN_TABLE

# By the value of a byte: the row that the next one is looked up in, and the symbols that are whole by then.
_Row = list[tuple["_Row", bytes]]

_ROWS: Final[list[_Row]] = [[] for _ in range(256)]
_STATES: Final = {id(row): state for state, row in enumerate(_ROWS)}
# Where no code goes on; it leads to itself.
_NOWHERE: Final[_Row] = []
_NOWHERE.extend([(_NOWHERE, b"")] * 256)
# Where a code may end: behind a symbol, or behind fewer than eight bits of padding.
_ENDS: Final = {
    id(_ROWS[0]),
    *(id(_ROWS[state]) for state, flags, _ in HUFFMAN_TABLE if flags & HUFFMAN_COMPLETE),
}


def expand(code: bytes) -> bytes:
    """The text of a code.

    Raises:
        HPACKDecodingError: it is none.
    """
    row = _ROWS[0]
    texts: list[bytes] = []
    add = texts.append
    for byte in code:
        if not row:
            _fill(row)
        row, text = row[byte]
        add(text)
    if id(row) not in _ENDS:
        raise HPACKDecodingError("a text is no Huffman code, or not a whole one")
    return b"".join(texts)


def _fill(row: _Row) -> None:
    begin = _STATES[id(row)]
    for byte in range(256):
        state, text, is_none = begin, b"", 0
        for half in (byte >> 4, byte & 0xF):
            state, flags, symbol = HUFFMAN_TABLE[state * 16 + half]
            is_none |= flags & HUFFMAN_FAIL
            if flags & HUFFMAN_EMIT_SYMBOL:
                text += bytes((symbol,))
        row.append((_NOWHERE, b"") if is_none else (_ROWS[state], text))
