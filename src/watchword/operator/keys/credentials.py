# SPDX-License-Identifier: Apache-2.0
"""Whether a Secret may be sent to an issuer's host: its own metadata says so, or it is not read on.

Who edits an issuer names both the Secret and the host. The mistake to prevent is that naming any Secret of
the operator's namespace, such as its webhook's key, sends it to a host of one's choice.
"""

from typing import Final

import msgspec

from watchword.operator.keys.errors import FetchError
from watchword.operator.keys.url import parse_target
from watchword.trust.api.v1alpha1.issuer import DiscoveryKeys, SecretKey

# On the Secret: the issuer that may use it, and the only host that it may be sent to.
ISSUER_LABEL: Final = "watchword.dev/issuer-credential"
HOST_ANNOTATION: Final = "watchword.dev/host"


class CredentialSecret(msgspec.Struct, frozen=True):
    """One entry of one Secret, with what its owner says that it is for.

    Attributes:
        issuer: the value of its label `watchword.dev/issuer-credential`; empty where it has none.
        host: the value of its annotation `watchword.dev/host`; empty where it has none.
        value: the credential.
    """

    issuer: str
    host: str
    value: str

    def __repr__(self) -> str:
        return f"CredentialSecret(issuer={self.issuer!r}, host={self.host!r})"


def credential_for(secret: CredentialSecret, issuer: str, url: str, source: DiscoveryKeys) -> str:
    """The credential, if the Secret was made for this issuer and for the host that would be asked.

    Args:
        secret: what `source.credential_secret_ref` names.
        issuer: the name of the ClusterTrustedIssuer.
        url: its `iss`, whose host is asked where the source has no jwksURL.
        source: its `spec.keys.discovery`.

    Raises:
        FetchError: the Secret was made for something else, or does not say for what.
    """
    target = parse_target(source.jwks_url if source.jwks_url is not None else url)
    place = _place(source.credential_secret_ref)
    if secret.issuer != issuer:
        raise FetchError(
            f"the Secret {place} is not labelled as a credential of the issuer {issuer}",
            f"if it is meant to be, its owner labels it: {ISSUER_LABEL}: {issuer}",
        )
    if secret.host != target.authority:
        raise FetchError(
            f"the Secret {place} is not for the host {target.authority}",
            f"if it is meant to be sent there, its owner annotates it: {HOST_ANNOTATION}: {target.authority}",
        )
    return secret.value


def _place(reference: SecretKey | None) -> str:
    return "" if reference is None else f"{reference.namespace}/{reference.name}"
