# SPDX-License-Identifier: Apache-2.0
"""The providers of agents that a desk knows, made ready: whose word it takes, by which keys, for whom.

Pure, and asked again each time that something is bound or minted: a provider that was suspended or deleted
since is so from the next request on.
"""

import hashlib
import math
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from watchword.identity import Key
from watchword.trust.agent_providers import issuers_taken, keys_end_at, providers_of, usable_keys
from watchword.trust.api.v1alpha1 import AgentProvider, TokenDesk
from watchword.trust.api.v1alpha1.status import AgentProviderStatus

_NAMED: Final = 3


class IdentityProvider(msgspec.Struct, frozen=True, kw_only=True):
    """A provider of agents. Its repr shows its name only.

    Attributes:
        name: of the AgentProvider.
        id: what registrations name it by. An object that was deleted and made again is another provider:
            no one took down what the first one said was revoked meanwhile.
        issuer: what its tokens say as `iss`.
        display_name: what people see.
        audience: what its tokens must say as their only `aud`.
        client_ids: the agents that may come.
        algorithms: the signature algorithms that are taken.
        keys: what its tokens are verified with.
        domains: the domains whose people it may name.
        max_auth_age_seconds: how long ago the person may have signed in there.
        is_suspended: whether its assertions are refused; what it says is revoked is ended all the same.
    """

    name: str
    id: str
    issuer: str
    display_name: str
    audience: str
    client_ids: frozenset[str]
    algorithms: frozenset[str]
    keys: tuple[Key, ...]
    domains: frozenset[str]
    max_auth_age_seconds: int
    is_suspended: bool = False

    def __repr__(self) -> str:
        return f"IdentityProvider({self.name!r})"

    def takes_key(self, thumbprint: str) -> bool:
        """Whether a key is one that its tokens are verified with; so is empty, of before that was kept."""
        return not thumbprint or any(each.thumbprint == thumbprint for each in self.keys)

    def origin_of(self, subject: str) -> str:
        """What a subject of this provider is stored as: a digest, since the store need not know who it is."""
        told = msgspec.json.encode(["origin", self.id, subject])
        return hashlib.sha256(told).hexdigest()


def identity_providers(
    desk: TokenDesk,
    resources: Iterable[AgentProvider],
    statuses: Mapping[str, AgentProviderStatus],
    now: float,
    problems: list[str],
) -> dict[str, IdentityProvider]:
    """The providers of a desk that count, by issuer; what is wrong with the others is added to the problems.

    Args:
        desk: the desk.
        resources: AgentProviders, others' as well.
        statuses: what the operator says of them, by name.
        now: seconds since the epoch.
        problems: what was left out, for people.
    """
    ours = providers_of(desk, resources)
    taken = issuers_taken(desk, ours)
    found: dict[str, IdentityProvider] = {}
    for each in ours:
        spec, name = each.spec, each.metadata.name
        if spec.issuer in taken:
            problems.append(f"the issuer of the AgentProvider {name} is another one's, or the desk's own")
            continue
        keys = usable_keys(each, statuses.get(name), now)
        if not keys.keys:
            # It can still be named where agents came by it; what it says proves nothing.
            problems.append(f"the AgentProvider {name} has no usable key")
        left_out = [f"{bad.kid or bad.field}: {bad.detail}" for bad in keys.problems[:_NAMED]]
        if left_out:
            problems.append(f"keys of the AgentProvider {name} are left out: {'; '.join(left_out)}")
        found[spec.issuer] = IdentityProvider(
            name=name,
            id=f"{each.metadata.uid} {spec.issuer}".strip(),
            issuer=spec.issuer,
            display_name=spec.display_name,
            audience=desk.spec.issuer if spec.audience is None else spec.audience,
            client_ids=frozenset(spec.client_ids),
            algorithms=spec.allowed_algorithms,
            keys=keys.keys,
            domains=frozenset(spec.email_domains),
            max_auth_age_seconds=spec.max_auth_age_seconds,
            is_suspended=spec.suspended,
        )
    return found


def keys_change_at(
    desk: TokenDesk,
    resources: Iterable[AgentProvider],
    statuses: Mapping[str, AgentProviderStatus],
    now: float,
) -> float:
    """When time alone ends keys that were found by discovery, in seconds since the epoch; infinity: never."""
    ends = [
        keys_end_at(status.keys, each.spec.issuer, now)
        for each in providers_of(desk, resources)
        if each.spec.keys.discovery is not None
        and (status := statuses.get(each.metadata.name)) is not None
        and status.keys is not None
    ]
    return min((end for end in ends if end > now), default=math.inf)
