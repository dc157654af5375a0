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
        return Refusal(Reason.MALFORMED_CREDENTIAL, "The scheme of the Authorization header is not Bearer.")
    token = value[len(_SCHEME) :]
    if not token:
        return Refusal(Reason.MALFORMED_CREDENTIAL, "The Authorization header holds no token.")
    if token.translate(None, _TOKEN_BYTES):
        return Refusal(
            Reason.MALFORMED_CREDENTIAL,
            "What follows Bearer holds white space, a comma or another character that no token has.",
        )
    return token
