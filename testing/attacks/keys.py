# SPDX-License-Identifier: Apache-2.0
"""T11 and K4: keys that must not be pinned, and sets in which one bad key must not void the good ones."""

import json
from collections.abc import Callable
from functools import partial

from testing.attacks.case import Case
from testing.attacks.world import key
from testing.token_keys import RFC_RSA, UNFIT
from testing.tokens import Signer

# The expected `reason` of a key is the member that the problem names.
KEYS: list[Case[object]] = [
    Case("T11", name, field, lambda jwk=jwk: jwk)  # type: ignore[misc] # a default binds the loop's value
    for name, field, jwk in UNFIT
]


def jwks(*keys: object) -> bytes:
    """A set as an issuer serves it."""
    return json.dumps({"keys": keys}).encode()


def beside(jwk: object) -> bytes:
    """The bad key between two good ones."""
    return jwks(key("rsa").jwk, jwk, key("es256").jwk)


SETS: list[tuple[str, str, Callable[[], bytes]]] = [
    # what, the member that is named, the set; rsa and es256 must stand
    *((f"beside {name}", field, partial(beside, jwk)) for name, field, jwk in UNFIT[::5]),
    ("five keys of one kid", "kid", lambda: jwks(
        key("rsa").jwk, key("es256").jwk, *(Signer("x", "ES256").jwk for _ in range(5)))),
    ("a weak key under a good kid", "e", lambda: jwks(key("rsa").jwk, RFC_RSA | {"kid": "rsa", "e": "AQ"},
                                                    key("es256").jwk)),
]  # fmt: skip
KEY_SETS: list[Case[bytes]] = [Case("K4", name, field, build) for name, field, build in SETS]
