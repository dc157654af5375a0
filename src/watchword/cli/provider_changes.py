# SPDX-License-Identifier: Apache-2.0
"""Compare AgentProviders: whose assertions a desk takes, by which keys, for whose agents and which domains.

Pure.
"""

from collections.abc import Iterable, Iterator, Mapping

from watchword.cli.change import Change, Kind, key_name, written_keys
from watchword.trust.api.v1alpha1 import AgentProvider

Providers = Mapping[tuple[str, str], AgentProvider]


def provider_changes(old: Providers, new: Providers) -> Iterator[Change]:
    """Everything that differs between the providers of two states, by namespace and name."""
    for name in sorted(old.keys() | new.keys()):
        for kind, what in _of_provider(old.get(name), new.get(name)):
            yield Change(kind, f"AgentProvider {'/'.join(name)}", "", what)


def _of_provider(old: AgentProvider | None, new: AgentProvider | None) -> Iterator[tuple[Kind, str]]:
    if old is None or new is None:
        yield ("gains", "the provider is new") if old is None else ("loses", "the provider is gone")
        return
    before, after = old.spec, new.spec
    if before.desk_ref.name != after.desk_ref.name:
        yield "changes", f"it is for the desk {after.desk_ref.name}, before {before.desk_ref.name}"
    if before.issuer != after.issuer:
        yield "changes", f"its issuer is {after.issuer}, before {before.issuer}"
    if before.display_name != after.display_name:
        yield "changes", f"people see it as {after.display_name!r}, before {before.display_name!r}"
    if before.audience != after.audience:
        audiences = [each or "the desk's issuer" for each in (before.audience, after.audience)]
        yield "changes", f"its assertions are for {audiences[1]}, before {audiences[0]}"
    if (before.keys.discovery is None) != (after.keys.discovery is None):
        ways = ["inline keys" if each.keys.discovery is None else "discovery" for each in (before, after)]
        yield "changes", f"its keys come by {ways[1]}, before by {ways[0]}"
    for what, one, other in (
        ("the key {} verifies its assertions", _keys(old), _keys(new)),
        ("the client {} may come", frozenset(before.client_ids), frozenset(after.client_ids)),
        ("it may name people of {}", frozenset(before.email_domains), frozenset(after.email_domains)),
        ("the algorithm {} is taken", before.allowed_algorithms, after.allowed_algorithms),
    ):
        yield from _of_set(what, one, other)
    if before.max_auth_age_seconds != after.max_auth_age_seconds:
        kind: Kind = "gains" if after.max_auth_age_seconds > before.max_auth_age_seconds else "loses"
        seconds = after.max_auth_age_seconds, before.max_auth_age_seconds
        yield kind, f"the person may have signed in {seconds[0]} s ago, before {seconds[1]} s"
    if before.suspended != after.suspended:
        yield ("loses", "it is suspended") if after.suspended else ("gains", "it is suspended no more")


def _of_set(what: str, old: Iterable[str], new: Iterable[str]) -> Iterator[tuple[Kind, str]]:
    for each in sorted(set(new) - set(old)):
        yield "gains", what.format(each)
    for each in sorted(set(old) - set(new)):
        yield "loses", f"no longer: {what.format(each)}"


def _keys(provider: AgentProvider) -> frozenset[str]:
    return frozenset(map(key_name, written_keys(provider.spec.keys.inline)))
