# SPDX-License-Identifier: Apache-2.0
"""A cluster's ServiceAccount signing key: what the API server signs with, and what a test may sign with too.

For tokens that no API server would mint on request (expired ones, odd claims), signed by the very key that is
pinned. Built on `cryptography` alone: a test signer that shares code with the verifier shares its mistakes.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from testing.controlplane.certificates import private_key_pem, write_private_file

Algorithm = Literal["RS256", "ES256", "ES384", "ES512"]

_CURVES: dict[str, tuple[ec.EllipticCurve, hashes.HashAlgorithm]] = {
    "ES256": (ec.SECP256R1(), hashes.SHA256()),
    "ES384": (ec.SECP384R1(), hashes.SHA384()),
    "ES512": (ec.SECP521R1(), hashes.SHA512()),
}


class SigningKey:
    """A fresh private key for one of the four algorithms that kube-apiserver signs with."""

    def __init__(self, algorithm: Algorithm = "RS256") -> None:
        self.algorithm: Algorithm = algorithm
        self._key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
        if algorithm == "RS256":
            self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        else:
            self._key = ec.generate_private_key(_CURVES[algorithm][0])

    def __repr__(self) -> str:
        return f"SigningKey(algorithm={self.algorithm!r}, key_id={self.key_id!r})"

    @property
    def key_id(self) -> str:
        """The `kid` as kube-apiserver derives it: base64url(SHA-256(DER of the SubjectPublicKeyInfo))."""
        spki = self._key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return encode(hashlib.sha256(spki).digest())

    @property
    def header(self) -> dict[str, Any]:
        """The JOSE header of every token that the API server mints with this key."""
        return {"alg": self.algorithm, "kid": self.key_id}

    def write_private(self, path: Path) -> None:
        """Write the private key for `--service-account-signing-key-file`."""
        write_private_file(path, private_key_pem(self._key))

    def write_public(self, path: Path) -> None:
        """Write the public key for `--service-account-key-file`."""
        path.write_bytes(
            self._key.public_key().public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
        )

    def sign(self, header: Mapping[str, Any], claims: Mapping[str, Any]) -> str:
        """A compact JWS over exactly this header and these claims (RFC 7515 section 7.1).

        The signature is always made with this key's own algorithm, whatever the header says.
        """
        signing_input = f"{encode(_json(header))}.{encode(_json(claims))}"
        return f"{signing_input}.{encode(self._signature(signing_input.encode()))}"

    def _signature(self, content: bytes) -> bytes:
        if isinstance(self._key, rsa.RSAPrivateKey):
            return self._key.sign(content, padding.PKCS1v15(), hashes.SHA256())
        r, s = decode_dss_signature(self._key.sign(content, ec.ECDSA(_CURVES[self.algorithm][1])))
        # JWS wants the two integers side by side at full width, not DER (RFC 7518 section 3.4).
        width = (self._key.curve.key_size + 7) // 8
        return r.to_bytes(width, "big") + s.to_bytes(width, "big")


def token_parts(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The header and the claims of a compact JWS, with nothing verified."""
    header, claims, _ = token.split(".")
    return json.loads(decode(header)), json.loads(decode(claims))


def encode(content: bytes) -> str:
    """base64url without padding (RFC 7515 section 2)."""
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def decode(text: str) -> bytes:
    """The bytes of base64url text without padding."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
