# SPDX-License-Identifier: Apache-2.0
"""What the desk's state is made of, and how: the TokenDesk, its clients, the bundles of services, its keys.

Bundles come from services' owners, so each is judged alone: one that is broken, or not about this desk,
leaves itself out. Pure; where these things come from is for the sources to know.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from watchword.desk.agents.policy import CLIENT_SECRET, AgentPolicy, agent_policy
from watchword.desk.agents.providers import identity_providers, keys_change_at
from watchword.desk.clients import Client, Clients
from watchword.desk.minting import SigningKey
from watchword.desk.state import LONGEST_SECONDS, DeskState, Target
from watchword.identity import Key, PinnedKey, Policy, load_key, public_jwk
from watchword.trust import Bundle, BundleError, Ruleset, load
from watchword.trust.api.v1alpha1 import AgentProvider, DeskClient, TokenDesk
from watchword.trust.api.v1alpha1.status import AgentProviderStatus
from watchword.trust.derived_audience import derived_audience, desk_audience

_SKEW_SECONDS: Final = 60
_LATEST_SECONDS: Final = 600.0


class KeyRecord(msgspec.Struct, frozen=True):
    """A signing key. Its repr shows its name only.

    Attributes:
        key: the key.
        signs_from: seconds since the epoch; it takes over from the key before it then.
        made_at: seconds since the epoch; ten minutes later it may sign even where some bundle lacks it.
    """

    key: SigningKey
    signs_from: float = 0.0
    made_at: float = 0.0

    def __repr__(self) -> str:
        return f"KeyRecord(kid={self.key.kid!r})"


class Configuration(msgspec.Struct, frozen=True, kw_only=True):
    """All that a source knows. Its repr shows nothing of keys or secrets.

    Attributes:
        desk: the TokenDesk.
        cluster_id: what the cluster is called in audiences.
        clients: the DeskClients next to it.
        providers: the AgentProviders next to it.
        provider_statuses: what the operator says of those, by name: keys that it found.
        secrets: digests of secrets by (Secret's name, entry): hexadecimal SHA-256, one a line.
        bundles: of the services that name the desk.
        keys: the signing keys, newest first.
    """

    desk: TokenDesk
    cluster_id: str
    clients: tuple[DeskClient, ...] = ()
    providers: tuple[AgentProvider, ...] = ()
    provider_statuses: Mapping[str, AgentProviderStatus] = {}
    secrets: Mapping[tuple[str, str], str] = {}
    bundles: tuple[Bundle, ...] = ()
    keys: tuple[KeyRecord, ...] = ()

    def __repr__(self) -> str:
        return f"Configuration(desk={self.desk.metadata.name!r}, bundles={len(self.bundles)})"


def make_state(
    configuration: Configuration, *, store_id: str, bindings: Mapping[str, str], now: float
) -> DeskState:
    """Make the desk's state. Never raises for bad parts: they are left out, and named.

    Args:
        configuration: what a source knows.
        store_id: the id of the desk's store.
        bindings: for which store a key began to sign, by `kid`; a key of another store is revoked.
        now: seconds since the epoch.
    """
    desk, problems = configuration.desk, list[str]()
    namespace, name = desk.metadata.namespace, desk.metadata.name
    issuer = desk.spec.issuer
    audience = desk_audience(configuration.cluster_id, namespace, name)
    accepted = frozenset({audience, issuer})
    revoked = frozenset(desk.spec.signing.revoked)
    targets: dict[str, Target] = {}
    in_bundles: list[frozenset[str]] = []
    own_keys: dict[str, Key] = {}
    for bundle in configuration.bundles:
        target = _target(bundle, configuration, accepted, problems)
        if target is not None and target.service not in targets:
            targets[target.service] = target
            found = _keys_in(bundle)
            own_keys |= found
            in_bundles.append(frozenset(found))
    records = [each for each in configuration.keys if each.key.key.thumbprint not in revoked]
    ours = [each for each in records if bindings.get(each.key.kid, store_id) == store_id]
    own_keys |= {each.key.kid: each.key.key for each in ours}
    own_keys = {
        kid: key
        for kid, key in own_keys.items()
        if key.thumbprint not in revoked and bindings.get(kid, store_id) == store_id
    }
    signing = _signing(ours, in_bundles, now)
    if signing is None:
        why = "there is none"
        if ours:
            why = (
                f"a bundle of the desk's services lacks each of them, and none is {_LATEST_SECONDS:.0f} s old"
            )
        elif configuration.keys:
            why = "each is revoked, or of another store"
        problems.append(f"no key may sign: {why}")
    anyone = _anyone(targets.values(), accepted)
    return DeskState(
        name=f"{namespace}/{name}",
        issuer=issuer,
        audience=audience,
        lifetime_seconds=desk.spec.tokens.lifetime_seconds,
        max_lifetime_seconds=desk.spec.tokens.max_lifetime_seconds,
        signing=signing,
        public_keys=tuple(each.key.jwk for each in ours),
        own_keys=own_keys,
        targets=targets,
        by_audience={each.audience: each for each in targets.values()},
        anyone=anyone,
        assertions=msgspec.structs.replace(anyone, audiences=frozenset({issuer})),
        clients=_clients(configuration, problems),
        client_objects=clients_of(configuration),
        agents=_agents(configuration, now, problems),
        problems=tuple(problems),
        changes_at=min(
            _next_change(ours, now),
            keys_change_at(desk, configuration.providers, configuration.provider_statuses, now),
        ),
    )


def _signing(
    records: Sequence[KeyRecord], in_bundles: Sequence[frozenset[str]], now: float
) -> SigningKey | None:
    """The newest key whose time has come, of those that gates know; None: there is none.

    That every bundle has a key says nothing of gates whose mounted file is a minute behind: so a key waits
    for its time as well. One service whose bundle cannot be written must not stop the rotation for all.
    """
    known = [
        each
        for each in records
        if all(each.key.kid in kids for kids in in_bundles) or each.made_at + _LATEST_SECONDS <= now
    ]
    for each in known:
        if each.signs_from <= now:
            return each.key
    # None's time has come, where the one before was revoked: the oldest has had most time to get to gates.
    return known[-1].key if known else None


def _next_change(records: Iterable[KeyRecord], now: float) -> float:
    """When time alone makes another key sign: one takes over, or may sign although a bundle lacks it."""
    times = (at for each in records for at in (each.signs_from, each.made_at + _LATEST_SECONDS))
    return min((at for at in times if at > now), default=math.inf)


def _target(
    bundle: Bundle, configuration: Configuration, accepted: frozenset[str], problems: list[str]
) -> Target | None:
    service = f"{bundle.service.namespace}/{bundle.service.name}"
    named, metadata = bundle.desk, configuration.desk.metadata
    if named is msgspec.UNSET or (named.namespace, named.name) != (metadata.namespace, metadata.name):
        problems.append(f"the bundle of {service} does not name this desk")
        return None
    if named.issuer != configuration.desk.spec.issuer:
        problems.append(f"the bundle of {service} has another issuer URL for this desk")
        return None
    if named.audience != derived_audience(
        configuration.cluster_id, bundle.service.namespace, bundle.service.name
    ):
        problems.append(f"the bundle of {service} is of another cluster, or for another service")
        return None
    try:
        ruleset = load(bundle)
    except BundleError as problem:
        problems.append(f"the bundle of {service} cannot be used: {problem.detail}")
        return None
    namespace = bundle.service.namespace
    return Target(
        service=service,
        audience=named.audience,
        ruleset=ruleset,
        subjects=_subjects(ruleset, accepted),
        purposes={f"{namespace}/{workload}": frozenset(words) for workload, words in named.purposes.items()},
        resource_servers=frozenset(named.resource_servers),
        agents=None if ruleset.policy.desk is None else ruleset.policy.desk.agents,
    )


def _agents(configuration: Configuration, now: float, problems: list[str]) -> AgentPolicy | None:
    desk = configuration.desk
    spec = desk.spec.agents
    providers = (
        {}
        if spec is None
        else identity_providers(desk, configuration.providers, configuration.provider_statuses, now, problems)
    )
    policy = agent_policy(spec, configuration.secrets, providers)
    if policy is not None and spec is not None and spec.mail is not None and policy.mail is None:
        problems.append("mails to people cannot be sent: the Secret of spec.agents.mail lacks its entries")
    if policy is not None and spec is not None:
        problems += [
            f"people of {each.domain} cannot sign in: the Secret lacks {CLIENT_SECRET}"
            for each in spec.domains
            if each.secret_ref is not None and not policy.domains[each.domain].client_secret
        ]
    return policy


def _subjects(ruleset: Ruleset, accepted: frozenset[str]) -> Policy:
    """The service's own policy for tokens that are to be exchanged: other audiences, no desk tokens."""
    return msgspec.structs.replace(ruleset.policy, audiences=accepted, desk=None)


def _keys_in(bundle: Bundle) -> dict[str, Key]:
    """The desk's keys that gates know: tokens of a key that was taken out of use can still come back."""
    if bundle.desk is msgspec.UNSET:
        return {}
    loaded = (load_key(each) for each in bundle.desk.keys)
    return {each.kid: each for each in loaded if isinstance(each, Key)}


def _anyone(targets: Iterable[Target], accepted: frozenset[str]) -> Policy:
    """What any target would accept: the newest word on each issuer's keys, and no workloads."""
    newest: dict[str, tuple[int, list[PinnedKey]]] = {}
    for target in targets:
        by_issuer: dict[str, list[PinnedKey]] = {}
        for pinned in (each for held in target.ruleset.policy.keys.values() for each in held):
            by_issuer.setdefault(pinned.issuer.name, []).append(pinned)
        for issuer, held in by_issuer.items():
            if issuer not in newest or newest[issuer][0] < target.ruleset.generation:
                newest[issuer] = (target.ruleset.generation, held)
    keys: dict[str, list[PinnedKey]] = {}
    for _, held in newest.values():
        for pinned in held:
            keys.setdefault(pinned.key.kid, []).append(pinned)
    return Policy(
        audiences=accepted,
        # Those that are revoked last, and all issuers of one key next to each other, as the checks want it.
        keys={
            kid: tuple(sorted(held, key=lambda each: (each.is_revoked, each.key.thumbprint)))
            for kid, held in keys.items()
        },
        workloads={},
        max_lifetime_seconds=LONGEST_SECONDS,
        clock_skew_seconds=_SKEW_SECONDS,
        binding="Pod",
    )


def clients_of(configuration: Configuration) -> tuple[DeskClient, ...]:
    """The desk's own DeskClients, by name in order: those next to it that name it."""
    desk = configuration.desk.metadata
    ours = (
        each
        for each in configuration.clients
        if (each.metadata.namespace, each.spec.desk_ref.name) == (desk.namespace, desk.name)
    )
    return tuple(sorted(ours, key=lambda each: each.metadata.name))


def _clients(configuration: Configuration, problems: list[str]) -> Clients:
    by_name: dict[str, Client] = {}
    by_account: dict[tuple[str, str], Client] = {}
    taken: set[tuple[str, str]] = set()
    for resource in clients_of(configuration):
        client = _client(resource, configuration, problems)
        if client is None:
            continue
        by_name[client.name] = client
        if client.account is not None:
            if client.account in by_account:
                problems.append(f"two DeskClients authenticate by one ServiceAccount: {client.name}")
                taken.add(client.account)
            by_account[client.account] = client
    # Which of two it is can not be told, so it is neither.
    return Clients(by_name, {account: each for account, each in by_account.items() if account not in taken})


def _client(resource: DeskClient, configuration: Configuration, problems: list[str]) -> Client | None:
    spec, name = resource.spec, resource.metadata.name
    given = spec.authentication
    account, keys, digests = None, tuple[Key, ...](), tuple[str, ...]()
    if given.service_account is not None:
        by = given.service_account
        account = (by.issuer_ref.name, f"system:serviceaccount:{by.namespace}:{by.name}")
    if given.jwks is not None:
        keys = _client_keys(given.jwks)
    if given.secret_ref is not None and spec.type == "ResourceServer":
        kept = configuration.secrets.get((given.secret_ref.name, given.secret_ref.key), "")
        digests = tuple(line.strip().lower() for line in kept.splitlines() if _is_digest(line.strip()))
    ways = [each is not None for each in (given.service_account, given.jwks, given.secret_ref, given.person)]
    is_person = given.person is not None and spec.type == "AdminPerson"
    if sum(ways) != 1 or not (account or keys or digests or is_person):
        problems.append(f"the DeskClient {name} has no usable way, or several ways, to authenticate")
        return None
    return Client(
        name=name,
        type=spec.type,
        services=frozenset(f"{each.namespace}/{each.name}" for each in spec.service_refs),
        account=account,
        keys=keys,
        secret_digests=digests,
    )


def _client_keys(jwks: Mapping[str, Any]) -> tuple[Key, ...]:
    members = jwks.get("keys")
    loaded = (load_key(each) for each in members) if isinstance(members, list) else ()
    return tuple(each for each in loaded if isinstance(each, Key))


def _is_digest(text: str) -> bool:
    return len(text) == 64 and set(text.lower()) <= set("0123456789abcdef")


def public_keys_of(records: Iterable[KeyRecord]) -> tuple[dict[str, Any], ...]:
    """The public keys of records, as bundles have them."""
    return tuple(public_jwk(each.key.key) for each in records)
