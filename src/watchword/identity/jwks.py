# SPDX-License-Identifier: Apache-2.0
"""A JWKS, of which the good keys count and each bad one is named.

One bad key must never void the rest of the set (a rotation that adds one odd key would be an outage), and a
set whose `kid`s collide must never let the order of a list decide which key wins: a few of one kid are all
tried, and more than that are all left out.
"""

from collections import Counter
from typing import Final

import msgspec

from watchword.identity.encoding import EncodingError, parse_json_object
from watchword.identity.jwk import Key, KeyProblem, load_key
from watchword.identity.policy import MAX_KEYS_OF_KID

# kube-apiserver serves one to three keys. The bound keeps a hostile answer from costing memory and time.
MAX_KEYS: Final = 64
MAX_JWKS_BYTES: Final = 256 * 1024


class KeySet(msgspec.Struct, frozen=True):
    """What a JWKS held.

    Attributes:
        keys: the usable keys, in the order served.
        problems: one entry for each thing left out.
    """

    keys: tuple[Key, ...]
    problems: tuple[KeyProblem, ...] = ()


def load_jwks(data: bytes) -> KeySet:
    """Load a JWKS from its bytes (RFC 7517, section 5). Never raises for bad input.

    Args:
        data: at most 256 KiB of JSON.
    """
    if len(data) > MAX_JWKS_BYTES:
        return _nothing(f"the set is larger than {MAX_JWKS_BYTES} bytes", "serve only the issuer's own keys")
    try:
        document = parse_json_object(data)
    except EncodingError as problem:
        return _nothing(f"the set is {problem}", 'use a JSON object: {"keys": [...]}')
    return load_key_objects(document.get("keys"))


def load_key_objects(jwks: object) -> KeySet:
    """Load the list of a JWKS that was parsed already. Never raises for bad input."""
    if not isinstance(jwks, list):
        return _nothing("keys is missing or not a list", 'use a JSON object: {"keys": [...]}')
    if len(jwks) > MAX_KEYS:
        return _nothing(f"the set has {len(jwks)} keys", f"serve at most {MAX_KEYS}")
    loaded = [load_key(jwk, index) for index, jwk in enumerate(jwks)]
    distinct = {(key.kid, key.thumbprint) for key in loaded if isinstance(key, Key)}
    by_kid = Counter(kid for kid, _ in distinct)
    keys: dict[tuple[str, str], Key] = {}
    problems: list[KeyProblem] = []
    for index, key in enumerate(loaded):
        if isinstance(key, KeyProblem):
            problems.append(key)
        elif by_kid[key.kid] > MAX_KEYS_OF_KID:
            detail = f"{by_kid[key.kid]} keys of the set have this kid, and {MAX_KEYS_OF_KID} are tried"
            problems.append(KeyProblem(index, key.kid, "kid", detail, "give each key a kid of its own"))
        else:
            # Listed twice, as by a kube-apiserver that was given one key file twice, it is one key.
            keys.setdefault((key.kid, key.thumbprint), key)
    return KeySet(tuple(keys.values()), tuple(problems))


def _nothing(detail: str, remedy: str) -> KeySet:
    return KeySet((), (KeyProblem(-1, "", "keys", detail, remedy),))
