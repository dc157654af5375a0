# SPDX-License-Identifier: Apache-2.0
"""All that the desk decides with, as one value that is swapped whole.

A request takes it once and stays with it: no answer is made of half an old configuration and half a new one.
"""

import math
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from watchword.desk.agents.policy import AgentPolicy
from watchword.desk.clients import Clients
from watchword.desk.minting import SigningKey
from watchword.identity import Grant, Key, Policy
from watchword.trust import Ruleset
from watchword.trust.api.v1alpha1 import DeskClient

# What any service may set as the longest life of a token; each service's own rule is checked after it.
LONGEST_SECONDS: Final = 86_400


class Target(msgspec.Struct, frozen=True):
    """A service that accepts this desk's tokens.

    Attributes:
        service: `namespace/name`.
        audience: its derived audience, which its desk tokens are for.
        ruleset: what its gates decide by.
        subjects: the same policy for tokens that are to be exchanged: with the desk's audiences.
        purposes: by `namespace/name` of a TrustedWorkload: what it may name as a purpose.
        resource_servers: names of the DeskClients that the service names.
        agents: what agents may do there at most; None: nothing.
    """

    service: str
    audience: str
    ruleset: Ruleset
    subjects: Policy
    purposes: Mapping[str, frozenset[str]] = {}
    resource_servers: frozenset[str] = frozenset()
    agents: Grant | None = None


class DeskState(msgspec.Struct, frozen=True, kw_only=True):
    """What one desk runs.

    Attributes:
        name: `namespace/name` of the TokenDesk.
        issuer: the desk's issuer URL, byte for byte as in tokens and metadata.
        audience: the desk's derived audience.
        lifetime_seconds: how long tokens live.
        max_lifetime_seconds: the longest that one may live.
        signing: the key that signs; None: there is none that may.
        public_keys: what /.well-known/jwks.json says: all keys whose tokens are accepted, as JWKs.
        own_keys: the same by kid, and those of tokens that may still be revoked.
        targets: by `namespace/name`.
        by_audience: the same by derived audience.
        anyone: for a first look at a subject token: the keys of all targets, and no workloads.
        assertions: the same for client assertions, with the issuer URL as the only audience.
        clients: the desk's clients.
        client_objects: their DeskClients, by name in order, those that cannot be used included.
        agents: what agents may do here; None: nothing about agents is served.
        problems: what is wrong with parts that were left out, for /readyz and the log.
        changes_at: seconds since the epoch; from then on another key may sign. Infinity: none is to come.
    """

    name: str
    issuer: str
    audience: str
    lifetime_seconds: int
    max_lifetime_seconds: int
    signing: SigningKey | None
    public_keys: tuple[dict[str, Any], ...]
    own_keys: Mapping[str, Key]
    targets: Mapping[str, Target]
    by_audience: Mapping[str, Target]
    anyone: Policy
    assertions: Policy
    clients: Clients
    client_objects: tuple[DeskClient, ...] = ()
    agents: AgentPolicy | None = None
    problems: tuple[str, ...] = ()
    changes_at: float = math.inf

    def target_of(self, audience: str) -> Target | None:
        """The target that a request names: `namespace/name`, or the derived audience, each whole."""
        return self.targets.get(audience) or self.by_audience.get(audience)
