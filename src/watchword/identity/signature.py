# SPDX-License-Identifier: Apache-2.0
"""The signature, checked with the algorithm of the pinned key and no other.

The token's header never chooses how it is verified: the key does. So there is no path on which a public key
could be taken for an HMAC secret, or an RSA key for an EC one.
"""

from collections.abc import Mapping
from typing import Final, cast

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from watchword.identity.jwk import Key

_PKCS1V15: Final = padding.PKCS1v15()
_SHA256: Final = hashes.SHA256()
# RFC 7518, section 3.4: the hash, and the size of each half (R, S) in bytes.
_ECDSA: Final[Mapping[str, tuple[ec.ECDSA, int]]] = {
    "ES256": (ec.ECDSA(hashes.SHA256()), 32),
    "ES384": (ec.ECDSA(hashes.SHA384()), 48),
    "ES512": (ec.ECDSA(hashes.SHA512()), 66),
}


def signature_holds(key: Key, signed: bytes, signature: bytes) -> bool:
    """Whether the signature over `signed` is the key's (RFC 7515, section 5.2; RFC 7518, section 3).

    Args:
        key: the pinned key; its algorithm decides.
        signed: the signing input, `header.payload` as received.
        signature: the decoded third part; for ECDSA, R and S side by side.
    """
    try:
        # The algorithm was derived from the key's own type, so it tells the type, and faster than isinstance.
        if key.algorithm == "RS256":
            rsa_key: rsa.RSAPublicKey = key.public_key  # type: ignore[assignment]  # the algorithm says so
            rsa_key.verify(signature, signed, _PKCS1V15, _SHA256)
            return True
        scheme, size = _ECDSA[key.algorithm]
        if len(signature) != 2 * size:
            return False
        r, s = int.from_bytes(signature[:size]), int.from_bytes(signature[size:])
        public_key = cast("ec.EllipticCurvePublicKey", key.public_key)
        public_key.verify(encode_dss_signature(r, s), signed, scheme)
    except InvalidSignature:
        return False
    return True
