# SPDX-License-Identifier: Apache-2.0
"""What operator and desk leave for each other in the desk's namespace: names, labels, entries, annotations.

The operator writes, and the desk reads:

- a Secret for each signing key (`signing_secret_name`), of the type `SIGNING_KEY_TYPE`: `KEY_ENTRY` holds the
  private key as PKCS#8 in PEM; a Secret without it is of a key that was revoked, and signs nothing.
  `SIGNS_FROM` is the RFC 3339 time from which it may sign: a desk signs with the newest key whose time has
  come, and with the oldest where none has. A new key is in the bundles ten minutes before.
- a ConfigMap for each service that names the desk and may (`copy_name`): its bundle under `bundle.v2.json`,
  plain in `data` or packed in `binaryData`, as it is next to the service.

The desk writes, and the operator reads, one ConfigMap (`written_name`), which the operator makes empty and
never overwrites: `revocations.json` (`desk_revocations.desk_document`), and what else the desk keeps there.
All of them bear `DESK_LABEL` with the desk's name and are owned by the TokenDesk.
"""

import hashlib
from typing import Final

DESK_LABEL: Final = "watchword.dev/desk"
# Of a copy: whose bundle it is.
COPY_OF_ANNOTATION: Final = "watchword.dev/copy-of"
SIGNS_FROM: Final = "watchword.dev/signs-from"
MADE_AT: Final = "watchword.dev/made-at"
REVOKED_AT: Final = "watchword.dev/revoked-at"
PUBLIC_JWK: Final = "watchword.dev/public-jwk"
SIGNING_KEY_TYPE: Final = "watchword.dev/signing-key"
KEY_ENTRY: Final = "key.pem"
COPY_PREFIX: Final = "watchword-deskbundle-"
WRITTEN_PREFIX: Final = "watchword-desk-"
# Of the store that a desk keeps, in the ConfigMap that it writes: `store`, and `keys`, the id of the store
# for which each key began to sign, by `kid`. Keys of another store than the present one are revoked.
STORE_ENTRY: Final = "store.json"
REVOCATIONS_PREFIX: Final = "watchword-revocations-"
_DIGITS: Final = 16


def signing_secret_name(desk: str, thumbprint: str) -> str:
    """The Secret of a signing key.

    Args:
        desk: the TokenDesk's name.
        thumbprint: the key's RFC 7638 thumbprint, which no object's name can be.
    """
    return f"watchword-signing-{desk}-{hashlib.sha256(thumbprint.encode()).hexdigest()[:_DIGITS]}"


def copy_name(namespace: str, service: str) -> str:
    """The ConfigMap in the desk's namespace with the bundle of a service."""
    # No namespace has a dot in its name, so no two services have one name here.
    return f"{COPY_PREFIX}{namespace}.{service}"


def written_name(desk: str) -> str:
    """The ConfigMap in the desk's namespace that the desk itself writes."""
    return f"{WRITTEN_PREFIX}{desk}"


def revocations_name(service: str) -> str:
    """The ConfigMap next to a service's bundle with the desk tokens that were revoked."""
    return f"{REVOCATIONS_PREFIX}{service}"
