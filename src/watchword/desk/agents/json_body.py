# SPDX-License-Identifier: Apache-2.0
"""A JSON body, read strictly: one object, each name once, no control characters in what is compared."""

from collections.abc import Sequence
from typing import Any

import msgspec

from watchword.desk.agents.reasons import AgentReason
from watchword.desk.refusals import DeskRefusal, refuse
from watchword.identity import EncodingError, parse_json_object

_MAX_TEXT = 1024


class JsonBody(msgspec.Struct, frozen=True):
    """The members of a request. Its repr shows names only: values are tokens and addresses."""

    members: dict[str, Any]

    def __repr__(self) -> str:
        return f"JsonBody({', '.join(sorted(self.members))})"

    def text(self, name: str, at_most: int = _MAX_TEXT) -> str | DeskRefusal:
        """A required text of at most so many characters, or the refusal that names it."""
        value = self.members.get(name)
        if isinstance(value, str) and len(value) > at_most:
            detail = f"The member {name} has {len(value)} characters; at most {at_most} are read."
            return refuse(AgentReason.MEMBER_TOO_LARGE, detail)
        if not isinstance(value, str) or not value or not value.isprintable():
            return refuse(AgentReason.MISSING_MEMBER, f"The member {name} is missing, or not a plain text.")
        return value


def parse_json_body(body: bytes, content_types: Sequence[bytes]) -> JsonBody | DeskRefusal:
    """Read a body. Never raises for bad input."""
    said = [each.decode("latin-1").strip().lower().replace(" ", "") for each in content_types]
    if said not in (["application/json"], ["application/json;charset=utf-8"]):
        return refuse(AgentReason.WRONG_JSON_TYPE)
    try:
        return JsonBody(parse_json_object(body))
    except EncodingError:
        return refuse(AgentReason.MALFORMED_JSON)
