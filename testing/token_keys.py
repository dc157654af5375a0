# SPDX-License-Identifier: Apache-2.0
"""Keys as data: the examples of the RFCs, and one key for each way in which a key can be unfit.

Shared by the units and the attack suite, so that a new kind of bad key is written once.
"""

from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from testing.tokens import b64, signer
from watchword.identity import Key, load_key

# The RSA key of RFC 7517, appendix A.1, which is also the one of RFC 7638, section 3.1.
RFC_RSA = {
    "kty": "RSA",
    "n": (
        "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3"
        "oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdA"
        "ZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-"
        "kEgU8awapJzKnqDKgw"
    ),
    "e": "AQAB",
    "alg": "RS256",
    "kid": "2011-04-29",
}
RFC_EC = {
    "kty": "EC",
    "crv": "P-256",
    "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
    "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM",
    "use": "enc",
    "kid": "1",
}


def without(jwk: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in jwk.items() if name not in names}


def loaded(jwk: object) -> Key:
    key = load_key(jwk)
    assert isinstance(key, Key), key
    return key


EC = signer("ec", "ES256").jwk
P256_SIZE = 32
P256_PRIME = 2**256 - 2**224 + 2**192 + 2**96 - 1


def rsa(modulus: int, exponent: int = 65537) -> dict[str, Any]:
    size = (modulus.bit_length() + 7) // 8
    e = b64(exponent.to_bytes(max(1, (exponent.bit_length() + 7) // 8)))
    return {"kty": "RSA", "kid": "k", "n": b64(modulus.to_bytes(size)), "e": e}


def point(x: int, y: int, curve: str = "P-256", size: int = P256_SIZE) -> dict[str, Any]:
    return {"kty": "EC", "kid": "k", "crv": curve, "x": b64(x.to_bytes(size)), "y": b64(y.to_bytes(size))}


def _coordinate(jwk: dict[str, Any], name: str) -> int:
    return int(getattr(loaded(jwk).public_key.public_numbers(), name))  # type: ignore[arg-type] # either type


GOOD_N = _coordinate(RFC_RSA, "n")
GOOD_X, GOOD_Y = (_coordinate(EC, name) for name in "xy")
SECP256K1 = ec.derive_private_key(7, ec.SECP256K1()).public_key().public_numbers()

UNFIT: list[tuple[str, str, object]] = [
    # what, the field that is named, the key
    ("null", "keys", None),
    ("a list", "keys", []),
    ("a string", "keys", "AQAB"),
    ("empty", "kid", {}),
    ("no kid", "kid", without(RFC_RSA, "kid")),
    ("kid empty", "kid", RFC_RSA | {"kid": ""}),
    ("kid a number", "kid", RFC_RSA | {"kid": 1}),
    ("kid too long", "kid", RFC_RSA | {"kid": "k" * 257}),
    ("kid with a line break", "kid", RFC_RSA | {"kid": "k\nINFO trusted"}),
    ("kid with a terminal escape", "kid", RFC_RSA | {"kid": "\x1b[2J"}),
    ("no kty", "kty", without(RFC_RSA, "kty")),
    ("kty in lower case", "kty", RFC_RSA | {"kty": "rsa"}),
    ("kty a list", "kty", RFC_RSA | {"kty": ["RSA"]}),
    ("kty OKP", "kty", {"kty": "OKP", "crv": "Ed25519", "kid": "k", "x": "AAAA"}),
    ("oct with its secret", "k", {"kty": "oct", "kid": "k", "k": "c2VjcmV0"}),
    ("oct without its secret", "kty", {"kty": "oct", "kid": "k"}),
    ("RSA with k", "k", RFC_RSA | {"k": "c2VjcmV0"}),
    ("RSA with d", "d", RFC_RSA | {"d": "AQAB"}),
    ("RSA with p", "p", RFC_RSA | {"p": "AQAB"}),
    ("RSA with q", "q", RFC_RSA | {"q": "AQAB"}),
    ("RSA with dp", "dp", RFC_RSA | {"dp": None}),
    ("RSA with dq", "dq", RFC_RSA | {"dq": "AQAB"}),
    ("RSA with qi", "qi", RFC_RSA | {"qi": "AQAB"}),
    ("RSA with oth", "oth", RFC_RSA | {"oth": []}),
    ("EC with d", "d", EC | {"d": "AQAB"}),
    ("use enc", "use", RFC_EC),
    ("use null", "use", RFC_RSA | {"use": None}),
    ("use a list", "use", RFC_RSA | {"use": ["sig"]}),
    ("key_ops only sign", "key_ops", RFC_RSA | {"key_ops": ["sign"]}),
    ("key_ops empty", "key_ops", RFC_RSA | {"key_ops": []}),
    ("key_ops a string", "key_ops", RFC_RSA | {"key_ops": "verify"}),
    ("alg of another hash", "alg", RFC_RSA | {"alg": "RS512"}),
    ("alg of another padding", "alg", RFC_RSA | {"alg": "PS256"}),
    ("alg HS256 on an RSA key", "alg", RFC_RSA | {"alg": "HS256"}),
    ("alg none", "alg", RFC_RSA | {"alg": "none"}),
    ("alg null", "alg", RFC_RSA | {"alg": None}),
    ("alg of another curve", "alg", EC | {"alg": "ES384"}),
    ("alg for RSA on an EC key", "alg", EC | {"alg": "RS256"}),
    ("RSA 1024 bits", "n", rsa(GOOD_N >> 1024 | 1)),
    ("RSA 2047 bits", "n", rsa(GOOD_N >> 1 | 1)),
    ("RSA 8200 bits", "n", rsa(1 << 8199 | 1)),
    ("RSA n even", "n", rsa(GOOD_N - 1)),
    ("RSA n zero", "n", {"kty": "RSA", "kid": "k", "n": "AA", "e": "AQAB"}),
    ("RSA n empty", "n", RFC_RSA | {"n": ""}),
    ("RSA n missing", "n", without(RFC_RSA, "n")),
    ("RSA n a number", "n", RFC_RSA | {"n": 65537}),
    ("RSA n padded", "n", RFC_RSA | {"n": RFC_RSA["n"] + "=="}),
    ("RSA n in the other alphabet", "n", RFC_RSA | {"n": RFC_RSA["n"].replace("-", "+").replace("_", "/")}),
    ("RSA n with two leading zeros", "n", RFC_RSA | {"n": b64(b"\0\0" + GOOD_N.to_bytes(256))}),
    ("RSA n not ASCII", "n", RFC_RSA | {"n": "é" * 344}),
    ("RSA e missing", "e", without(RFC_RSA, "e")),
    ("RSA e zero", "e", RFC_RSA | {"e": "AA"}),
    ("RSA e 1", "e", rsa(GOOD_N, 1)),
    ("RSA e 3", "e", rsa(GOOD_N, 3)),
    ("RSA e even", "e", rsa(GOOD_N, 65538)),
    ("RSA e of 33 bits", "e", rsa(GOOD_N, 2**32 + 1)),
    ("RSA e as large as n", "e", rsa(GOOD_N, GOOD_N)),
    ("RSA e with a leading zero", "e", RFC_RSA | {"e": b64(b"\0\1\0\1")}),
    ("EC without crv", "crv", without(EC, "crv")),
    ("EC secp256k1", "crv", point(SECP256K1.x, SECP256K1.y, "secp256k1")),
    ("EC secp256k1 point said to be P-256", "x", point(SECP256K1.x, SECP256K1.y)),
    ("EC P-256 in lower case", "crv", EC | {"crv": "p-256"}),
    ("EC P-224", "crv", EC | {"crv": "P-224"}),
    ("EC Ed25519", "crv", EC | {"crv": "Ed25519"}),
    ("EC crv a list", "crv", EC | {"crv": ["P-256"]}),
    ("EC another curve's name", "x", EC | {"crv": "P-384"}),
    ("EC off its curve", "x", point(GOOD_X, GOOD_Y ^ 1)),
    ("EC at infinity", "x", point(0, 0)),
    ("EC x and y swapped", "x", point(GOOD_Y, GOOD_X)),
    ("EC x beyond the field", "x", point(P256_PRIME, GOOD_Y)),
    ("EC y negated past the field", "x", point(GOOD_X, 2**256 - 1)),
    ("EC y missing", "y", without(EC, "y")),
    ("EC y null", "y", EC | {"y": None}),
    ("EC x too short", "x", EC | {"x": b64(GOOD_X.to_bytes(32)[1:])}),
    ("EC x too long", "x", EC | {"x": b64(b"\0" + GOOD_X.to_bytes(32))}),
]
