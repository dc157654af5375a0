# SPDX-License-Identifier: Apache-2.0
"""Which AgentProviders of a desk count, and with which keys. Pure; operator and desk judge by the same lines.

Of two providers with one issuer neither counts: whichever were taken, the author of the other one would
believe that its bounds hold.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Any, Final

from watchword.identity import KeyProblem, KeySet, load_key_objects
from watchword.identity.desk_claims import DESK_KID_PREFIX
from watchword.trust.api.v1alpha1 import AgentProvider, TokenDesk
from watchword.trust.api.v1alpha1.rules import parse_time
from watchword.trust.api.v1alpha1.status import AgentProviderStatus, ProviderKeysStatus
from watchword.trust.conflicts import problem_of
from watchword.trust.problems import Problem, ProblemReason

_TAKEN: Final = (
    "the issuer is that of another AgentProvider of the desk, or the desk's own: none of them counts"
)
_TAKEN_REMEDY: Final = "keep one AgentProvider for each issuer, and none for the desk itself"
# How long keys count that were found by discovery, in seconds, while the provider cannot be asked again.
KEYS_COUNT_SECONDS: Final = 86_400
# A clock that is ahead must not make keys count for longer.
_MAX_AHEAD_SECONDS: Final = 300


def providers_of(desk: TokenDesk, providers: Iterable[AgentProvider]) -> tuple[AgentProvider, ...]:
    """The desk's own AgentProviders, by name in order: those next to it that name it."""
    place = desk.metadata.namespace, desk.metadata.name
    ours = (each for each in providers if (each.metadata.namespace, each.spec.desk_ref.name) == place)
    return tuple(sorted(ours, key=lambda each: each.metadata.name))


def issuers_taken(desk: TokenDesk, providers: Iterable[AgentProvider]) -> frozenset[str]:
    """The issuers that no provider of the desk may have: those that several have, and the desk's own.

    Args:
        desk: the desk.
        providers: from `providers_of`.
    """
    counted = Counter(each.spec.issuer for each in providers)
    return frozenset({desk.spec.issuer, *(issuer for issuer, number in counted.items() if number > 1)})


def usable_keys(provider: AgentProvider, status: AgentProviderStatus | None, now: float) -> KeySet:
    """The keys that a provider's tokens are verified with.

    Args:
        provider: the object.
        status: its status; looked at only where keys are found by discovery.
        now: seconds since the epoch.
    """
    spec = provider.spec
    found: Any = []
    if spec.keys.inline is not None:
        found = spec.keys.inline.get("keys")
    elif status is not None and status.keys is not None and now < keys_end_at(status.keys, spec.issuer, now):
        found = list(status.keys.jwks)
    loaded = load_key_objects(found)
    reserved = [key for key in loaded.keys if key.kid.startswith(DESK_KID_PREFIX)]
    detail = f"ids that begin with {DESK_KID_PREFIX} are those of desk keys"
    remedy = "have the provider give its key another kid"
    return KeySet(
        tuple(key for key in loaded.keys if key.algorithm in spec.allowed_algorithms and key not in reserved),
        (*loaded.problems, *(KeyProblem(-1, key.kid, "keys", detail, remedy) for key in reserved)),
    )


def problems_of_providers(desks: Iterable[TokenDesk], providers: Iterable[AgentProvider]) -> list[Problem]:
    """What of AgentProviders does not count: issuers that are taken, and keys in them that are left out.

    Args:
        desks: all desks, by which issuers are judged.
        providers: all of them.
    """
    given, found = tuple(providers), list[Problem]()
    for desk in desks:
        ours = providers_of(desk, given)
        taken = issuers_taken(desk, ours)
        found += [
            problem_of(each, "spec.issuer", ProblemReason.ISSUER_TAKEN, _TAKEN, _TAKEN_REMEDY)
            for each in ours
            if each.spec.issuer in taken
        ]
    for each in given:
        if each.spec.keys.inline is not None:
            found += _problems_of_keys(each)
    return found


def _problems_of_keys(provider: AgentProvider) -> list[Problem]:
    path, allowed = "spec.keys.inline.keys", provider.spec.allowed_algorithms
    found = []
    for bad in usable_keys(provider, None, 0.0).problems:
        field = path if bad.index < 0 else f"{path}[{bad.index}].{bad.field}"
        detail = f"key {bad.kid} is left out: {bad.detail}" if bad.kid else f"a key is left out: {bad.detail}"
        found.append(problem_of(provider, field, ProblemReason.BAD_KEY, detail, bad.remedy))
    listed = (provider.spec.keys.inline or {}).get("keys")
    for key in load_key_objects(listed).keys:
        if key.algorithm not in allowed:
            detail = f"key {key.kid} is left out: it verifies {key.algorithm}, which spec.algorithms lacks"
            remedy = "list its algorithm in spec.algorithms, or remove the key"
            found.append(problem_of(provider, path, ProblemReason.BAD_KEY, detail, remedy))
    return found


def keys_end_at(keys: ProviderKeysStatus, issuer: str, now: float) -> float:
    """When keys of a status stop to count, in seconds since the epoch; 0: they do not count at all.

    Args:
        keys: of the status.
        issuer: the provider's, as its object says it now: another one's keys are not its own.
        now: seconds since the epoch.
    """
    fetched = parse_time(keys.fetched_at)
    if fetched is None or keys.issuer != issuer or fetched > now + _MAX_AHEAD_SECONDS:
        return 0.0
    return fetched + KEYS_COUNT_SECONDS
