# SPDX-License-Identifier: Apache-2.0
"""One JSON Web Key, taken only when it is fit to verify a Kubernetes token.

A JWKS comes from another team's cluster, so each key is distrusted: private or symmetric material, weak RSA,
points off their curve, and keys meant for something else are named and left out (RFC 7517, RFC 7518
section 6, RFC 7638).
"""

import hashlib
from collections.abc import Mapping
from typing import Final

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from watchword.identity.encoding import EncodingError, decode_base64url, encode_base64url

PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey

# NIST SP 800-131A: RSA under 2048 bits is no longer acceptable. Above 8192 a verification costs milliseconds.
MIN_RSA_BITS: Final = 2048
MAX_RSA_BITS: Final = 8192
# A kid becomes a lookup key and a line in status; kube-apiserver's own is 43 characters long.
MAX_KEY_ID_LENGTH: Final = 256

# RFC 7518, sections 3.4 and 6.2.1.1: curve, algorithm, size of one coordinate in bytes.
_CURVES: Final[Mapping[str, tuple[str, ec.EllipticCurve, int]]] = {
    "P-256": ("ES256", ec.SECP256R1(), 32),
    "P-384": ("ES384", ec.SECP384R1(), 48),
    "P-521": ("ES512", ec.SECP521R1(), 66),
}
# RFC 7518, sections 6.2.2, 6.3.2 and 6.4: a JWK that has one of them is a secret.
PRIVATE_MEMBERS: Final = ("d", "p", "q", "dp", "dq", "qi", "oth", "k")
ALGORITHMS: Final = frozenset({"RS256", "ES256", "ES384", "ES512"})


class KeyProblem(msgspec.Struct, frozen=True):
    """Why one key of a set was left out.

    Attributes:
        index: its place in `keys`, from 0; -1 for the set as a whole.
        kid: its `kid` where it has a usable one, or the empty string.
        field: the member at fault.
        detail: what is wrong, without key material.
        remedy: what would be right.
    """

    index: int
    kid: str
    field: str
    detail: str
    remedy: str


class Key(msgspec.Struct, frozen=True):
    """A public key that may verify tokens.

    Attributes:
        kid: the name that a token's header calls it by.
        thumbprint: base64url SHA-256 of the canonical JWK (RFC 7638): the pin.
        algorithm: the one algorithm that this key verifies: its type and curve decide.
        public_key: the key itself.
    """

    kid: str
    thumbprint: str
    algorithm: str
    public_key: PublicKey

    def __repr__(self) -> str:
        return f"Key(kid={self.kid!r}, thumbprint={self.thumbprint!r}, algorithm={self.algorithm!r})"


class _UnfitError(Exception):
    """Raised inside this module only: (field, detail, remedy)."""


def load_key(jwk: object, index: int = 0) -> Key | KeyProblem:
    """Load one JWK (RFC 7517, section 4).

    Args:
        jwk: the parsed JSON value.
        index: its place in the set, for the problem.

    Returns:
        The key, or the problem that keeps it out. Never raises for bad input.
    """
    kid = ""
    try:
        if not isinstance(jwk, dict):
            raise _UnfitError("keys", "a key is not a JSON object", "make each key a JWK object")
        kid = _key_id(jwk)
        _refuse_other_uses(jwk)
        match jwk.get("kty"):
            case "RSA":
                algorithm, public_key, canonical = _rsa(jwk)
            case "EC":
                algorithm, public_key, canonical = _elliptic(jwk)
            case "oct":
                raise _UnfitError(
                    "kty", "a symmetric key cannot be pinned", "pin public keys only (RSA or EC)"
                )
            case _:
                raise _UnfitError(
                    "kty", "the key type is neither RSA nor EC", "use RSA, or EC on P-256, P-384, P-521"
                )
        declared = jwk.get("alg", algorithm)
        if declared != algorithm:
            raise _UnfitError(
                "alg", f"alg does not fit the key, which verifies {algorithm}", f"set alg to {algorithm}"
            )
    except _UnfitError as unfit:
        field, detail, remedy = unfit.args
        return KeyProblem(index, kid, field, detail, remedy)
    thumbprint = encode_base64url(hashlib.sha256(canonical.encode()).digest())
    return Key(kid, thumbprint, algorithm, public_key)


def thumbprint_of(jwk: object) -> str:
    """The RFC 7638 thumbprint of one JWK; empty: `load_key` does not take it, so nothing can match it."""
    key = load_key(jwk)
    return key.thumbprint if isinstance(key, Key) else ""


def public_jwk(key: Key) -> dict[str, str]:
    """The key as a JWK of exactly the members that say which key it is; `load_key` reads it back the same.

    Certificates and vendor members of the set that it came from are left behind.
    """
    return jwk_of(key.kid, key.public_key)


