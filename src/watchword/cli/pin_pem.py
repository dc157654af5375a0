# SPDX-License-Identifier: Apache-2.0
"""Public keys in PEM, such as kube-apiserver's `sa.pub`, as the JWKS that kube-apiserver serves of them.

The `kid` is computed as kube-apiserver does: the base64url of the SHA-256 of the key's DER. A private key is
never read: the person who pins one is told that it was about to leak.
"""

import hashlib
import re
from contextlib import suppress
from typing import Final

import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from watchword.cli.failures import UnusableInput
from watchword.identity.encoding import encode_base64url
from watchword.identity.jwk import PublicKey, jwk_of

_BLOCK: Final = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----", re.DOTALL)


def is_pem(data: bytes) -> bool:
    """Whether a file holds a PEM block (RFC 7468)."""
    return b"-----BEGIN " in data


def kid_of_kubernetes(key: PublicKey) -> str:
    """The `kid` that kube-apiserver gives a key (pkg/serviceaccount/jwt.go, keyIDFromPublicKey)."""
    form = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return encode_base64url(hashlib.sha256(key.public_bytes(*form)).digest())


def jwks_of_pem(data: bytes, source: str) -> bytes:
    """The JWKS of all public keys and certificates in a PEM file.

    Args:
        data: the file.
        source: what to call it in errors, such as `--jwks sa.pub`.

    Raises:
        UnusableInput: a private key, a block that cannot be read, or no block at all.
    """
    keys = []
    for place, block in enumerate(_BLOCK.finditer(data), start=1):
        label = block[1].decode("ascii")
        if "PRIVATE KEY" in label:
            raise UnusableInput(
                f"{source} holds a private key (block {place}, {label}); it was not read.",
                "Give the public key: `openssl pkey -in FILE -pubout`. Keep the private one where it was.",
            )
        keys.append(_jwk(block[0], label, f"{source}, block {place}"))
    if not keys:
        raise UnusableInput(f"{source} holds no whole PEM block.", "Give a file of `PUBLIC KEY` blocks.")
    return msgspec.json.encode({"keys": keys})


def _jwk(block: bytes, label: str, where: str) -> dict[str, str]:
    try:
        if label == "CERTIFICATE":
            key: object = x509.load_pem_x509_certificate(block).public_key()
        else:
            key = serialization.load_pem_public_key(block)
    except (ValueError, UnsupportedAlgorithm):
        raise UnusableInput(
            f"{where}: {label} is not a public key that can be read.",
            "Give `PUBLIC KEY` or `CERTIFICATE` blocks of an RSA or EC key.",
        ) from None
    if isinstance(key, (rsa.RSAPublicKey, ec.EllipticCurvePublicKey)):
        with suppress(ValueError):
            return {"use": "sig", **jwk_of(kid_of_kubernetes(key), key)}
    raise UnusableInput(
        f"{where} is neither RSA nor EC on P-256, P-384 or P-521.",
        "Give the key that kube-apiserver signs ServiceAccount tokens with.",
    )
