# SPDX-License-Identifier: Apache-2.0
"""What of a request's headers holds a token for the gate, whatever the header is called.

An app that got a caller's token could use it at any gate of the service as that caller. Authorization and
X-Watchword-Token never pass as such; but where the token has the second one, the first is the app's, and some
clients put their token into both.
"""

import re
from binascii import a2b_base64
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import msgspec

from watchword.gate.authz_request import TOKEN_PLACE, Credential
from watchword.gate.proxy.headers import UnfitHeaderError
from watchword.gate.responses import Allowed
from watchword.identity import Policy, Refusal, is_for_service, is_signed
from watchword.trust.ruleset import AUTHORIZATION

if TYPE_CHECKING:
    from watchword.gate.engine import Engine

# What is shorter is no signed token: on a public route the credential may be any word.
_MIN_TOKEN_BYTES: Final = 64
# What a compact JWS is in (RFC 7515, section 7.1), wherever it is in the value. One class, so that a value is
# gone over once: an expression for the three parts takes seconds for one of 16 KiB without a dot.
_WORDS: Final = re.compile(rb"[A-Za-z0-9_.-]+")
_PARTS: Final = 3
# The connections to the app that serve requests of no identity because the service only reports. Many share
# them, as they would without a gate.
REPORTED_POOL: Final = b"reported"
_SIGNS_CONNECTIONS_IN: Final = re.compile(rb"[ \t]*(?:negotiate|ntlm)\b", re.IGNORECASE)
_BASIC: Final = re.compile(rb"[ \t]*basic[ \t]+([A-Za-z0-9+/]+={0,2})", re.IGNORECASE)
# So many of them are looked at; a value with more is not the app's either.
_MAX_TOKENS: Final = 4


class Passing(msgspec.Struct, frozen=True, gc=False):
    """What of a request's headers passes to the app, and by which connections.

    Attributes:
        passed: names in lower case that the service, or report only, lets through.
        token: what no header may carry on; or nothing.
        pool: names the connections to the app that may serve it.
    """

    passed: frozenset[bytes]
    token: bytes
    pool: bytes


def passing(
    engine: "Engine",
    headers: Iterable[tuple[bytes, bytes]],
    credential: Credential | Refusal,
    decided: Allowed,
) -> Passing:
    """Find out what passes of a request that was let in, or would be refused and is only reported.

    Args:
        engine: it decided on the request in this turn of the loop.
        headers: the request's, names in lower case.
        credential: what was presented to the gate.
        decided: what the engine said.

    Raises:
        UnfitHeaderError: report only: there are two Authorization headers, of which gate and app might read
            another one.
    """
    if decided.would_refuse:
        passed, token = _reported(engine, list(headers), credential)
        return Passing(passed, token, REPORTED_POOL)
    return Passing(_passed_names(engine, headers), _withheld_token(credential), decided.identity)


def _reported(
    engine: "Engine", headers: list[tuple[bytes, bytes]], credential: Credential | Refusal
) -> tuple[frozenset[bytes], bytes]:
    """What passes of a request that would be refused, and what does not.

    Authorization is the app's, as before there was a gate, unless it holds a token that a known key signed:
    whatever that one is for, an app that got it could use it as the caller.
    """
    values = [value for name, value in headers if name == AUTHORIZATION]
    if len(values) > 1:
        raise UnfitHeaderError("there are two Authorization headers")
    passed, active = _passed_names(engine, headers), engine.active
    if active is None:
        return passed, _withheld_token(credential)
    policy = active.ruleset.policy
    if not engine.reads_authorization:
        # Whatever is wrong with the header, its copies are the caller's token.
        shown = [value for name, value in headers if name == engine.token_header]
        return passed, _signed_in([token for value in shown for token in _tokens_in(value)], policy)
    found = list(_tokens_in(values[0])) if values else []
    signed = _signed_in(found, policy)
    if signed or len(found) > _MAX_TOKENS:
        return passed, signed
    return passed | {AUTHORIZATION}, b""


def _withheld_token(credential: Credential | Refusal) -> bytes:
    """The token that no header may carry to the app; nothing where there is none."""
    if isinstance(credential, Refusal):
        return b""
    token = credential.value[TOKEN_PLACE:]
    return token if len(token) >= _MIN_TOKEN_BYTES else b""


def _passed_names(engine: "Engine", headers: Iterable[tuple[bytes, bytes]]) -> frozenset[bytes]:
    """The names that the service lets through; not Authorization where it holds a token for this gate.

    A token for something else, such as one that the app itself checks, stays the app's. One for this gate
    that it does not take now it may take a moment later: when it is valid, or its workload trusted.
    """
    passed, active = engine.pass_headers, engine.active
    if AUTHORIZATION not in passed or active is None:
        return passed
    policy = active.ruleset.policy
    for name, value in headers:
        if name == AUTHORIZATION:
            found = list(_tokens_in(value))
            if len(found) > _MAX_TOKENS or any(is_for_service(each, policy) for each in found):
                return passed - {AUTHORIZATION}
    return passed


def _signed_in(found: list[bytes], policy: Policy) -> bytes:
    """The first token that a known key signed; nothing where there is none."""
    return next((each for each in found[:_MAX_TOKENS] if is_signed(each, policy)), b"")


def sign_in(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The Authorization that signs a whole connection to the app in, and not a request (RFC 4559).

    Whose it is has that connection for itself: the app takes all that follows on it for the same user's.

    Args:
        headers: those that go on to the app, names in lower case.

    Returns:
        Its value; nothing where there is none.
    """
    values = (value for name, value in headers if name == AUTHORIZATION)
    return next((value for value in values if _SIGNS_CONNECTIONS_IN.match(value)), b"")


def _tokens_in(value: bytes) -> Iterator[bytes]:
    """What may be compact JWSs in a header's value, or in the Basic credentials there, in order."""
    yield from _tokens_of(value)
    if (basic := _BASIC.match(value)) is not None:
        # Some clients send a token as a password (RFC 7617).
        with suppress(ValueError):
            yield from _tokens_of(a2b_base64(basic[1] + b"=="))


def _tokens_of(value: bytes) -> Iterator[bytes]:
    for word in _WORDS.findall(value):
        parts = word.split(b".")
        for place in range(len(parts) - _PARTS + 1):
            token = b".".join(parts[place : place + _PARTS])
            if token.count(b"..") == 0 and token[:1] != b"." and token[-1:] != b".":
                yield token
