# SPDX-License-Identifier: Apache-2.0
"""The bodies of the objects that the operator makes for desks, and their signing keys. Pure.

A private key is made here, written once, and never kept.
"""

import base64
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from watchword.identity import Key, load_key, public_jwk
from watchword.identity.encoding import encode_base64url
from watchword.kube.names import NamespacedName
from watchword.operator.owned_objects import Body, owned_body
from watchword.trust.api.v1alpha1 import ProtectedService, TokenDesk
from watchword.trust.bundle_forms import WHOLE_ENTRY
from watchword.trust.desk_objects import (
    DESK_LABEL,
    KEY_ENTRY,
    MADE_AT,
    PUBLIC_JWK,
    REVOKED_AT,
    SIGNING_KEY_TYPE,
    SIGNS_FROM,
    copy_name,
    revocations_name,
    signing_secret_name,
    written_name,
)
from watchword.trust.desk_revocations import REVOCATIONS_ENTRY
from watchword.trust.desk_rotation import HeldKey
from watchword.trust.desk_tokens import desk_kid
from watchword.trust.timestamps import rfc3339

_COORDINATE_BYTES: Final = 32


def new_key(now: float, signs_from: float) -> tuple[HeldKey, bytes]:
    """A new signing key: its public part, and the private one as PKCS#8 in PEM.

    Args:
        now: seconds since the epoch.
        signs_from: from when on it may sign.
    """
    private = ec.generate_private_key(ec.SECP256R1())
    numbers = private.public_key().public_numbers()
    x, y = (encode_base64url(value.to_bytes(_COORDINATE_BYTES)) for value in (numbers.x, numbers.y))
    key = load_key({"kty": "EC", "crv": "P-256", "x": x, "y": y, "kid": "new", "alg": "ES256", "use": "sig"})
    if not isinstance(key, Key):
        raise RuntimeError(f"a key that was just made cannot be loaded: {key.detail}")
    jwk = dict(public_jwk(key)) | {"kid": desk_kid(key.thumbprint)}
    pem = private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return HeldKey(desk_kid(key.thumbprint), key.thumbprint, jwk, now, signs_from), pem


def key_secret(desk: TokenDesk, key: HeldKey, pem: bytes | None) -> Body:
    """The Secret of a signing key; without `pem`, of one that was revoked and whose private part goes.

    Args:
        desk: the desk that it is of.
        key: the key.
        pem: its private part.
    """
    body = owned_body("v1", "Secret", desk, signing_secret_name(desk.metadata.name, key.thumbprint))
    notes = {
        MADE_AT: rfc3339(key.made_at),
        SIGNS_FROM: rfc3339(key.signs_from),
        PUBLIC_JWK: msgspec.json.encode(dict(key.jwk), order="deterministic").decode(),
    }
    if key.revoked_at is not None:
        notes[REVOKED_AT] = rfc3339(key.revoked_at)
    body["metadata"]["annotations"] = notes
    body["type"] = SIGNING_KEY_TYPE
    if pem is not None:
        body["data"] = {KEY_ENTRY: base64.b64encode(pem).decode()}
    return body


def written_config_map(desk: TokenDesk) -> Body:
    """The ConfigMap that the desk writes: made empty, and none of its content is ours."""
    return owned_body("v1", "ConfigMap", desk, written_name(desk.metadata.name))


def bundle_copy(
    desk: TokenDesk, service: NamespacedName, bundle: Mapping[str, Any], notes: Mapping[str, str]
) -> Body:
    """The copy of a service's bundle for the desk.

    Args:
        desk: the desk.
        service: the service.
        bundle: the bundle's ConfigMap, as it is stored.
        notes: annotations that say whose bundle, and which, it is.
    """
    body = owned_body("v1", "ConfigMap", desk, copy_name(*service))
    body["metadata"]["annotations"] = dict(notes)
    for member in ("data", "binaryData"):
        text = (bundle.get(member) or {}).get(WHOLE_ENTRY)
        if text is not None:
            body[member] = {WHOLE_ENTRY: text}
    return body


def revocations_config_map(service: ProtectedService, desk: str, document: bytes) -> Body:
    """The ConfigMap next to a service's bundle with the desk tokens that were revoked.

    Args:
        service: the service.
        desk: the name of its desk.
        document: what its gates read.
    """
    body = owned_body("v1", "ConfigMap", service, revocations_name(service.metadata.name))
    body["metadata"]["labels"] |= {DESK_LABEL: desk}
    body["data"] = {REVOCATIONS_ENTRY: document.decode()}
    return body
