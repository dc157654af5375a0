# SPDX-License-Identifier: Apache-2.0
"""A form body as parameters, read strictly: one value for each name, or a refusal.

RFC 6749, section 3.2: parameters are sent at most once, an empty value counts as none, unknown names are
ignored. A reader that takes the first of two values, next to one that takes the last, is how a request is
checked as one thing and acted on as another.
"""

import re
from collections.abc import Sequence
from typing import Final
from urllib.parse import unquote_to_bytes, urlencode

import msgspec

from watchword.desk.reasons import DeskReason
from watchword.desk.refusals import DeskRefusal, refuse

MAX_FORM_BYTES: Final = 32 * 1024
MAX_PARAMETERS: Final = 32
_MEDIA_TYPE: Final = "application/x-www-form-urlencoded"
_PLAIN_MEDIA_TYPE: Final = _MEDIA_TYPE.encode()
# RFC 8693, section 2.1: of all parameters only these two may be sent several times.
_REPEATABLE: Final = frozenset({"audience", "resource"})
_BROKEN_ESCAPE: Final = re.compile(rb"%(?![0-9A-Fa-f]{2})")
# As callers write them; any other spelling of one, or another name, is decoded.
_NAMES: Final = {
    name.encode(): name
    for name in (
        *(
            "grant_type",
            "subject_token",
            "subject_token_type",
            "requested_token_type",
            "audience",
            "resource",
        ),
        *("scope", "account", "project", "purpose", "authorization_details", "token", "token_type_hint"),
        "assertion",
        *("client_id", "client_secret", "client_assertion", "client_assertion_type"),
    )
}
# Pairs that callers send again and again, as most encoders write them.
_PAIRS: Final = {
    urlencode({name: value}).encode(): (name, value)
    for name, value in (
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
        ("subject_token_type", "urn:ietf:params:oauth:token-type:jwt"),
        ("requested_token_type", "urn:ietf:params:oauth:token-type:access_token"),
        ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
    )
}


class Form(msgspec.Struct, frozen=True):
    """The parameters of a request. Its repr shows names only: values are tokens and secrets.

    Attributes:
        values: by name, each with its values in order; none is empty.
    """

    values: dict[str, tuple[str, ...]]

    def __repr__(self) -> str:
        return f"Form({', '.join(sorted(self.values))})"

    def one(self, name: str) -> str | None:
        """The parameter's value; None where it was not sent."""
        found = self.values.get(name)
        return found[0] if found else None

    def all(self, name: str) -> tuple[str, ...]:
        """All values of a parameter that may be sent several times."""
        return self.values.get(name, ())

    def required(self, name: str) -> str | DeskRefusal:
        """The parameter's value, or the refusal that names it."""
        value = self.one(name)
        if value is None:
            return refuse(DeskReason.MISSING_PARAMETER, f"The parameter {name} is missing or empty.")
        return value


def parse_form(body: bytes, content_types: Sequence[bytes]) -> Form | DeskRefusal:
    """Read a form body. Never raises for bad input.

    Args:
        body: the whole body.
        content_types: the values of all Content-Type headers of the request.

    Returns:
        The parameters, or `wrong_media_type`, `form_too_large`, `malformed_form` or `repeated_parameter`.
    """
    if not _is_form(content_types):
        return refuse(DeskReason.WRONG_MEDIA_TYPE)
    if len(body) > MAX_FORM_BYTES:
        return refuse(DeskReason.FORM_TOO_LARGE)
    values: dict[str, list[str]] = {}
    if not body:
        return Form({})
    if body.count(b"&") >= MAX_PARAMETERS:
        return refuse(
            DeskReason.MALFORMED_FORM,
            f"The form has more than {MAX_PARAMETERS} parameters.",
            remedy="Send only the parameters that the desk reads, each once.",
        )
    for part in body.split(b"&"):
        pair = _PAIRS.get(part) or _pair(part)
        if pair is None:
            return _malformed(part)
        values.setdefault(pair[0], []).append(pair[1])
    # Counted before empty values are dropped: `scope=&scope=x` says two things all the same.
    kept: dict[str, tuple[str, ...]] = {}
    for name, given in values.items():
        if len(given) > 1 and name not in _REPEATABLE:
            shown = name if len(name) <= 64 and name.isascii() and name.isprintable() else "of one name"
            return refuse(DeskReason.REPEATED_PARAMETER, f"The parameter {shown} is sent more than once.")
        if given := list(filter(None, given)):
            kept[name] = tuple(given)
    return Form(kept)


def _malformed(part: bytes) -> DeskRefusal:
    """Name the parameter, where the desk knows it; its value may be a secret, and is not quoted."""
    name = _NAMES.get(part.partition(b"=")[0])
    if name is None:
        return refuse(DeskReason.MALFORMED_FORM)
    detail = f"The parameter {name} is not percent-encoded UTF-8 of visible characters and spaces."
    remedy = (
        "Look for a line end or a no-break space in the value, such as at the end of a token from a file."
    )
    return refuse(DeskReason.MALFORMED_FORM, detail, remedy=remedy)


def _is_form(content_types: Sequence[bytes]) -> bool:
    if len(content_types) != 1:
        return False
    if content_types[0] == _PLAIN_MEDIA_TYPE:
        return True
    media_type, *parameters = content_types[0].decode("latin-1").split(";")
    if media_type.strip().lower() != _MEDIA_TYPE:
        return False
    said = [each.strip().lower().replace('"', "") for each in parameters]
    return said in ([], ["charset=utf-8"])


def _pair(part: bytes) -> tuple[str, str] | None:
    """A name with its value; None for what is not well-formed."""
    name_part, equals, value_part = part.partition(b"=")
    name, value = _NAMES.get(name_part) or percent_decoded(name_part), percent_decoded(value_part)
    return (name, value) if equals and name and value is not None else None


def percent_decoded(part: bytes) -> str | None:
    """Percent-decode one name or value; None for what is not well-formed, or holds a control character."""
    raw = part.replace(b"+", b" ") if b"+" in part else part
    if b"%" in raw:
        if _BROKEN_ESCAPE.search(raw):
            return None
        raw = unquote_to_bytes(raw)
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        return None
    # Line breaks between the members of JSON are the only ones that someone could mean, and no one has to.
    return text if text.isprintable() else None
