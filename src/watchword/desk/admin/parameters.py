# SPDX-License-Identifier: Apache-2.0
"""Parameters of the admin API, read strictly: a name that is not known, or comes twice, is refused.

A filter with a slip in it that was ignored would list everything, and look like an answer.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from watchword.desk.forms import percent_decoded
from watchword.desk.reasons import DeskReason
from watchword.desk.refusals import DeskRefusal, refuse
from watchword.identity import EncodingError, parse_json_object

MAX_BODY_BYTES: Final = 16 * 1024
DEFAULT_LIMIT: Final = 50
MAX_LIMIT: Final = 200
MAX_VALUE: Final = 512
TOKEN_ID: Final = r"[0-9a-f]{32}"  # noqa: S105 - the form of an id, not a secret
_NUMBER: Final = re.compile(r"0|[1-9][0-9]{0,17}")


def malformed(detail: str) -> DeskRefusal:
    """The refusal that says which parameter is wrong."""
    return refuse(DeskReason.MALFORMED_REQUEST, detail)


def read_query(query: bytes, known: Mapping[str, str]) -> dict[str, str] | DeskRefusal:
    """The parameters of a query; each at most once, none empty.

    Args:
        query: what is behind the question mark.
        known: the form of each that there may be, as a regular expression for all of it.
    """
    found: dict[str, str] = {}
    if not query:
        return found
    for part in query.split(b"&"):
        name_part, equals, value_part = part.partition(b"=")
        name, value = percent_decoded(name_part), percent_decoded(value_part)
        if name is None or value is None or not equals:
            return malformed("The query is not well-formed.")
        if name not in known:
            return malformed(
                f"There is no parameter of that name; there are {', '.join(sorted(known)) or 'none'}."
            )
        if name in found:
            return malformed(f"The parameter {name} is sent more than once.")
        if len(value) > MAX_VALUE or re.fullmatch(known[name], value) is None:
            return malformed(f"The parameter {name} does not have the form {known[name]}.")
        found[name] = value
    return found


def limit_of(query: Mapping[str, str]) -> int | DeskRefusal:
    """How many entries a page may have."""
    limit = int(query.get("limit", str(DEFAULT_LIMIT)))
    return limit if 1 <= limit <= MAX_LIMIT else malformed(f"limit is not from 1 to {MAX_LIMIT}.")


def number_of(text: str) -> int | None:
    """A whole number as this API writes it; None: it is none."""
    return int(text) if _NUMBER.fullmatch(text) else None


def read_body(body: bytes, content_types: list[bytes], shape: type[msgspec.Struct]) -> Any:
    """The JSON body of a request as a struct, or the refusal that says what is wrong with it."""
    media = content_types[0].decode("latin-1").partition(";")[0].strip().lower() if content_types else ""
    if len(content_types) != 1 or media != "application/json":
        return malformed("The body is not declared as JSON: send one Content-Type: application/json.")
    try:
        return msgspec.convert(parse_json_object(body), shape)
    except EncodingError as problem:
        return malformed(f"The body is {problem}.")
    except (msgspec.ValidationError, RecursionError) as problem:
        return malformed(f"The body is not what the operation takes: {problem}.")
