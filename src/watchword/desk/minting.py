# SPDX-License-Identifier: Apache-2.0
"""Signing keys and signed tokens: RFC 9068 access tokens with ES256.

Which key signs is decided for each store: one that is new, or was restored from a backup, has another id,
so that no key from before signs for it, and what those signed is refused everywhere.
"""

import os
from typing import Any, Final

import msgspec
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from watchword.identity import MAX_TOKEN_BYTES, Key, load_key
from watchword.identity.encoding import encode_base64url
from watchword.identity.jwk import jwk_of
from watchword.trust.desk_tokens import (
    DESK_ALGORITHM,
    DeskClaims,
    desk_kid,
    desk_token_header,
    encode_desk_claims,
)

_ES256: Final = ec.ECDSA(hashes.SHA256())
_COORDINATE_BYTES: Final = 32
_CHANCE_BYTES: Final = 10
_CHANCES_AT_ONCE: Final = 256
# Drawn and not yet given to any token; `pop` gives each of them once, whichever threads ask.
_CHANCES: Final[list[str]] = []


class SigningKeyError(ValueError):
    """A record that holds no signing key of a desk. The message holds no key material."""


class SigningKey:
    """A private key on P-256 that signs desk tokens. Its repr shows its name only.

    Attributes:
        kid: `wd-` and its thumbprint.
        key: the public key, as gates load it.
        jwk: the public key as a JWK (RFC 7517), with `use` and `alg`.
    """

    def __init__(self, private: ec.EllipticCurvePrivateKey) -> None:
        """Take a private key.

        Raises:
            SigningKeyError: it is on another curve than P-256.
        """
        if not isinstance(private.curve, ec.SECP256R1):
            raise SigningKeyError("the key is not on P-256")
        jwk = jwk_of("wd-", private.public_key())
        unnamed = load_key(jwk)
        if not isinstance(unnamed, Key):
            raise SigningKeyError(unnamed.detail)
        self.kid = desk_kid(unnamed.thumbprint)
        self.jwk: dict[str, Any] = jwk | {"kid": self.kid, "use": "sig", "alg": "ES256"}
        self.key = msgspec.structs.replace(unnamed, kid=self.kid)
        self._private = private
        # The header is the same for all tokens of a key.
        self._header = encode_base64url(desk_token_header(self.kid)).encode()

    def __repr__(self) -> str:
        return f"SigningKey(kid={self.kid!r})"

    @classmethod
    def generate(cls) -> "SigningKey":
        """A new key."""
        return cls(ec.generate_private_key(ec.SECP256R1()))

    @classmethod
    def from_pem(cls, pem: bytes) -> "SigningKey":
        """Read a PKCS #8 or SEC 1 key in PEM, without a password.

        Raises:
            SigningKeyError: it is none.
        """
        try:
            private = serialization.load_pem_private_key(pem, password=None)
        except (ValueError, TypeError):
            raise SigningKeyError("it is not an unencrypted PEM private key") from None
        if not isinstance(private, ec.EllipticCurvePrivateKey):
            raise SigningKeyError("it is not an elliptic curve key")
        return cls(private)

    def pem(self) -> bytes:
        """The private key as PKCS #8 in PEM."""
        return self._private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    def sign(self, claims: DeskClaims) -> str | None:
        """A compact JWS of these claims; None where it is longer than any gate reads (8 KiB)."""
        token = self._signed(self._header + b"." + encode_base64url(encode_desk_claims(claims)).encode())
        return token if len(token) <= MAX_TOKEN_BYTES else None

    def sign_as(self, kind: str, payload: bytes) -> str:
        """A compact JWS of another kind than a desk token: with this `typ`, from the JSON of its payload."""
        return self.sign_bytes(
            msgspec.json.encode({"alg": DESK_ALGORITHM, "typ": kind, "kid": self.kid}), payload
        )

    def sign_bytes(self, header: bytes, payload: bytes) -> str:
        """A compact JWS from the JSON of its header and its payload."""
        return self._signed(f"{encode_base64url(header)}.{encode_base64url(payload)}".encode())

    def _signed(self, signed: bytes) -> str:
        r, s = decode_dss_signature(self._private.sign(signed, _ES256))
        signature = r.to_bytes(_COORDINATE_BYTES) + s.to_bytes(_COORDINATE_BYTES)
        return f"{signed.decode()}.{encode_base64url(signature)}"


def new_token_id(now: float) -> str:
    """A `jti` that no one can guess and that sorts by its time: 48 bits of milliseconds, 80 of chance.

    The store's index grows at its end then, and stays as fast with a million tokens as with ten thousand.
    """
    try:
        chance = _CHANCES.pop()
    except IndexError:
        # Many at once: each call to the system lets the thread that writes in, and waits for it.
        drawn = os.urandom(_CHANCE_BYTES * _CHANCES_AT_ONCE)
        made = [drawn[at : at + _CHANCE_BYTES].hex() for at in range(0, len(drawn), _CHANCE_BYTES)]
        chance = made.pop()
        _CHANCES.extend(made)
    return f"{int(now * 1000) & (2**48 - 1):012x}{chance}"
