# SPDX-License-Identifier: Apache-2.0
"""What one service asks of a token: the values that the checks read, already compiled.

A bundle becomes a policy once, when it is loaded; a request only looks things up. Keys select the issuer
*object*, never the `iss` text: two clusters may share one `iss`, and an identity is bound to the object.
"""

from collections.abc import Mapping
from typing import Literal

import msgspec

from watchword.identity.jwk import Key

Binding = Literal["Pod", "Any"]


class Revocations(msgspec.Struct, frozen=True):
    """What an issuer's owner took back before it expired.

    Attributes:
        token_ids: `jti` values.
        pod_uids: UIDs of pods whose tokens are refused.
        service_account_uids: UIDs of ServiceAccounts whose tokens are refused.
        issued_before: seconds since the epoch; a token issued before it is refused. None: no such line.
    """

    token_ids: frozenset[str] = frozenset()
    pod_uids: frozenset[str] = frozenset()
    service_account_uids: frozenset[str] = frozenset()
    issued_before: float | None = None


class Issuer(msgspec.Struct, frozen=True):
    """One ClusterTrustedIssuer.

    Attributes:
        name: the object's name; identities are bound to it.
        urls: the accepted `iss` values, compared byte for byte.
        algorithms: the allowed `alg` values (a subset of the four that Kubernetes signs with).
        revocations: what was taken back.
    """

    name: str
    urls: frozenset[str]
    algorithms: frozenset[str]
    revocations: Revocations = Revocations()


class Grant(msgspec.Struct, frozen=True, gc=False):
    """Scopes, and the accounts and projects that they hold for. `*`, said outright, stands for all."""

    scopes: tuple[str, ...]
    accounts: tuple[str, ...] = ()
    projects: tuple[str, ...] = ()


class Workload(msgspec.Struct, frozen=True, gc=False):
    """One TrustedWorkload: a subject of one issuer, and what it may do.

    Attributes:
        name: `namespace/name` of the object.
        grants: what it was granted.
        suspended: trust is switched off.
        expires_at: seconds since the epoch; None: no end.
        live_uid: the UID of the live ServiceAccount where the operator knows it; the empty string when
            it was deleted; None where nobody can know (another cluster).
    """

    name: str
    grants: tuple[Grant, ...] = ()
    suspended: bool = False
    expires_at: float | None = None
    live_uid: str | None = None


class PinnedKey(msgspec.Struct, frozen=True):
    """A key together with the issuer that it speaks for."""

    key: Key
    issuer: Issuer


class Policy(msgspec.Struct, frozen=True):
    """Everything that checks 3 to 15 read.

    Attributes:
        audiences: the service's audiences; never empty.
        keys: the pinned keys by `kid`, over all issuers.
        workloads: by (issuer name, subject).
        max_lifetime_seconds: the longest `exp - iat`.
        clock_skew_seconds: how far the clocks of issuer and gate may be apart. kube-apiserver itself
            allows 60.
        binding: `Pod` requires a token bound to a pod.
    """

    audiences: frozenset[str]
    keys: Mapping[str, PinnedKey]
    workloads: Mapping[tuple[str, str], Workload]
    max_lifetime_seconds: int = 3600
    clock_skew_seconds: int = 60
    binding: Binding = "Pod"


class Identity(msgspec.Struct, frozen=True, gc=False):
    """The answer "yes": who is calling, as far as signed bytes and the policy prove it.

    Attributes:
        issuer: the name of the ClusterTrustedIssuer.
        subject: `system:serviceaccount:<namespace>:<name>`.
        workload: `namespace/name` of the TrustedWorkload.
        grants: what it may do.
        token_id: the token's `jti`, or the empty string.
        key_thumbprint: RFC 7638 thumbprint of the key that signed.
        pod: the pod's name, or the empty string.
        valid_from: seconds since the epoch; before it, the answer has to be found anew.
        valid_until: seconds since the epoch; from then on, the answer has to be found anew.
    """

    issuer: str
    subject: str
    workload: str
    grants: tuple[Grant, ...]
    token_id: str
    key_thumbprint: str
    pod: str
    valid_from: float
    valid_until: float
