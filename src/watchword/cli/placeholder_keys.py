# SPDX-License-Identifier: Apache-2.0
"""Make stand-ins for what only a cluster can read: an issuer's keys, or an issuer that is not in the folder.

Who is trusted does not depend on what the keys are, so questions about trust can be answered offline. A key
made here verifies nothing that anyone has signed, and is never written anywhere.
"""

import hashlib
import json
from collections.abc import Collection

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec

from watchword.identity import is_service_account_name, public_jwk
from watchword.identity.jwk import Key
from watchword.trust import ClusterTrustedIssuer, Resources
from watchword.trust.objects import read_object

# The order of P-256 (NIST SP 800-186, section 3.2.1.3), less one.
_SCALARS = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632550


class StandIns(msgspec.Struct, frozen=True):
    """Resources that compile offline, and what stands in.

    Attributes:
        resources: the given ones, with issuers that are named and not there.
        keys: JWKS documents by issuer, for issuers whose keys cannot be read here.
        missing: the names of issuers that are not there.
        unread: the names of issuers whose keys are not read.
    """

    resources: Resources
    keys: dict[str, bytes]
    missing: tuple[str, ...]
    unread: tuple[str, ...]


def stand_in(resources: Resources, keys: dict[str, bytes], *, issuers: Collection[str] = ()) -> StandIns:
    """Complete resources for questions that do not depend on keys.

    Args:
        resources: of a folder, or of a cluster.
        keys: JWKS documents by issuer that were given.
        issuers: names of issuers that were left out as wrong: they are there, and get no stand-in.
    """
    known = {each.metadata.name: each for each in resources.issuers}
    named = {each.spec.issuer_ref.name for each in resources.workloads}
    missing = sorted(name for name in named - known.keys() - set(issuers) if is_service_account_name(name))
    unread = sorted(
        name
        for name, issuer in known.items()
        if issuer.spec.keys.inline is None and name not in keys and not _is_read(issuer, resources)
    )
    made = tuple(_issuer(name) for name in missing)
    return StandIns(
        msgspec.structs.replace(resources, issuers=(*resources.issuers, *made)),
        keys | {name: placeholder_jwks(name) for name in unread},
        tuple(missing),
        tuple(unread),
    )


def placeholder_jwks(name: str) -> bytes:
    """A JWKS of one key that belongs to a name and to nothing else."""
    digest = hashlib.sha256(f"watchword placeholder {name}".encode()).digest()
    private = ec.derive_private_key(1 + int.from_bytes(digest) % _SCALARS, ec.SECP256R1())
    key = Key(f"placeholder-{digest.hex()[:16]}", "", "ES256", private.public_key())
    return json.dumps({"keys": [public_jwk(key)]}).encode()


def _is_read(issuer: ClusterTrustedIssuer, resources: Resources) -> bool:
    source = issuer.spec.keys.config_map
    if source is None:
        return False
    return source.key in resources.config_maps.get((source.namespace, source.name), {})


def _issuer(name: str) -> ClusterTrustedIssuer:
    made = read_object(
        {
            "apiVersion": "watchword.dev/v1alpha1",
            "kind": "ClusterTrustedIssuer",
            "metadata": {"name": name},
            "spec": {
                "issuer": "https://placeholder.invalid",
                "keys": {"inline": json.loads(placeholder_jwks(name))},
            },
        }
    )
    assert isinstance(made.resource, ClusterTrustedIssuer)  # noqa: S101 - a constant but for the name
    return made.resource
