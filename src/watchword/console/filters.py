# SPDX-License-Identifier: Apache-2.0
"""What a page's query string may say, and the part of a list that one page shows.

A filter that is passed over would show more than was asked for, so that a name which is not known, comes
twice or is too long is refused by name.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Generic, TypeVar
from urllib.parse import parse_qsl, urlencode

import msgspec

MAX_VALUE: Final = 200
MAX_QUERY_BYTES: Final = 4096
PAGE_ROWS: Final = 50
_MAX_PAGE: Final = 100_000
_T = TypeVar("_T")


class BadQueryError(ValueError):
    """A query string that no page takes.

    Attributes:
        field: the parameter at fault.
        detail: what is wrong with it.
        remedy: what would be right.
    """

    def __init__(self, field: str, detail: str, remedy: str) -> None:
        super().__init__(f"{field}: {detail}. {remedy}")
        self.field, self.detail, self.remedy = field, detail, remedy


class Page(msgspec.Struct, Generic[_T], frozen=True):
    """A part of a list.

    Attributes:
        rows: what is shown.
        total: how many there are in all.
        number: which page it is, from 1.
        pages: how many there are.
    """

    rows: Sequence[_T]
    total: int
    number: int
    pages: int

    @property
    def first(self) -> int:
        """The place of its first row, from 1; 0: there is none."""
        return (self.number - 1) * PAGE_ROWS + 1 if self.rows else 0

    @property
    def last(self) -> int:
        """The place of its last row."""
        return self.first + len(self.rows) - 1 if self.rows else 0


class Query(dict[str, str]):
    """The parameters of a page; one that was not given is empty."""

    def __missing__(self, name: str) -> str:
        return ""


def read_query(query: bytes, allowed: Iterable[str]) -> Query:
    """The parameters of a query string, those without a value left out.

    Raises:
        BadQueryError: one that is not known, comes twice, or is too long.
    """
    names = tuple(allowed)
    if len(query) > MAX_QUERY_BYTES:
        detail = f"the query string has {len(query)} bytes, and at most {MAX_QUERY_BYTES} are read"
        raise BadQueryError("query", detail, "Leave something out.")
    try:
        pairs = parse_qsl(query.decode("ascii"), keep_blank_values=True, errors="strict")
    except ValueError:
        detail = "the query string is not percent-encoded UTF-8"
        raise BadQueryError("query", detail, "Use the page's own fields.") from None
    found: dict[str, str] = {}
    for name, value in pairs:
        if name not in names:
            detail = f"{name[:40]!a} is not a parameter of this page"
            raise BadQueryError(ascii(name[:40])[1:-1], detail, f"Use one of {', '.join(names) or 'none'}.")
        if name in found:
            raise BadQueryError(name, "it is given twice", "Give it once.")
        if len(value) > MAX_VALUE:
            detail = f"it has {len(value)} characters, and at most {MAX_VALUE} are read"
            raise BadQueryError(name, detail, "Give a shorter one.")
        found[name] = value.strip()
    return Query({name: value for name, value in found.items() if value})


def page_of(rows: Sequence[_T], query: Mapping[str, str], name: str = "page") -> Page[_T]:
    """The page of a list that a query asks for.

    Raises:
        BadQueryError: not a page's number, or one that is not there.
    """
    given = query.get(name, "1")
    pages = max(1, -(-len(rows) // PAGE_ROWS))
    number = int(given) if given.isascii() and given.isdigit() and len(given) < 7 else 0
    if not 1 <= number <= min(pages, _MAX_PAGE):
        raise BadQueryError(name, f"there is no page {given[:20]!a}", f"There are 1 to {pages}.")
    start = (number - 1) * PAGE_ROWS
    return Page(rows[start : start + PAGE_ROWS], len(rows), number, pages)


def link(path: str, query: Mapping[str, str], **changes: str | None) -> str:
    """A path with a query string in which some parameters are others; None takes one out."""
    asked: dict[str, str | None] = {**query, **changes}
    kept = {name: value for name, value in asked.items() if value}
    return f"{path}?{urlencode(kept)}" if kept else path


def matches(text: str, *values: str) -> bool:
    """Whether one of the values holds a text, whatever the case; an empty text is in all."""
    folded = text.casefold()
    return not folded or any(folded in each.casefold() for each in values)
