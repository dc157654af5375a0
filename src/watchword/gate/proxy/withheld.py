# SPDX-License-Identifier: Apache-2.0
"""What of a request's headers holds a token for the gate, whatever the header is called.

An app that got a caller's token could use it at any gate of the service as that caller. Authorization and
X-Watchword-Token never pass as such; but where the token has the second one, the first is the app's, and some
clients put their token into both.
"""

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from watchword.gate.authz_request import TOKEN_PLACE, Credential
from watchword.identity import Identity, Refusal, verify
from watchword.trust.ruleset import AUTHORIZATION

if TYPE_CHECKING:
    from watchword.gate.engine import Engine

# What is shorter is no signed token: on a public route the credential may be any word.
_MIN_TOKEN_BYTES: Final = 64
# A compact JWS (RFC 7515, section 7.1), wherever it is in the value.
_JWS: Final = re.compile(rb"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
# So many of them are looked at; a value with more is not the app's either.
_MAX_TOKENS: Final = 4


def withheld_token(credential: Credential | Refusal) -> bytes:
    """The token that no header may carry to the app; nothing where there is none."""
    if isinstance(credential, Refusal):
        return b""
    token = credential.value[TOKEN_PLACE:]
    return token if len(token) >= _MIN_TOKEN_BYTES else b""


def passed_headers(engine: "Engine", headers: Iterable[tuple[bytes, bytes]]) -> frozenset[bytes]:
    """The names that the service lets through; not Authorization where it holds a token that this gate takes.

    A token for something else, such as one that the app itself checks, stays the app's.

    Args:
        engine: it decided on the request in this turn of the loop.
        headers: the request's, names in lower case.
    """
    passed, active = engine.pass_headers, engine.active
    if AUTHORIZATION not in passed or active is None:
        return passed
    policy, now = active.ruleset.policy, engine.clock()
    for name, value in headers:
        if name == AUTHORIZATION:
            found = _JWS.findall(value)
            if len(found) > _MAX_TOKENS or any(
                isinstance(verify(each, policy, now), Identity) for each in found
            ):
                return passed - {AUTHORIZATION}
    return passed
