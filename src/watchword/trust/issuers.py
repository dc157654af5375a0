# SPDX-License-Identifier: Apache-2.0
"""Issuers made ready: their keys found and judged, and conflicts between issuers settled.

Clusters share `iss`, so the key alone tells them apart. A `kid` or a key under two issuers would let the
order of a list decide who somebody is: the older object stands, and where none is older neither does.
"""

from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import TypeVar

import msgspec

from watchword.identity import (
    ALGORITHMS,
    Key,
    KeyProblem,
    KeySet,
    load_jwks,
    load_key_objects,
    parse_json_object,
)
from watchword.trust.bundle import BundleIssuer, BundleRevocations
from watchword.trust.problems import Problem, ProblemReason
from watchword.trust.rules import parse_time
from watchword.trust.specs import ClusterTrustedIssuer, Resource, Resources

_R = TypeVar("_R", bound=Resource)


class ReadyIssuer(msgspec.Struct, frozen=True):
    """An issuer that workloads may refer to."""

    resource: ClusterTrustedIssuer
    keys: tuple[Key, ...]
    entry: BundleIssuer


def ready_issuers(
    resources: Resources, keys: Mapping[str, bytes], problems: list[Problem]
) -> dict[str, ReadyIssuer]:
    """The usable issuers by name; what is not usable is added to the problems.

    Args:
        resources: all resources.
        keys: JWKS documents by issuer name, for sources that only I/O can read.
        problems: receives one entry for each thing left out.
    """
    ready: dict[str, ReadyIssuer] = {}
    for resource in sorted(resources.issuers, key=lambda each: each.metadata.name):
        loaded = _load(resource, resources, keys, problems)
        if loaded is not None:
            ready[resource.metadata.name] = loaded
    for what, of in (("kid", _kids), ("thumbprint", _thumbprints)):
        claims = {name: of(issuer) for name, issuer in ready.items()}
        standing = [issuer.resource for issuer in ready.values()]
        for loser in losers(standing, lambda each, claims=claims: claims[each.metadata.name]):  # type: ignore[misc]  # mypy cannot infer a lambda with a default
            name = loser.resource.metadata.name
            detail = f"{loser.other.metadata.name} has a key of the same {what}"
            remedy = (
                "one cluster is one object: use additionalIssuers for its other URLs, and remove the copy"
            )
            problems.append(
                problem_of(loser.resource, "spec.keys", ProblemReason.KEY_CONFLICT, detail, remedy)
            )
            ready.pop(name, None)
    return ready


class Loser(msgspec.Struct, frozen=True):
    """An object that another one keeps out."""

    resource: Resource
    other: Resource


def losers(resources: Iterable[_R], claims_of: Callable[[_R], Iterable[Hashable]]) -> list[Loser]:
    """Who has to stand back where two objects claim the same thing.

    The oldest by creationTimestamp stands; where several are oldest, or have no time, none of them does.
    """
    claimants: dict[Hashable, list[_R]] = {}
    for resource in resources:
        # An object may say a thing twice (one key under two names); that is no rivalry.
        for claim in dict.fromkeys(claims_of(resource)):
            claimants.setdefault(claim, []).append(resource)
    found: dict[int, Loser] = {}
    for rivals in claimants.values():
        if len(rivals) < 2:
            continue
        # An object without a time was never stored in a cluster: nothing says that it was there first.
        times = [parse_time(each.metadata.creation_timestamp or "") for each in rivals]
        known = [time for time in times if time is not None]
        oldest = min(known) if len(known) == len(times) else None
        standing = [
            each for each, time in zip(rivals, times, strict=True) if oldest is not None and time == oldest
        ]
        winner = standing[0] if len(standing) == 1 else None
        for resource in rivals:
            if resource is not winner:
                other = winner or next(each for each in rivals if each is not resource)
                found.setdefault(id(resource), Loser(resource, other))
    return list(found.values())


def problem_of(resource: Resource, field: str, reason: ProblemReason, detail: str, remedy: str) -> Problem:
    """A problem of one object."""
    metadata = resource.metadata
    kind = type(resource).__name__
    return Problem(kind, metadata.namespace, metadata.name, field, reason, detail, remedy, resource.source)


def _kids(issuer: ReadyIssuer) -> list[str]:
    return [key.kid for key in issuer.keys]


def _thumbprints(issuer: ReadyIssuer) -> list[str]:
    return [key.thumbprint for key in issuer.keys]


