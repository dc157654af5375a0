# SPDX-License-Identifier: Apache-2.0
"""The account and the project of a request from its query, or a refusal where two parsers could differ.

Servers read one query in many ways: the first of two, the last, all of them; names cut at a bracket, folded,
trimmed, or decoded twice; values joined with those of a form. So a bound parameter has to come exactly once,
written exactly as it is bound, and whatever some parser could take for it as well is refused. An app should
read the account from `X-Watchword-Account` all the same.
"""

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import unquote_to_bytes

from watchword.trust.path_folding import fold_case

MAX_BOUND_PARAMETERS: Final = 2
# Servers pass over what comes behind their own limit, and would miss the parameter that was decided on: PHP
# with Suhosin behind 100, qs (Express), Node's querystring, PHP and Undertow behind 1,000.
MAX_PARAMETERS: Final = 100
PARAMETER_NAME: Final = r"[A-Za-z][A-Za-z0-9_-]{0,63}"
_NAME: Final = re.compile(PARAMETER_NAME)
_BAD_ESCAPE: Final = re.compile(rb"%(?![0-9A-Fa-f]{2})")
# `;` separates parameters for some, `+` is a space for some, `#` ends the query for some.
_DIFFERENT: Final = re.compile(rb"[;+#]|[^!-~]")
# PHP, and by the last rule those that fold brackets: one and the same character.
_FOLDED: Final = str.maketrans(". []", "____")


class AmbiguousQueryError(ValueError):
    """Two parsers could read this query as being about two accounts; the message says why."""


class QueryBinding:
    """What a route takes from the query, ready to be read."""

    def __init__(self, written: Mapping[str, str]) -> None:
        """Bind parameters to `account` or `project`, with `?` behind it where it may be missing."""
        self._kinds = {name: kind.removesuffix("?") for name, kind in written.items()}
        self._required = frozenset(name for name, kind in written.items() if not kind.endswith("?"))
        self._readings = frozenset(reading for name in written for reading in _readings(name))

    def read(self, target: bytes) -> dict[str, str]:
        """The bound values of a raw request target, by `account` and `project`.

        Raises:
            AmbiguousQueryError: a parameter is missing, empty or there twice, or parsers could differ on it.
        """
        query = target.partition(b"?")[2]
        if _DIFFERENT.search(query):
            raise AmbiguousQueryError("the query holds `;`, `+` or another character that parsers differ on")
        if _BAD_ESCAPE.search(query):
            raise AmbiguousQueryError("the query holds a percent sign that starts no encoded byte")
        found: dict[str, str] = {}
        parts = query.split(b"&")
        if len(parts) > MAX_PARAMETERS:
            raise AmbiguousQueryError(
                f"the query has {len(parts)} parameters, and servers pass over those beyond a limit of their "
                f"own; at most {MAX_PARAMETERS} are read"
            )
        for part in parts:
            raw_name, _, raw_value = part.partition(b"=")
            name = _decoded(raw_name, "a parameter's name")
            if self._readings.isdisjoint(_readings(name)):
                continue
            if name not in self._kinds:
                raise AmbiguousQueryError(
                    "a parameter's name is one that some parsers take for that of a bound parameter"
                )
            if self._kinds[name] in found:
                raise AmbiguousQueryError(f"the parameter {name} is there more than once")
            found[self._kinds[name]] = _value(raw_value, name)
        for name in self._required:
            if self._kinds[name] not in found:
                raise AmbiguousQueryError(f"the parameter {name} is missing")
        return found


def flaw_of_query(written: Mapping[str, str], path: str) -> str | None:
    """What is wrong with a route's bindings together with the captures of its path, or None."""
    if any(_NAME.fullmatch(name) is None for name in written):
        return "a parameter's name is not letters, digits, `_` and `-`, beginning with a letter"
    names = list(written)
    if any(not _readings(one).isdisjoint(_readings(two)) for one in names for two in names if one != two):
        return "two parameters have names that some parsers take for one"
    kinds = [kind.removesuffix("?") for kind in written.values()]
    for kind in ("account", "project"):
        if kinds.count(kind) + path.count(f"{{{kind}}}") > 1:
            return f"{kind} is bound twice"
    has_account = "{account}" in path or "account" in written.values()
    if ("project" in kinds or "{project}" in path) and not has_account:
        return "it binds a project without an account, or with one that may be missing"
    return None


def _value(raw: bytes, name: str) -> str:
    value = _decoded(raw, f"the value of {name}")
    if not value:
        raise AmbiguousQueryError(f"the parameter {name} is empty")
    if value != value.strip() or "%" in value or "+" in value:
        raise AmbiguousQueryError(f"the value of {name} would be another one if it were decoded twice")
    return value


def _decoded(raw: bytes, what: str) -> str:
    try:
        text = unquote_to_bytes(raw).decode("utf-8")
    except UnicodeDecodeError:
        raise AmbiguousQueryError(f"{what} is not UTF-8") from None
    if any(ord(each) < 0x20 or 0x7F <= ord(each) < 0xA0 for each in text):
        raise AmbiguousQueryError(f"{what} holds a control character")
    return text


def _readings(name: str) -> frozenset[str]:
    """All that servers take this name for, folded so that they can be compared."""
    names = {name}
    if "%" in name:
        # Some decode twice.
        names.add(unquote_to_bytes(name).decode("utf-8", "replace"))
    found: set[str] = set()
    for each in names:
        plain = fold_case(each)
        # `URLSearchParams` passes over a question mark in front, PHP over spaces.
        plain = plain.strip().lstrip("?").strip()
        # Rack and qs read `[a]` as `a`; PHP an unmatched bracket as an underscore; all cut at a matched one.
        # Zope takes what is behind a colon for a type (`a:string`, `a:list`).
        # Spring's data binder reads `!a` and `_a` where `a` is missing, ASP.NET `x.a` for member `a` of x.
        bare, inner = plain.lstrip("!_"), plain.rpartition(".")[2]
        for form in (plain, plain.lstrip("[]"), plain.strip("[]"), bare, inner):
            found |= {form, re.split(r"[\[\]:]", form, maxsplit=1)[0]}
    return frozenset(each.strip().translate(_FOLDED) for each in found if each.strip()) or frozenset({""})
