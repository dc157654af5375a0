# SPDX-License-Identifier: Apache-2.0
"""The status of an AgentProvider, from what the last reconcile of all desks found. Pure."""

from collections.abc import Iterable, Mapping

import msgspec

from watchword.kube.names import ObjectKey
from watchword.operator.cache import Entry
from watchword.operator.keys.providers import ProviderKeys, WantedProvider
from watchword.trust.agent_providers import issuers_taken, providers_of, usable_keys
from watchword.trust.api.v1alpha1 import AgentProvider, TokenDesk
from watchword.trust.api.v1alpha1.status import AgentProviderStatus, ProviderKeysStatus
from watchword.trust.conditions import ConditionValue, Verdict
from watchword.trust.problems import listed
from watchword.trust.status_conditions import conditions

_NAMED = 3


class ProviderResult(msgspec.Struct, frozen=True):
    """What the last reconcile found of an AgentProvider.

    Attributes:
        desk: the desk that it names, which counts and is in its namespace; None: there is none.
        is_issuer_taken: whether another provider of the desk, or the desk, has its issuer.
        fresh: how its keys stand; None: nothing is known yet.
        keys: those that were found by discovery; None: there are none, or they are written in the object.
        is_pending: whether its keys were not asked for yet: what its status says stays until then.
    """

    desk: TokenDesk | None = None
    is_issuer_taken: bool = False
    fresh: ConditionValue | None = None
    keys: ProviderKeysStatus | None = None
    is_pending: bool = False


def wanted_providers(entries: Iterable[Entry], desks: Mapping[str, TokenDesk]) -> list[WantedProvider]:
    """The providers whose keys are to be found by discovery: those next to a desk that counts.

    Anyone may write an object somewhere; only who may write next to a desk has the operator ask an address.

    Args:
        entries: the objects.
        desks: the desks that count, by name.
    """
    found: list[WantedProvider] = []
    for entry in entries:
        provider, status = entry.resource, entry.status
        if not isinstance(provider, AgentProvider) or provider.spec.keys.discovery is None:
            continue
        if _desk_of(provider, desks) is not None:
            stored = status.keys if isinstance(status, AgentProviderStatus) else None
            found.append(WantedProvider(entry.key, provider, stored))
    return found


def provider_results(
    entries: Iterable[Entry],
    desks: Mapping[str, TokenDesk],
    found: Mapping[ObjectKey, ProviderKeys | None],
) -> dict[ObjectKey, ProviderResult]:
    """What there is to say of all AgentProviders.

    Args:
        entries: the objects.
        desks: the desks that count, by name.
        found: how the keys stand of those that are found by discovery; None: one was not asked yet.
    """
    held = list(entries)
    resources = [each.resource for each in held if isinstance(each.resource, AgentProvider)]
    taken = {name: issuers_taken(desk, providers_of(desk, resources)) for name, desk in desks.items()}
    results: dict[ObjectKey, ProviderResult] = {}
    for entry in held:
        resource = entry.resource
        if not isinstance(resource, AgentProvider):
            results[entry.key] = ProviderResult()
            continue
        desk, known = _desk_of(resource, desks), found.get(entry.key)
        results[entry.key] = ProviderResult(
            desk=desk,
            is_issuer_taken=desk is not None and resource.spec.issuer in taken[desk.metadata.name],
            fresh=None if known is None else known.fresh,
            keys=None if known is None else known.keys,
            is_pending=entry.key in found and known is None,
        )
    return results


def provider_status(entry: Entry, result: ProviderResult, now: float) -> AgentProviderStatus:
    """The status of an AgentProvider.

    Args:
        entry: the object.
        result: what the last reconcile found.
        now: seconds since the epoch.
    """
    values = [_readiness(entry, result, now)]
    provider = entry.resource
    if isinstance(provider, AgentProvider):
        values.append(_freshness(provider, result))
    return AgentProviderStatus(
        observed_generation=entry.generation,
        conditions=conditions(values, entry.status.conditions, entry.generation, now),
        keys=result.keys,
    )


def _desk_of(provider: AgentProvider, desks: Mapping[str, TokenDesk]) -> TokenDesk | None:
    desk = desks.get(provider.spec.desk_ref.name)
    return desk if desk is not None and desk.metadata.namespace == provider.metadata.namespace else None


def _readiness(entry: Entry, result: ProviderResult, now: float) -> ConditionValue:
    provider = entry.resource
    if entry.problems or not isinstance(provider, AgentProvider):
        detail = listed(entry.problems) or "no part of it can be read"
        return Verdict.DESK_NOT_UNDERSTOOD.with_message(detail)
    if result.desk is None:
        return Verdict.PROVIDER_WITHOUT_DESK.with_message()
    if result.is_issuer_taken:
        return Verdict.PROVIDER_ISSUER_TAKEN.with_message()
    agents = result.desk.spec.agents
    if agents is None or agents.claimed is None:
        return Verdict.PROVIDER_WITHOUT_AGENTS.with_message()
    if provider.spec.suspended:
        return Verdict.PROVIDER_SUSPENDED.with_message()
    keys = usable_keys(provider, AgentProviderStatus(keys=result.keys), now)
    left_out = "; ".join(f"{bad.kid or bad.field}: {bad.detail}" for bad in keys.problems[:_NAMED])
    if not keys.keys:
        return Verdict.PROVIDER_WITHOUT_KEYS.with_message(left_out and f"No key is usable: {left_out}")
    said = f"The desk takes its assertions. Keys are left out: {left_out}"
    return Verdict.PROVIDER_ACCEPTED.with_message(said if left_out else "")


def _freshness(provider: AgentProvider, result: ProviderResult) -> ConditionValue:
    if provider.spec.keys.inline is not None:
        return Verdict.STATIC.with_message()
    return result.fresh if result.fresh is not None else Verdict.NEVER_FETCHED.with_message()
