# SPDX-License-Identifier: Apache-2.0
"""Issuers made ready: their keys found and judged, and conflicts between issuers settled.

Clusters share `iss`, so the key alone tells them apart. A `kid` or a key under two issuers would let the
order of a list decide who somebody is: the older object stands, and where none is older neither does.
"""

from collections.abc import Iterable, Mapping

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
from watchword.trust.rivals import losers, problem_of
from watchword.trust.rules import parse_time
from watchword.trust.specs import ClusterTrustedIssuer, IssuerSpec, Resources


class ReadyIssuer(msgspec.Struct, frozen=True):
    """An issuer that workloads may refer to."""

    resource: ClusterTrustedIssuer
    keys: tuple[Key, ...]
    entry: BundleIssuer


class JudgedIssuer(msgspec.Struct, frozen=True):
    """One issuer by itself: all that costs time, and depends on no other issuer.

    Attributes:
        resource: the issuer.
        ready: what workloads may refer to; None where it is not usable.
        problems: what is wrong with it or with some of its keys.
    """

    resource: ClusterTrustedIssuer
    ready: ReadyIssuer | None
    problems: tuple[Problem, ...]


class Issuers(msgspec.Struct, frozen=True):
    """All issuers, settled: what each service is compiled against.

    Attributes:
        known: every issuer that can be read, by name.
        ready: those that workloads may refer to, by name, in the order of their names.
        problems: what is wrong with each, conflicts between them included.
    """

    known: dict[str, ClusterTrustedIssuer] = {}
    ready: dict[str, ReadyIssuer] = {}
    problems: tuple[Problem, ...] = ()

    def allowed_in(self, namespace: str, labels: Mapping[str, str]) -> dict[str, ReadyIssuer]:
        """The ready issuers that objects of a namespace may rely on, by name."""
        return {
            name: issuer for name, issuer in self.ready.items() if allows(issuer.resource, namespace, labels)
        }


def judge_issuer(resource: ClusterTrustedIssuer, document: bytes | Problem) -> JudgedIssuer:
    """Judge one issuer's keys.

    Args:
        resource: the issuer.
        document: its JWKS, or why there is none; not looked at where the keys are inline.
    """
    problems: list[Problem] = []
    ready = _load(resource, document, problems)
    return JudgedIssuer(resource, ready, tuple(problems))


def settle_issuers(judged: Iterable[JudgedIssuer]) -> Issuers:
    """Settle the conflicts between issuers: one `kid` or one key belongs to one object."""
    issuers = sorted(judged, key=lambda each: each.resource.metadata.name)
    problems = [problem for each in issuers for problem in each.problems]
    ready = {each.resource.metadata.name: each.ready for each in issuers if each.ready is not None}
    for what, of in (("kid", _kids), ("thumbprint", _thumbprints)):
        claims = {name: of(issuer) for name, issuer in ready.items()}
        standing = [issuer.resource for issuer in ready.values()]
        for loser in losers(standing, lambda each, claims=claims: claims[each.metadata.name]):  # type: ignore[misc]  # mypy cannot infer a lambda with a default
            detail = f"{loser.other.metadata.name} has a key of the same {what}"
            remedy = (
                "one cluster is one object: use additionalIssuers for its other URLs, and remove the copy"
            )
            problems.append(
                problem_of(loser.resource, "spec.keys", ProblemReason.KEY_CONFLICT, detail, remedy)
            )
            ready.pop(loser.resource.metadata.name, None)
    return Issuers({each.resource.metadata.name: each.resource for each in issuers}, ready, tuple(problems))


def ready_issuers(resources: Resources, keys: Mapping[str, bytes]) -> Issuers:
    """All issuers of a set of resources, settled.

    Args:
        resources: all resources.
        keys: JWKS documents by issuer name, for sources that only I/O can read.
    """
    return settle_issuers(
        judge_issuer(each, _document(each, resources, keys.get(each.metadata.name)))
        for each in resources.issuers
    )


def allows(issuer: ClusterTrustedIssuer, namespace: str, labels: Mapping[str, str]) -> bool:
    """Whether objects of a namespace, which has these labels, may rely on an issuer."""
    allowed = issuer.spec.allowed_namespaces
    if allowed is None:
        return True
    # Every namespace has this label, whether anybody wrote it or not (Kubernetes 1.22).
    known = {**labels, "kubernetes.io/metadata.name": namespace}
    return all(known.get(key) == value for key, value in allowed.match_labels.items())


def revoked_keys(spec: IssuerSpec) -> frozenset[str]:
    """Thumbprints of the keys that the issuer's admins took back: trusted under no policy, from no source."""
    return frozenset(each.key_thumbprint for each in spec.revoked if each.key_thumbprint)


def _kids(issuer: ReadyIssuer) -> list[str]:
    return [key.kid for key in issuer.keys]


def _thumbprints(issuer: ReadyIssuer) -> list[str]:
    return [key.thumbprint for key in issuer.keys]


def _load(
    resource: ClusterTrustedIssuer, document: bytes | Problem, problems: list[Problem]
) -> ReadyIssuer | None:
    name, spec = resource.metadata.name, resource.spec
    found = _key_set(resource, document)
    if isinstance(found, Problem):
        problems.append(found)
        return None
    key_set, documents = found
    for bad in key_set.problems:
        problems.append(_bad_key(resource, bad))
    allowed = ALGORITHMS if spec.algorithms is None else frozenset(spec.algorithms)
    revoked = revoked_keys(spec)
    fit_keys = (key for key in key_set.keys if key.algorithm in allowed and key.thumbprint not in revoked)
    usable = tuple(sorted(fit_keys, key=lambda key: key.kid))
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
        revocations=revocations_of(resource),
    )
    return ReadyIssuer(resource, usable, entry)


def _key_set(
    resource: ClusterTrustedIssuer, document: bytes | Problem
) -> tuple[KeySet, list[object]] | Problem:
    inline = resource.spec.keys.inline
    if inline is not None:
        documents = inline.get("keys")
        return load_key_objects(documents), documents if isinstance(documents, list) else []
    if isinstance(document, Problem):
        return document
    key_set = load_jwks(document)
    if not key_set.keys:
        return key_set, []
    documents = parse_json_object(document)["keys"]
    return key_set, documents if isinstance(documents, list) else []


def _document(resource: ClusterTrustedIssuer, resources: Resources, fetched: bytes | None) -> bytes | Problem:
    """What an issuer's keys are read from, without any I/O."""
    source = resource.spec.keys
    if fetched is not None or source.inline is not None:
        return fetched or b""
    if source.config_map is not None:
        reference = source.config_map
        text = resources.config_maps.get((reference.namespace, reference.name), {}).get(reference.key)
        if text is not None:
            return text.encode()
        place = f"{reference.namespace}/{reference.name}"
        detail = f"ConfigMap {place} has no entry {reference.key}, or is missing"
        remedy = "create it with the issuer's JWKS"
        return problem_of(resource, "spec.keys.configMap", ProblemReason.KEYS_UNAVAILABLE, detail, remedy)
    field = "spec.keys.discovery" if source.discovery is not None else "spec.keys.cluster"
    detail = "these keys have to be fetched, and nothing fetches them here"
    remedy = "pin them inline: `watchword pin` prints the object"
    return problem_of(resource, field, ProblemReason.KEYS_UNAVAILABLE, detail, remedy)


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


def revocations_of(resource: ClusterTrustedIssuer) -> BundleRevocations:
    """What an issuer takes back, as a bundle has it."""
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
