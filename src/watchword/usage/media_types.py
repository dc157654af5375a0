# SPDX-License-Identifier: Apache-2.0
"""Media types as far as usage needs them: is it JSON, and is it UTF-8?

What declares another charset is refused, not decoded by guess: a wrong guess is another account's name.
"""

from __future__ import annotations

import re

_JSON_MEDIA_TYPE = re.compile(r"[a-z0-9!#$&^_.+-]+/(?:json|[a-z0-9!#$&^_.+-]+\+json)\Z")


def is_json_media_type(text: str) -> bool:
    """Tell whether a media type (RFC 9110, section 8.3.1) is JSON, with no charset other than UTF-8."""
    media_type, charset = split_media_type(text)
    return _JSON_MEDIA_TYPE.match(media_type) is not None and charset in (None, "utf-8")


def split_media_type(text: str) -> tuple[str, str | None]:
    """Give the lower-case media type and its charset (None when there is none; "" when it cannot be told)."""
    media_type, *parameters = text.split(";")
    charset: str | None = None
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset":
            # Two charsets are one too many to choose from.
            charset = value.strip().strip('"').lower() if charset is None else ""
    return media_type.strip().lower(), charset
