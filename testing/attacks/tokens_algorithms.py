# SPDX-License-Identifier: Apache-2.0
"""T1 to T3: an algorithm or a key of the caller's choosing (RFC 8725, sections 2.1, 3.1 and 3.10)."""

import hashlib
import hmac
import json
from collections.abc import Callable
from functools import partial
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from testing.attacks.case import Case, cases
from testing.attacks.world import key, payload, token
from testing.tokens import Signer, b64, compact, signer

HASHES = {"HS256": hashlib.sha256, "HS384": hashlib.sha384, "HS512": hashlib.sha512}


def public(kid: str, encoding: Encoding, form: PublicFormat) -> bytes:
    """A pinned public key as bytes: what an attacker can fetch."""
    return bytes(key(kid).private.public_key().public_bytes(encoding, form))


def pem(kid: str = "rsa") -> bytes:
    return public(kid, Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def jwks(kid: str = "rsa") -> bytes:
    return json.dumps({"keys": [key(kid).jwk]}).encode()


def mac(secret: bytes, algorithm: str = "HS256", header: dict[str, Any] | None = None) -> bytes:
    """A token whose signature is an HMAC under a secret that everybody knows."""
    head = compact({"alg": algorithm, "kid": "rsa"} | (header or {}))
    signed = f"{b64(head)}.{b64(payload())}".encode()
    return signed + b"." + b64(hmac.digest(secret, signed, HASHES[algorithm])).encode()


def mac_under(secret: Callable[[], bytes], algorithm: str = "HS256") -> bytes:
    return mac(secret(), algorithm)


def mac_that_says(algorithm: str, secret: bytes, kid: str = "rsa") -> bytes:
    """An HMAC under the public key, in a token that names the real algorithm."""
    signed = f"{b64(compact({'alg': algorithm, 'kid': kid}))}.{b64(payload())}".encode()
    return signed + b"." + b64(hmac.digest(secret, signed, "sha256")).encode()


SECRETS: list[tuple[str, Callable[[], bytes]]] = [
    ("PEM", pem),
    ("PEM without its last line break", lambda: pem()[:-1]),
    ("PEM with CRLF", lambda: pem().replace(b"\n", b"\r\n")),
    ("PEM after a byte order mark", lambda: b"\xef\xbb\xbf" + pem()),
    ("PEM of PKCS 1", lambda: public("rsa", Encoding.PEM, PublicFormat.PKCS1)),
    ("DER", lambda: public("rsa", Encoding.DER, PublicFormat.SubjectPublicKeyInfo)),
    ("DER of PKCS 1", lambda: public("rsa", Encoding.DER, PublicFormat.PKCS1)),
    ("JWK text", lambda: json.dumps(key("rsa").jwk).encode()),
    ("JWK text, compact", partial(compact, key("rsa").jwk)),
    ("JWKS text", jwks),
    ("JWKS text after a byte order mark", lambda: b"\xef\xbb\xbf" + jwks()),
    ("modulus", key("rsa").jwk["n"].encode),
    ("EC PEM", lambda: pem("es256")),
    ("EC point", lambda: public("es256", Encoding.X962, PublicFormat.UncompressedPoint)),
    ("OpenSSH line", lambda: public("rsa", Encoding.OpenSSH, PublicFormat.OpenSSH)),
    ("nothing", lambda: b""),
    ("thumbprint", key("rsa").key.thumbprint.encode),
]

PUBLIC_KEY_AS_SECRET = [
    *cases(
        "T1",
        "unsupported_algorithm",
        [(f"HS256 under the public key as {name}", partial(mac_under, secret)) for name, secret in SECRETS],
    ),
    *cases(
        "T1",
        "unsupported_algorithm",
        [(f"{name} under the PEM", partial(mac_under, pem, name)) for name in ("HS384", "HS512")],
    ),
    *cases(
        "T1",
        "bad_signature",
        [
            ("HMAC under the PEM, said to be RS256", lambda: mac_that_says("RS256", pem())),
            ("HMAC under the JWKS, said to be RS256", lambda: mac_that_says("RS256", jwks())),
            (
                "HMAC under the EC PEM, said to be ES256",
                lambda: mac_that_says("ES256", pem("es256"), "es256"),
            ),
        ],
    ),
]


def unsigned(algorithm: object, signature: bytes = b"AA") -> bytes:
    head = b64(compact({"alg": algorithm, "kid": "rsa"}))
    return f"{head}.{b64(payload())}.".encode() + signature


def said(kid: str, algorithm: object) -> bytes:
    """A good signature, and a header that names another algorithm."""
    return token(kid, {"alg": algorithm})


ANOTHER_ALGORITHM = [
    *cases(
        "T2",
        "unsupported_algorithm",
        [
            (f"alg {algorithm!r} over an RSA signature", partial(said, "rsa", algorithm))
            for algorithm in (
                "none",
                "None",
                "NONE",
                "nOnE",
                "RS384",
                "RS512",
                "PS256",
                "PS384",
                "ES256K",
                "EdDSA",
                "RSA-OAEP",
                "dir",
                "rs256",
                "RS256 ",
                " RS256",
                "RS256\0",
                "RS256\n",
                "RSA256",
                "SHA256withRSA",
                "",
                0,
                None,
                True,
                ["RS256"],
                {"RS256": 1},
                "RS256,ES256",
                "ＲＳ256",
            )
        ],
    ),
    *cases(
        "T2",
        "unsupported_algorithm",
        [
            ("no alg at all", partial(token, header={"alg": ...})),
            ("Alg for alg", partial(token, header=b'{"Alg":"RS256","kid":"rsa"}')),
            ("alg none and some signature", partial(unsigned, "none")),
            ("RS256 header, ES256 key", partial(said, "es256", "RS256")),
            ("ES256 header, RSA key", partial(said, "rsa", "ES256")),
            ("ES256 header, P-384 key", partial(said, "es384", "ES256")),
            ("ES384 header, P-256 key", partial(said, "es256", "ES384")),
            ("ES512 header, P-256 key", partial(said, "es256", "ES512")),
            ("ES512 header, RSA key", partial(said, "rsa", "ES512")),
        ],
    ),
    *cases(
        "T2",
        "malformed_token",
        [
            ("alg none and an empty signature", partial(unsigned, "none", b"")),
            ("RS256 and an empty signature", partial(unsigned, "RS256", b"")),
            (
                "alg twice, the last one good",
                lambda: key("rsa").sign(b'{"alg":"none","alg":"RS256","kid":"rsa"}', payload()),
            ),
            (
                "alg twice, the first one good",
                lambda: key("rsa").sign(b'{"alg":"RS256","alg":"none","kid":"rsa"}', payload()),
            ),
            (
                "alg twice, once escaped",
                lambda: key("rsa").sign(b'{"alg":"RS256","\\u0061lg":"none","kid":"rsa"}', payload()),
            ),
        ],
    ),
]


def own(kid: str = "mallory", algorithm: str = "RS256") -> Signer:
    """A key that the attacker made."""
    return signer(kid, algorithm)


def self_signed(**header: Any) -> bytes:
    by = own()
    return by.sign(compact({"alg": "RS256", "kid": "mallory", **header}), payload())


def impostor(**header: Any) -> bytes:
    """Signed by the attacker under the kid of a pinned key."""
    return own().sign(compact({"alg": "RS256", "kid": "rsa", **header}), payload())


KEY_FROM_HEADER = [
    *cases(
        "T3",
        "unsupported_header",
        [
            (f"{name} in a self-signed token", partial(self_signed, **{name: value}))
            for name, value in {
                "jwk": own().jwk,
                "jku": "https://mallory.example/jwks",
                "x5u": "https://mallory.example/x5u",
                "x5c": ["MIIB"],
                "x5t": "AAAA",
                "x5t#S256": "AAAA",
            }.items()
        ],
    ),
    *cases(
        "T3",
        "unsupported_header",
        [
            (f"{name} beside a pinned kid", partial(impostor, **{name: value}))
            for name, value in {
                "jwk": own().jwk,
                "jku": "file:///etc/passwd",
                "x5u": "http://169.254.169.254/",
                "x5c": [],
                "jwk ": None,
            }.items()
            if name != "jwk "
        ],
    ),
    *cases(
        "T3",
        "unsupported_header",
        [
            ("the pinned key itself as jwk, well signed", lambda: token(header={"jwk": key("rsa").jwk})),
            ("jwk null, well signed", partial(token, header={"jwk": None})),
            ("jku empty, well signed", partial(token, header={"jku": ""})),
        ],
    ),
    *cases(
        "T3",
        "unknown_key",
        [
            ("the attacker's key", self_signed),
            ("kid the thumbprint of a pinned key", lambda: token(header={"kid": key("rsa").key.thumbprint})),
            ("kid a path", partial(self_signed, kid="../../../../dev/null")),
            ("kid an SQL text", partial(self_signed, kid="' UNION SELECT 'k")),
            ("kid with white space", partial(self_signed, kid="rsa ")),
            ("kid in upper case", partial(self_signed, kid="RSA")),
            ("kid with a NUL", partial(self_signed, kid="rsa\0")),
            ("kid a URL", partial(self_signed, kid="https://mallory.example/jwks#k")),
        ],
    ),
    *cases(
        "T3",
        "missing_key_id",
        [
            ("no kid", partial(self_signed, kid=None)),
            ("no kid, well signed", partial(token, header={"kid": ...})),
            ("kid a list", partial(self_signed, kid=["rsa"])),
            ("kid an object", partial(self_signed, kid={"rsa": 1})),
            ("kid a number", partial(self_signed, kid=0)),
            ("kid empty", partial(self_signed, kid="")),
        ],
    ),
    *cases(
        "T3",
        "bad_signature",
        [
            ("the attacker's signature under a pinned kid", impostor),
            (
                "another pinned key of the same issuer",
                lambda: key("staging").sign(compact({"alg": "RS256", "kid": "rsa"}), payload()),
            ),
            (
                "an ES256 signature of the attacker",
                lambda: own("m256", "ES256").sign(compact({"alg": "ES256", "kid": "es256"}), payload()),
            ),
        ],
    ),
]

TOKENS: list[Case[bytes]] = [*PUBLIC_KEY_AS_SECRET, *ANOTHER_ALGORITHM, *KEY_FROM_HEADER]