def jwk_of(kid: str, public_key: PublicKey) -> dict[str, str]:
    """A public key as a JWK of exactly the members that say which key it is (RFC 7518, section 6).

    Raises:
        ValueError: its curve is not one that Kubernetes signs with.
    """
    numbers = public_key.public_numbers()
    if isinstance(numbers, rsa.RSAPublicNumbers):
        return {"kty": "RSA", "kid": kid, "n": _shortest(numbers.n), "e": _shortest(numbers.e)}
    for name, (_, curve, size) in _CURVES.items():
        if curve.name == numbers.curve.name:
            x, y = (encode_base64url(value.to_bytes(size)) for value in (numbers.x, numbers.y))
            return {"kty": "EC", "kid": kid, "crv": name, "x": x, "y": y}
    raise ValueError(f"{numbers.curve.name} is not a curve that Kubernetes signs with")


def _shortest(number: int) -> str:
    return encode_base64url(number.to_bytes((number.bit_length() + 7) // 8))


def _key_id(jwk: Mapping[str, object]) -> str:
    kid = jwk.get("kid")
    if not isinstance(kid, str) or not kid:
        raise _UnfitError("kid", "the key has no kid", "give it the kid that the issuer's tokens name")
    if len(kid) > MAX_KEY_ID_LENGTH or not kid.isprintable():
        raise _UnfitError(
            "kid", "the kid is too long or not printable", f"use at most {MAX_KEY_ID_LENGTH} characters"
        )
    return kid


def _refuse_other_uses(jwk: Mapping[str, object]) -> None:
    if found := [member for member in PRIVATE_MEMBERS if member in jwk]:
        raise _UnfitError(
            found[0],
            "the key holds private or secret material",
            "pin public keys; rotate this one: it leaked",
        )
    if jwk.get("use", "sig") != "sig":
        raise _UnfitError("use", "the key is not for signatures", "set use to sig")
    operations = jwk.get("key_ops", ["verify"])
    if not isinstance(operations, list) or "verify" not in operations:
        raise _UnfitError("key_ops", "the key is not for verifying", "include verify in key_ops")


def _rsa(jwk: Mapping[str, object]) -> tuple[str, PublicKey, str]:
    modulus, exponent = _integer(jwk, "n"), _integer(jwk, "e")
    bits = modulus.bit_length()
    if not MIN_RSA_BITS <= bits <= MAX_RSA_BITS:
        raise _UnfitError("n", f"the RSA key has {bits} bits", f"use {MIN_RSA_BITS} to {MAX_RSA_BITS} bits")
    if modulus % 2 == 0:
        raise _UnfitError("n", "the RSA modulus is even", "use a key made by a well-kept library")
    # FIPS 186-5, section 5.4: odd, above 2^16. Kubernetes' own keys have 65537; beyond 2^32 costs time.
    if exponent % 2 == 0 or not 2**16 < exponent < 2**32:
        raise _UnfitError(
            "e", "the RSA exponent is not an odd number between 2^16 and 2^32", "use 65537 (AQAB)"
        )
    try:
        public_key = rsa.RSAPublicNumbers(exponent, modulus).public_key()
    except ValueError:
        raise _UnfitError("n", "the RSA key is not valid", "use a key made by a well-kept library") from None
    # RFC 7638 hashes the members as RFC 7518 has them: the shortest form, whatever was served.
    return "RS256", public_key, f'{{"e":"{_shortest(exponent)}","kty":"RSA","n":"{_shortest(modulus)}"}}'


def _elliptic(jwk: Mapping[str, object]) -> tuple[str, PublicKey, str]:
    curve_name = jwk.get("crv")
    if not isinstance(curve_name, str) or curve_name not in _CURVES:
        raise _UnfitError(
            "crv", "the curve is not one that Kubernetes signs with", "use P-256, P-384 or P-521"
        )
    algorithm, curve, size = _CURVES[curve_name]
    x, y = (_integer(jwk, name, exact_bytes=size) for name in ("x", "y"))
    try:
        public_key = ec.EllipticCurvePublicNumbers(x, y, curve).public_key()
    except ValueError:
        raise _UnfitError(
            "x", f"the point is not on {curve_name}", "use a key made by a well-kept library"
        ) from None
    return algorithm, public_key, f'{{"crv":"{curve_name}","kty":"EC","x":"{jwk["x"]}","y":"{jwk["y"]}"}}'


def _integer(jwk: Mapping[str, object], name: str, exact_bytes: int | None = None) -> int:
    """Base64urlUInt (RFC 7518, section 2), in canonical base64url.

    RSA numbers have no leading zero byte there, but encoders that write a signed number serve one; the value
    is the same without it. More than one is no encoder's, and stays refused.
    """
    text = jwk.get(name)
    if not isinstance(text, str):
        raise _UnfitError(name, f"{name} is missing or not a string", "use base64url text")
    try:
        raw = decode_base64url(text.encode("ascii"))
    except (EncodingError, UnicodeEncodeError):
        raise _UnfitError(
            name, f"{name} is not canonical base64url", "use base64url without padding"
        ) from None
    if exact_bytes is not None and len(raw) != exact_bytes:
        raise _UnfitError(
            name, f"{name} has {len(raw)} bytes", f"use exactly {exact_bytes} bytes, zeros in front"
        )
    if exact_bytes is None and raw.startswith(b"\0") and (raw[1:2] < b"\x80"):
        raise _UnfitError(
            name, f"{name} starts with more zero bits than a sign needs", "use the shortest form"
        )
    return int.from_bytes(raw)
