# SPDX-License-Identifier: Apache-2.0
"""What one service asks of a token: the values that the checks read, already compiled.

A bundle becomes a policy once, when it is loaded; a request only looks things up. The key that signed
selects the issuer *object*, and the signed `iss` among those that hold this key: two clusters may share one
`iss`, and an identity is bound to the object.
"""

from collections.abc import Mapping
from typing import Final, Literal

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
            it was deleted; None where it cannot be known (another cluster).
    """

    name: str
    grants: tuple[Grant, ...] = ()
    suspended: bool = False
    expires_at: float | None = None
    live_uid: str | None = None


class PinnedKey(msgspec.Struct, frozen=True):
    """A key together with an issuer that it speaks for.

    Attributes:
        key: the key.
        issuer: one issuer that holds it; several may, and then the signed `iss` decides.
        is_revoked: the issuer took it back. It is known so that its tokens are answered as revoked.
    """

    key: Key
    issuer: Issuer
    is_revoked: bool = False


class Desk(msgspec.Struct, frozen=True):
    """The TokenDesk whose tokens a service accepts.

    Attributes:
        name: `namespace/name` of the object.
        keys: its keys by `kid`, each alone: no issuer has one of these.
        audiences: the service's derived audiences; a desk token is for one of them.
        origin_keys: the pinned keys of all issuers by (issuer name, RFC 7638 thumbprint).
        purposes: what a workload's tokens may be for, by `namespace/name` of the TrustedWorkload.
        agents: what tokens of agents may allow at most; None: none is accepted.
    """

    name: str
    keys: Mapping[str, tuple[PinnedKey, ...]]
    audiences: frozenset[str]
    origin_keys: Mapping[tuple[str, str], PinnedKey]
    purposes: Mapping[str, frozenset[str]] = {}
    agents: Grant | None = None


# A `kid` is owned by no one. Each key more of one kid costs an unknown token one signature check.
MAX_KEYS_OF_KID: Final = 4


class Policy(msgspec.Struct, frozen=True):
    """Everything that checks 3 to 15 read.

    Attributes:
        audiences: the service's audiences; never empty.
        keys: the pinned keys by `kid`, over all issuers: at most four different keys of one kid, those that
            are revoked last.
        workloads: by (issuer name, subject).
        max_lifetime_seconds: the longest `exp - iat`.
        clock_skew_seconds: how far the clocks of issuer and gate may be apart. kube-apiserver itself
            allows 60.
        binding: `Pod` requires a token bound to a pod.
        service: `namespace/name` of the ProtectedService, for remedies; empty: not known.
        desk: whose tokens are accepted as well; None: no desk's.
    """

    audiences: frozenset[str]
    keys: Mapping[str, tuple[PinnedKey, ...]]
    workloads: Mapping[tuple[str, str], Workload]
    max_lifetime_seconds: int = 3600
    clock_skew_seconds: int = 60
    binding: Binding = "Pod"
    service: str = ""
    desk: Desk | None = None
