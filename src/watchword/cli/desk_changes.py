# SPDX-License-Identifier: Apache-2.0
"""Compare TokenDesks and DeskClients: whose tokens are accepted, how long they live, who may ask about them.

Pure. A client may ask about a service's tokens only where both name each other, so what is one-sided is shown
as something that opens nothing yet.
"""

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from watchword.cli.agent_changes import agents_changes, ceiling_changes
from watchword.cli.change import Change, Kind, key_name, written_keys
from watchword.trust import Bundle
from watchword.trust.api.v1alpha1 import DeskClient, TokenDesk
from watchword.trust.bundle import BundleDesk

Clients = Mapping[tuple[str, str], DeskClient]


def desk_changes(old: Iterable[TokenDesk], new: Iterable[TokenDesk]) -> Iterator[Change]:
    """Everything that differs between the desks of two states, by name."""
    before, after = (
        {f"{each.metadata.namespace}/{each.metadata.name}": each for each in desks} for desks in (old, new)
    )
    for name in sorted(before.keys() | after.keys()):
        for kind, what in _of_desk(before.get(name), after.get(name)):
            yield Change(kind, f"TokenDesk {name}", "", what)


def client_changes(old: Clients, new: Clients) -> Iterator[Change]:
    """Everything that differs between the clients of two states, by namespace and name."""
    for name in sorted(old.keys() | new.keys()):
        for kind, what in _of_client(old.get(name), new.get(name)):
            yield Change(kind, f"DeskClient {'/'.join(name)}", "", what)


def desk_of_service_changes(
    service: str, old: Bundle, new: Bundle, clients: tuple[Clients, Clients]
) -> Iterator[Change]:
    """What changes in the desk that a service relies on, and in who may ask it about the service's tokens."""

    def change(kind: Kind, what: str) -> Change:
        return Change(kind, service, "", what)

    desks = [None if isinstance(each.desk, msgspec.UnsetType) else each.desk for each in (old, new)]
    before, after = desks
    names = ["" if each is None else f"{each.namespace}/{each.name}" for each in desks]
    if names[0] != names[1]:
        if before is not None:
            yield change("loses", f"tokens of the TokenDesk {names[0]} are no longer accepted")
        if after is not None:
            yield change("gains", f"tokens of the TokenDesk {names[1]} are accepted (iss {after.issuer})")
    named = [frozenset() if each is None else frozenset(each.resource_servers) for each in desks]
    may_ask = [_agreeing(service, desk, known) for desk, known in zip(desks, clients, strict=True)]
    for name in sorted(may_ask[1] - may_ask[0]):
        yield change("gains", f"the DeskClient {name} may ask the desk about its tokens")
    for name in sorted(may_ask[0] - may_ask[1]):
        yield change("loses", f"the DeskClient {name} may no longer ask the desk about its tokens")
    for name in sorted((named[1] - named[0]) - may_ask[1]):
        yield change("changes", f"resourceServers names {name}, which counts once that client names it too")
    for name in sorted((named[0] - named[1]) - may_ask[0]):
        yield change("changes", f"resourceServers no longer names {name}, which was not let in")
    for kind, what in ceiling_changes(before, after):
        yield change(kind, what)


def _agreeing(service: str, desk: BundleDesk | None, clients: Clients) -> frozenset[str]:
    """The names of the clients that a service names and that name it, at its desk."""
    if desk is None:
        return frozenset()
    found = ((name, clients.get((desk.namespace, name))) for name in desk.resource_servers)
    return frozenset(
        name
        for name, client in found
        if client is not None
        and client.spec.type == "ResourceServer"
        and client.spec.desk_ref.name == desk.name
        and service in _services(client)
    )


def _of_desk(old: TokenDesk | None, new: TokenDesk | None) -> Iterator[tuple[Kind, str]]:
    if old is None or new is None:
        yield ("gains", "the desk is new") if old is None else ("loses", "the desk is gone")
        return
    before, after = old.spec, new.spec
    if before.issuer != after.issuer:
        yield "gains", f"tokens with iss {after.issuer} are accepted"
        yield "loses", f"tokens with iss {before.issuer} are no longer accepted"
    lives = (before.tokens, after.tokens)
    for said, seconds in (
        ("tokens live for", [each.lifetime_seconds for each in lives]),
        ("callers may ask for tokens that live for", [each.max_lifetime_seconds for each in lives]),
    ):
        if seconds[0] != seconds[1]:
            kind: Kind = "gains" if seconds[1] > seconds[0] else "loses"
            yield kind, f"{said} {seconds[1]} s, before {seconds[0]} s"
    if before.signing.rotate_seconds != after.signing.rotate_seconds:
        seconds = [each.signing.rotate_seconds for each in (before, after)]
        yield "changes", f"a key signs for {seconds[1]} s, before {seconds[0]} s"
    for key in sorted(set(after.signing.revoked) - set(before.signing.revoked)):
        yield "loses", f"revoked: the key {key}"
    for key in sorted(set(before.signing.revoked) - set(after.signing.revoked)):
        yield "gains", f"no longer revoked: the key {key}"
    if before.allowed_namespaces != after.allowed_namespaces:
        yield "changes", "other namespaces may rely on it (allowedNamespaces)"
    yield from agents_changes(before.agents, after.agents)


def _of_client(old: DeskClient | None, new: DeskClient | None) -> Iterator[tuple[Kind, str]]:
    if old is None or new is None:
        yield ("gains", "the client is new") if old is None else ("loses", "the client is gone")
        return
    before, after = old.spec, new.spec
    if before.desk_ref.name != after.desk_ref.name:
        yield "changes", f"it is a client of the desk {after.desk_ref.name}, before {before.desk_ref.name}"
    if before.type != after.type:
        yield "changes", f"its type is {after.type}, before {before.type}"
    keys = [_keys(each) for each in (old, new)]
    for key in sorted(keys[1] - keys[0]):
        yield "gains", f"the key {key} proves who it is"
    for key in sorted(keys[0] - keys[1]):
        yield "loses", f"the key {key} no longer proves who it is"
    ways = [_authentication(each) for each in (old, new)]
    if ways[0] != ways[1]:
        yield "changes", f"it proves who it is by {ways[1]}, before by {ways[0]}"
    named = [_services(each) for each in (old, new)]
    for service in sorted(named[1] - named[0]):
        yield "changes", f"it names the service {service}"
    for service in sorted(named[0] - named[1]):
        yield "changes", f"it no longer names the service {service}"
    admin = [bool(each.admin_service_account) for each in (before, after)]
    if admin[0] != admin[1]:
        yield ("gains", "it may use the admin API") if admin[1] else ("loses", "it may not use the admin API")


def _services(client: DeskClient) -> frozenset[str]:
    return frozenset(f"{each.namespace}/{each.name}" for each in client.spec.service_refs)


def _keys(client: DeskClient) -> frozenset[str]:
    return frozenset(map(key_name, written_keys(client.spec.authentication.jwks)))


def _authentication(client: DeskClient) -> str:
    given = client.spec.authentication
    if (account := given.service_account) is not None:
        return f"the ServiceAccount {account.namespace}/{account.name} of {account.issuer_ref.name}"
    if (secret := given.secret_ref) is not None:
        return f"the secret whose digest is in the Secret {secret.name} ({secret.key})"
    if (person := given.person) is not None:
        pinned = f" as {person.subject}" if person.subject is not None else ""
        return f"signing in as {person.address} at {person.issuer}{pinned}, by the client {person.client_id}"
    return "keys of its own"
