# SPDX-License-Identifier: Apache-2.0
"""Files as people have them: UTF-8 with or without a byte order mark, and a clear word about anything else.

Windows editors and PowerShell write a mark in front, or UTF-16; a parser then complains about the first
character, and the person looks at a file that is all right on the screen.
"""

import codecs
from typing import Final

_MARKS: Final = (
    (codecs.BOM_UTF8, "UTF-8"),
    # Before UTF-16: the mark of UTF-32 in little-endian order begins with that of UTF-16.
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)
_LOOKED_AT: Final = 64


class TextEncodingError(ValueError):
    """A file that is not UTF-8.

    Attributes:
        detail: what it is, as far as that can be told.
        remedy: how to make it UTF-8.
    """

    def __init__(self, detail: str, remedy: str) -> None:
        super().__init__(f"{detail}. Remedy: {remedy}")
        self.detail, self.remedy = detail, remedy


def as_utf8(data: bytes) -> bytes:
    """A file's bytes as UTF-8 without a byte order mark (RFC 3629, section 6).

    Raises:
        TextEncodingError: UTF-16 or UTF-32, or bytes that are not UTF-8; names the line.
    """
    found = next(((mark, name) for mark, name in _MARKS if data.startswith(mark)), None)
    if found is not None and found[1] == "UTF-8":
        data = data[len(found[0]) :]
    elif found is not None or _looks_like_utf16(data):
        name = found[1] if found is not None else "UTF-16"
        raise TextEncodingError(
            f"the file is {name}, and UTF-8 is read",
            f"save it as UTF-8, for example with `iconv -f {name} -t UTF-8` or PowerShell's `-Encoding utf8`",
        )
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise TextEncodingError(
            f"line {line} holds the byte 0x{data[error.start]:02x}, which is not UTF-8", "save it as UTF-8"
        ) from None
    return data


def _looks_like_utf16(data: bytes) -> bool:
    """Whether every second byte at the beginning is zero, as in UTF-16 without a mark."""
    start = data[:_LOOKED_AT]
    return len(start) >= 4 and (not any(start[0::2]) or not any(start[1::2]))
