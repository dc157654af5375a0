# SPDX-License-Identifier: Apache-2.0
"""Tokens, keys and policies from a good default and one change, so that a case shows only what differs."""

import base64
import json
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from watchword.identity import ALGORITHMS, Issuer, Key, PinnedKey, Policy, Workload, load_key

NOW = 1_800_000_000.0
URL = "https://kubernetes.default.svc.cluster.local"
AUDIENCE = "tuist-server"
SUBJECT = "system:serviceaccount:atlas-production:atlas"
ISSUER = Issuer("atlas-production", frozenset({URL}), ALGORITHMS)
_CURVES: Mapping[str, tuple[str, ec.EllipticCurve, hashes.HashAlgorithm, int]] = {
    "ES256": ("P-256", ec.SECP256R1(), hashes.SHA256(), 32),
    "ES384": ("P-384", ec.SECP384R1(), hashes.SHA384(), 48),
    "ES512": ("P-521", ec.SECP521R1(), hashes.SHA512(), 66),
}


def b64(data: bytes) -> str:
    """Base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Signer:
    """A cluster's signing key, with its public JWK."""

    def __init__(self, kid: str, algorithm: str = "RS256", bits: int = 2048, exponent: int = 65537) -> None:
        self.kid, self.algorithm = kid, algorithm
        self.private: Any
        if algorithm == "RS256":
            self.private = rsa.generate_private_key(exponent, bits)
            n = self.private.public_key().public_numbers().n
            e = exponent.to_bytes((exponent.bit_length() + 7) // 8)
            self.jwk = {"kty": "RSA", "n": b64(n.to_bytes((n.bit_length() + 7) // 8)), "e": b64(e)}
        else:
            name, curve, _, size = _CURVES[algorithm]
            self.private = ec.generate_private_key(curve)
            numbers = self.private.public_key().public_numbers()
            x, y = (b64(value.to_bytes(size)) for value in (numbers.x, numbers.y))
            self.jwk = {"kty": "EC", "crv": name, "x": x, "y": y}
        self.jwk |= {"kid": kid, "alg": algorithm, "use": "sig"}

    def signature(self, data: bytes) -> bytes:
        """The raw JWS signature over the bytes."""
        if self.algorithm == "RS256":
            return self.private.sign(data, padding.PKCS1v15(), hashes.SHA256())
        _, _, digest, size = _CURVES[self.algorithm]
        r, s = decode_dss_signature(self.private.sign(data, ec.ECDSA(digest)))
        return r.to_bytes(size) + s.to_bytes(size)

    def sign(self, header: bytes, payload: bytes) -> bytes:
        """A compact JWS over exactly these header and payload bytes."""
        signed = f"{b64(header)}.{b64(payload)}".encode()
        return signed + b"." + b64(self.signature(signed)).encode()

    @property
    def key(self) -> Key:
        """The key as the gate loads it."""
        key = load_key(self.jwk)
        assert isinstance(key, Key), key
        return key


@cache
def signer(kid: str = "key-1", algorithm: str = "RS256") -> Signer:
    """A signer, made once per test run."""
    return Signer(kid, algorithm)


def claims(**changes: Any) -> dict[str, Any]:
    """What kube-apiserver v1.36 signs for a pod's projected token; `...` (Ellipsis) removes a claim."""
    document: dict[str, Any] = {
        "aud": [AUDIENCE],
        "exp": int(NOW) + 600,
        "iat": int(NOW) - 60,
        "iss": URL,
        "jti": "7b1c1d0e-0000-4000-8000-000000000001",
        "kubernetes.io": {
            "namespace": "atlas-production",
            "node": {"name": "node-1", "uid": "n-1"},
            "pod": {"name": "atlas-0", "uid": "p-1"},
            "serviceaccount": {"name": "atlas", "uid": "sa-1"},
        },
        "nbf": int(NOW) - 60,
        "sub": SUBJECT,
    }
    document |= changes
    return {name: value for name, value in document.items() if value is not ...}


def kubernetes(**changes: Any) -> dict[str, Any]:
    """The kubernetes.io claim with changes; `...` removes a member."""
    document = claims()["kubernetes.io"] | changes
    return {name: value for name, value in document.items() if value is not ...}


def compact(document: Mapping[str, Any]) -> bytes:
    """JSON as Kubernetes writes it."""
    return json.dumps(document, separators=(",", ":")).encode()


def token(
    by: Signer | None = None,
    *,
    header: Mapping[str, Any] | bytes | None = None,
    payload: bytes | None = None,
    **changes: Any,
) -> bytes:
    """A projected token; keyword arguments change claims, `header` and `payload` replace parts."""
    by = by or signer()
    head = header if header is not None else {"alg": by.algorithm, "kid": by.kid}
    head_bytes = head if isinstance(head, bytes) else compact(head)
    return by.sign(head_bytes, compact(claims(**changes)) if payload is None else payload)


def claims_of(token: bytes | str) -> dict[str, Any]:
    """The payload of a token, unproven."""
    part = (token if isinstance(token, str) else token.decode()).split(".")[1]
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return found


def policy(
    *signers: Signer,
    issuer: Issuer = ISSUER,
    workload: Workload | None = None,
    subject: str = SUBJECT,
    **changes: Any,
) -> Policy:
    """A policy that trusts the default token's workload."""
    fields: dict[str, Any] = {
        "audiences": frozenset({AUDIENCE}),
        "keys": {each.kid: (PinnedKey(each.key, issuer),) for each in signers or (signer(),)},
        "workloads": {(issuer.name, subject): workload or Workload("tuist/atlas")},
    }
    return Policy(**(fields | changes))


Change = Callable[[], bytes]
