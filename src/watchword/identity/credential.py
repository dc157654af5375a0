# SPDX-License-Identifier: Apache-2.0
"""The Authorization header, exactly one, holding exactly one Bearer token (check 2).

Looking at the first of several values is how two parties come to see two different callers (CVE-2026-26308).
Here a second header, a comma-joined list or another scheme is a refusal, never a choice.
"""

from collections.abc import Iterable
from typing import Final

from watchword.identity.reasons import Reason, Refusal

_SCHEME: Final = b"bearer "
# RFC 6750, section 2.1: b64token. A space or a comma would make it a second credential.
_TOKEN_BYTES: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/="


def read_credential(headers: Iterable[tuple[bytes, bytes]]) -> bytes | Refusal:
    """Take the token out of a request's headers (RFC 6750, section 2.1; RFC 9110, section 11.6.2).

    Args:
        headers: names in lower case, as ASGI gives them, and values.

    Returns:
        The token's bytes, or `missing_credential` or `malformed_credential`.
    """
    value = sole_authorization(headers)
    return value if isinstance(value, Refusal) else read_bearer(value)


def sole_authorization(headers: Iterable[tuple[bytes, bytes]]) -> bytes | Refusal:
    """The value of the one Authorization header; or why there is none, or more than one."""
    found: bytes | None = None
    for name, value in headers:
        if name == b"authorization":
            if found is not None:
                return Refusal(Reason.MALFORMED_CREDENTIAL, "There is more than one Authorization header.")
            found = value
    return Refusal(Reason.MISSING_CREDENTIAL) if found is None else found


def read_bearer(value: bytes) -> bytes | Refusal:
    """The token in the value of an Authorization header, or `malformed_credential`."""
    # The scheme's case does not matter (RFC 9110, section 11.1).
    if value[: len(_SCHEME)].lower() != _SCHEME:
        return _other_scheme(value)
    token = value[len(_SCHEME) :]
    if not token:
        return _EMPTY
    if token.translate(None, _TOKEN_BYTES):
        return _other_characters(token)
    return token


# HTTP parsers drop white space at the end of a value: an empty token leaves the scheme alone.
_EMPTY: Final = Refusal(
    Reason.MALFORMED_CREDENTIAL,
    "The Authorization header holds no token: it is empty behind Bearer.",
    "The file or the variable that the token is read from is empty or was not found: read the pod's token "
    "file (WATCHWORD_TOKEN_FILE where it was injected), and send its content.",
)


def _other_scheme(value: bytes) -> Refusal:
    if value.strip().lower() in (b"", _SCHEME.strip()):
        return _EMPTY
    if value.startswith(_JWT_START):
        detail = "The Authorization header holds a token without the word Bearer in front of it."
        return Refusal(Reason.MALFORMED_CREDENTIAL, detail, "Send `Authorization: Bearer <token>`.")
    scheme = _SCHEMES.get(value.split(b" ", 1)[0].lower())
    named = f"is {scheme}, and not Bearer" if scheme else "is not Bearer"
    return Refusal(Reason.MALFORMED_CREDENTIAL, f"The scheme of the Authorization header {named}.")


def _other_characters(token: bytes) -> Refusal:
    """What is in a token's place, as far as it can be said without quoting any of it."""
    name = next((name for each, name in _MISTAKES if each in token), "another character that no token has")
    hint = ""
    if token.strip()[: len(_SCHEME)].lower() == _SCHEME:
        name, hint = "the word Bearer a second time", "Send the word Bearer once, one space, and the token."
    elif b"$" in token or b"{{" in token:
        hint = "A variable was not replaced by its value: send the content of the pod's token file."
    elif b"<" in token:
        hint = "A placeholder was not replaced: send the content of the pod's token file."
    elif b'"' in token or b"'" in token:
        hint = "Send the token without quotes around it, as the pod's token file holds it."
    elif token.strip() == b"" or token.startswith(b" "):
        hint = "Send one space between the word Bearer and the token, and no empty token."
    return Refusal(Reason.MALFORMED_CREDENTIAL, f"What follows Bearer holds {name}.", hint)


_JWT_START: Final = b"eyJ"
_SCHEMES: Final = {b"basic": "Basic", b"digest": "Digest", b"negotiate": "Negotiate", b"token": "Token"}
# In the order in which they are looked for.
_MISTAKES: Final = (
    (b"$", "a dollar sign"),
    (b"{{", "two braces"),
    (b'"', "a quotation mark"),
    (b"'", "a quotation mark"),
    (b"<", "an angle bracket"),
    (b",", "a comma"),
    (b" ", "white space"),
    (b"\t", "white space"),
)