def _load(
    resource: ClusterTrustedIssuer, resources: Resources, keys: Mapping[str, bytes], problems: list[Problem]
) -> ReadyIssuer | None:
    name, spec = resource.metadata.name, resource.spec
    found = _key_set(resource, resources, keys)
    if isinstance(found, Problem):
        problems.append(found)
        return None
    key_set, documents = found
    for bad in key_set.problems:
        problems.append(_bad_key(resource, bad))
    allowed = ALGORITHMS if spec.algorithms is None else frozenset(spec.algorithms)
    usable = tuple(sorted((key for key in key_set.keys if key.algorithm in allowed), key=lambda key: key.kid))
    if not usable:
        detail = "no usable key is left"
        remedy = "give at least one good public key of an allowed algorithm (`watchword pin` prints them)"
        problems.append(problem_of(resource, "spec.keys", ProblemReason.NO_USABLE_KEY, detail, remedy))
        return None
    # A set may hold an unfit key under a good one's kid: only the entry that was loaded may be written down.
    unfit = {bad.index for bad in key_set.problems}
    fit = (jwk for index, jwk in enumerate(documents) if index not in unfit)
    written = {key.kid: jwk for key, jwk in zip(key_set.keys, fit, strict=True) if isinstance(jwk, dict)}
    entry = BundleIssuer(
        name=name,
        urls=tuple(sorted({spec.issuer, *spec.additional_issuers})),
        algorithms=tuple(sorted(allowed)),
        keys=tuple(_public_members(written[key.kid]) for key in usable),
        revocations=_revocations(resource),
    )
    return ReadyIssuer(resource, usable, entry)


def _key_set(
    resource: ClusterTrustedIssuer, resources: Resources, keys: Mapping[str, bytes]
) -> tuple[KeySet, list[object]] | Problem:
    source = resource.spec.keys
    if source.inline is not None:
        documents = source.inline.get("keys")
        return load_key_objects(documents), documents if isinstance(documents, list) else []
    if source.config_map is not None:
        reference = source.config_map
        text = resources.config_maps.get((reference.namespace, reference.name), {}).get(reference.key)
        if text is None:
            place = f"{reference.namespace}/{reference.name}"
            detail = f"ConfigMap {place} has no entry {reference.key}, or is missing"
            remedy = "create it with the issuer's JWKS"
            return problem_of(resource, "spec.keys.configMap", ProblemReason.KEYS_UNAVAILABLE, detail, remedy)
        data = text.encode()
    elif resource.metadata.name in keys:
        data = keys[resource.metadata.name]
    else:
        field = "spec.keys.discovery" if source.discovery is not None else "spec.keys.cluster"
        detail = "these keys have to be fetched, and nothing fetches them here"
        remedy = "pin them inline: `watchword pin` prints the object"
        return problem_of(resource, field, ProblemReason.KEYS_UNAVAILABLE, detail, remedy)
    key_set = load_jwks(data)
    if not key_set.keys:
        return key_set, []
    documents = parse_json_object(data)["keys"]
    return key_set, documents if isinstance(documents, list) else []


def _bad_key(resource: ClusterTrustedIssuer, bad: KeyProblem) -> Problem:
    place = bad.field if bad.index < 0 else f"keys[{bad.index}].{bad.field}"
    detail = f"key {bad.kid}: {bad.detail}" if bad.kid else bad.detail
    source = resource.spec.keys
    if source.inline is not None:
        field = f"spec.keys.inline.{place}"
    else:
        # The set stands elsewhere: the field says where, the text which of its members.
        name = "configMap" if source.config_map else "discovery" if source.discovery else "cluster"
        field, detail = f"spec.keys.{name}", f"{place}: {detail}"
    return problem_of(resource, field, ProblemReason.BAD_KEY, detail, bad.remedy)


def _public_members(jwk: object) -> dict[str, object]:
    # Only what load_key judged for this type: a member of another type can hold anything.
    assert isinstance(jwk, dict)  # noqa: S101 - for the type checker: load_key took it
    names = ("kty", "kid", "n", "e") if jwk["kty"] == "RSA" else ("kty", "kid", "crv", "x", "y")
    return {name: jwk[name] for name in names}


def _revocations(resource: ClusterTrustedIssuer) -> BundleRevocations:
    revoked = resource.spec.revoked
    times = [parse_time(each.issued_before) for each in revoked if each.issued_before is not None]
    known = [time for time in times if time is not None]
    return BundleRevocations(
        token_ids=tuple(sorted({each.token_id for each in revoked if each.token_id})),
        pod_uids=tuple(sorted({each.pod_uid for each in revoked if each.pod_uid})),
        service_account_uids=tuple(
            sorted({each.service_account_uid for each in revoked if each.service_account_uid})
        ),
        issued_before=max(known) if known else None,
    )
