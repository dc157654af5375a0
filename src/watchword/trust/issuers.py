# SPDX-License-Identifier: Apache-2.0
"""Issuers made ready: their keys found and judged, and each key that several hold given to one, or to none.

Clusters share `iss`, and keys are public: so a key that two issuers of one `iss` hold is left out where it is
not known to belong (`key_claims`), and nothing else of either issuer is.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Final

import msgspec

from watchword.identity import (
    ALGORITHMS,
    MAX_KEYS_OF_KID,
    Key,
    KeyProblem,
    KeySet,
    load_jwks,
    load_key_objects,
    public_jwk,
)
from watchword.identity.desk_claims import DESK_KID_PREFIX
from watchword.trust.api.v1alpha1 import ClusterTrustedIssuer, IssuerSpec, Resources
from watchword.trust.api.v1alpha1.rules import parse_time
from watchword.trust.bundle import BundleIssuer, BundleRevocations
from watchword.trust.conflicts import problem_of
from watchword.trust.key_claims import Claim, Dispute, disputes, rank
from watchword.trust.key_rotation.held_keys import HeldKey
from watchword.trust.label_selectors import selects_namespace
from watchword.trust.problems import Problem, ProblemReason

# A bundle carries no more of what is not trusted any more.
MAX_REVOKED_KEYS: Final = 8


class ReadyIssuer(msgspec.Struct, frozen=True):
    """An issuer that workloads may refer to.

    Attributes:
        resource: the object.
        keys: its usable keys, in the order of their kids.
        entry: the issuer as a bundle has it; its keys are those of `keys`, in the same order.
        claims: for each of `keys`, on what ground the issuer holds it.
        revoked: the same for the keys that it took back.
    """

    resource: ClusterTrustedIssuer
    keys: tuple[Key, ...]
    entry: BundleIssuer
    claims: tuple[Claim, ...] = ()
    revoked: tuple[Claim, ...] = ()

    def without(self, thumbprints: frozenset[str]) -> "ReadyIssuer":
        """The issuer without some of its keys."""
        kept = [place for place, key in enumerate(self.keys) if key.thumbprint not in thumbprints]
        entry = msgspec.structs.replace(self.entry, keys=tuple(self.entry.keys[place] for place in kept))
        keys, claims = (tuple(each[place] for place in kept) for each in (self.keys, self.claims))
        return msgspec.structs.replace(self, keys=keys, entry=entry, claims=claims)


class JudgedIssuer(msgspec.Struct, frozen=True):
    """One issuer by itself: all that costs time, and depends on no other issuer.

    Attributes:
        resource: the issuer.
        ready: what workloads may refer to; None where it is not usable.
        problems: what is wrong with it or with some of its keys.
        kept: where no key of it can be used now, those that go to no copy meanwhile; see `kept_claims`.
    """

    resource: ClusterTrustedIssuer
    ready: ReadyIssuer | None
    problems: tuple[Problem, ...]
    kept: tuple[Claim, ...] = ()


class Issuers(msgspec.Struct, frozen=True):
    """All issuers, judged together: what each service is compiled against.

    Attributes:
        known: every issuer that can be read, by name.
        ready: those that workloads may refer to, by name, in the order of their names.
        revoked: those of which nothing is left but keys that were revoked, by name.
        problems: what is wrong with each, conflicts between them included.
    """

    known: dict[str, ClusterTrustedIssuer] = {}
    ready: dict[str, ReadyIssuer] = {}
    problems: tuple[Problem, ...] = ()
    revoked: dict[str, ReadyIssuer] = {}

    def entry_of(self, name: str) -> BundleIssuer | None:
        """What bundles have of an issuer, keys that were taken back included; None: nothing."""
        found = self.ready.get(name) or self.revoked.get(name)
        return None if found is None else found.entry

    def allowed_in(self, namespace: str, labels: Mapping[str, str]) -> dict[str, ReadyIssuer]:
        """The ready issuers that objects of a namespace may rely on, by name."""
        return {
            name: issuer for name, issuer in self.ready.items() if allows(issuer.resource, namespace, labels)
        }

    def revoked_in(self, namespace: str, labels: Mapping[str, str]) -> list[BundleIssuer]:
        """The issuers without a trusted key whose revoked ones a gate of the namespace should know."""
        return [each.entry for each in self.revoked.values() if allows(each.resource, namespace, labels)]


def judge_issuer(
    resource: ClusterTrustedIssuer, document: bytes | Problem, held: Iterable[HeldKey] = ()
) -> JudgedIssuer:
    """Judge one issuer's keys.

    Args:
        resource: the issuer.
        document: its JWKS, or why there is none; not looked at where the keys are inline.
        held: what its status says of its keys: since when it holds them, and what revoked ones look like.
    """
    problems: list[Problem] = []
    known = tuple(held)
    ready = _load(resource, document, problems, known)
    has_keys = ready is not None and bool(ready.keys)
    return JudgedIssuer(resource, ready, tuple(problems), () if has_keys else kept_claims(resource, known))


def kept_claims(resource: ClusterTrustedIssuer, held: tuple[HeldKey, ...]) -> tuple[Claim, ...]:
    """The claims of an issuer of which nothing can be used now: they give it nothing, and keep others out.

    Its keys may be out of sight (a ConfigMap that was deleted, an object that is not understood), or all of
    them revoked and not served any more. Neither hands one of them to another issuer that serves it too.

    Args:
        resource: the issuer, or what can be read of it.
        held: what its status says of its keys.
    """
    revoked, claim = revoked_keys(resource.spec), _claims_by(resource, held)
    inline = resource.spec.keys.inline
    written = () if inline is None else load_key_objects(inline.get("keys")).keys
    own = {(key.kid, key.thumbprint) for key in held if key.is_trusted}
    own |= {(key.kid, key.thumbprint) for key in written}
    return (
        *(claim(kid, key, is_kept=True) for kid, key in sorted(own) if key not in revoked),
        *(claim("", key, is_revoked=True) for key in sorted(revoked)),
    )


def settle_issuers(judged: Iterable[JudgedIssuer], kept: Iterable[Claim] = ()) -> Issuers:
    """Judge issuers together. A key that two issuers of one `iss` hold belongs to one of them, or to none.

    Args:
        judged: the issuers that are understood.
        kept: the claims of those that are not (`kept_claims`).
    """
    issuers = sorted(judged, key=lambda each: each.resource.metadata.name)
    problems = [problem for each in issuers for problem in each.problems]
    judged_ready = {each.resource.metadata.name: each.ready for each in issuers if each.ready is not None}
    ready = {name: each for name, each in judged_ready.items() if each.keys}
    revoked = {name: each for name, each in judged_ready.items() if not each.keys}
    everyone = [*ready.values(), *revoked.values()]
    claims = [claim for issuer in everyone for claim in (*issuer.claims, *issuer.revoked)]
    found = disputes((*claims, *(claim for each in issuers for claim in each.kept), *kept))
    left_out: dict[str, set[str]] = {}
    for dispute in found:
        name = dispute.claim.issuer
        left_out.setdefault(name, set()).add(dispute.claim.thumbprint)
        problems.append(_conflict(ready[name].resource, dispute))
    for name, thumbprints in left_out.items():
        ready[name] = ready[name].without(frozenset(thumbprints))
        if not ready[name].keys:
            rest = ready.pop(name)
            if rest.entry.revoked_keys:
                revoked[name] = rest
    known = {each.resource.metadata.name: each.resource for each in issuers}
    return Issuers(known, _ranked(ready), tuple(problems), dict(sorted(revoked.items())))


def _ranked(ready: dict[str, ReadyIssuer]) -> dict[str, ReadyIssuer]:
    """The issuers, with what each yields to firmer claims where one key or kid can have one issuer only."""
    holders: dict[str, Claim] = {}
    yielding: dict[str, list[str]] = {name: [] for name in ready}
    for claim in sorted((each for issuer in ready.values() for each in issuer.claims), key=rank):
        names = (f"kid {claim.kid}", f"key {claim.thumbprint}")
        if any(name in holders and not _is_same(holders[name], claim) for name in names):
            yielding[claim.issuer].append(claim.thumbprint)
        else:
            holders.update(dict.fromkeys(names, claim))
    return {
        name: msgspec.structs.replace(
            issuer,
            entry=msgspec.structs.replace(issuer.entry, yielding=tuple(sorted(set(yielding[name])))),
        )
        for name, issuer in ready.items()
    }


def _is_same(one: Claim, other: Claim) -> bool:
    return (one.issuer, one.thumbprint) == (other.issuer, other.thumbprint)


def ready_issuers(
    resources: Resources, keys: Mapping[str, bytes], held: Mapping[str, Iterable[HeldKey]] | None = None
) -> Issuers:
    """All issuers of a set of resources, judged together.

    Args:
        resources: all resources.
        keys: JWKS documents by issuer name, for sources that only I/O can read.
        held: what the status of each issuer says of its keys, by the issuer's name.
    """
    known = held or {}
    return settle_issuers(
        judge_issuer(
            each,
            _document(each, resources, keys.get(each.metadata.name)),
            known.get(each.metadata.name, ()),
        )
        for each in resources.issuers
    )


def allows(issuer: ClusterTrustedIssuer, namespace: str, labels: Mapping[str, str]) -> bool:
    """Whether objects of a namespace, which has these labels, may rely on an issuer."""
    allowed = issuer.spec.allowed_namespaces
    return allowed is None or selects_namespace(allowed, namespace, labels)


def revoked_keys(spec: IssuerSpec) -> frozenset[str]:
    """Thumbprints of the keys that the issuer's admins took back: trusted under no policy, from no source."""
    return frozenset(each.key_thumbprint for each in spec.revoked if each.key_thumbprint)


def _load(
    resource: ClusterTrustedIssuer,
    document: bytes | Problem,
    problems: list[Problem],
    held: tuple[HeldKey, ...],
) -> ReadyIssuer | None:
    name, spec = resource.metadata.name, resource.spec
    key_set = _key_set(resource, document)
    if isinstance(key_set, Problem):
        problems.append(key_set)
        return None
    for bad in key_set.problems:
        problems.append(_bad_key(resource, bad))
    problems += [_reserved_kid(resource, key) for key in key_set.keys if _is_of_desks(key)]
    # Neither trusted nor revoked: a bundle in which another key has the id of a desk's is no bundle.
    keys = tuple(key for key in key_set.keys if not _is_of_desks(key))
    held = tuple(key for key in held if not _is_of_desks(key))
    allowed = ALGORITHMS if spec.algorithms is None else frozenset(spec.algorithms)
    revoked = revoked_keys(spec)
    fit_keys = (key for key in keys if key.algorithm in allowed and key.thumbprint not in revoked)
    usable = tuple(sorted(fit_keys, key=lambda key: (key.kid, key.thumbprint)))
    if not usable:
        detail = "no usable key is left"
        remedy = "give at least one good public key of an allowed algorithm (`watchword pin` prints them)"
        problems.append(problem_of(resource, "spec.keys", ProblemReason.NO_USABLE_KEY, detail, remedy))
    revoked_jwks = _revoked_jwks(keys, held, revoked)
    if not usable and not revoked_jwks:
        return None
    urls = frozenset({spec.issuer, *spec.additional_issuers})
    entry = BundleIssuer(
        name=name,
        urls=tuple(sorted(urls)),
        algorithms=tuple(sorted(allowed)),
        # As it was loaded and not as it was served: older gates read the shortest form alone.
        keys=tuple(public_jwk(key) for key in usable),
        revocations=revocations_of(resource),
        revoked_keys=revoked_jwks,
    )
    claim = _claims_by(resource, held)
    claims = tuple(claim(key.kid, key.thumbprint) for key in usable)
    # Also those that are out of sight: who took a key back does not leave it to a copy.
    taken_back = tuple(claim("", thumbprint, is_revoked=True) for thumbprint in sorted(revoked))
    return ReadyIssuer(resource, usable, entry, claims, taken_back)


def _claims_by(resource: ClusterTrustedIssuer, held: Iterable[HeldKey]) -> Callable[..., Claim]:
    """What makes an issuer's claims to keys, by the kid and the thumbprint of each."""
    name, spec = resource.metadata.name, resource.spec
    urls, approved = frozenset({spec.issuer, *spec.additional_issuers}), frozenset(spec.rotation.approved)
    since: dict[tuple[str, str], float | None] = {}
    for key in held:
        since |= dict.fromkeys([(key.kid, key.thumbprint), ("", key.thumbprint)], key.held_since)

    def claim(kid: str, thumbprint: str, *, is_revoked: bool = False, is_kept: bool = False) -> Claim:
        # Written down by a person, or read from this very cluster's API server, where none can be copied to.
        is_approved = spec.keys.inline is not None or spec.keys.cluster is not None or thumbprint in approved
        held_since = since.get((kid, thumbprint))
        return Claim(name, urls, kid, thumbprint, is_approved, held_since, is_revoked, is_kept)

    return claim


def _revoked_jwks(
    keys: Iterable[Key], held: Iterable[HeldKey], revoked: frozenset[str]
) -> tuple[dict[str, object], ...]:
    """The keys that were taken back and are in sight, so that a gate can say so of their tokens."""
    found: dict[tuple[str, str], dict[str, object]] = {
        (key.kid, key.thumbprint): key.jwk for key in held if key.thumbprint in revoked and key.jwk
    }
    found |= {(key.kid, key.thumbprint): dict(public_jwk(key)) for key in keys if key.thumbprint in revoked}
    return tuple(found[identity] for identity in sorted(found)[:MAX_REVOKED_KEYS])


def _conflict(resource: ClusterTrustedIssuer, dispute: Dispute) -> Problem:
    key = f"key {dispute.claim.kid} (thumbprint {dispute.claim.thumbprint})"
    if not dispute.other:
        detail = f"{key} is left out: more than {MAX_KEYS_OF_KID} trusted keys have this kid"
        remedy = "see which issuers serve keys of this kid, and remove those that are no cluster's own"
    else:
        neither = "nothing says whose it is, so neither has it"
        where = f"{dispute.other} has it" if dispute.is_lost else neither
        detail = f"{key} is left out: {dispute.other} holds it too, with the same iss; {where}"
        remedy = (
            "remove it from the issuer whose cluster does not sign with it, or approve it on the other one: "
            f"`watchword approve ISSUER {dispute.claim.thumbprint}`"
        )
    return problem_of(resource, "spec.keys", ProblemReason.KEY_CONFLICT, detail, remedy)


def _key_set(resource: ClusterTrustedIssuer, document: bytes | Problem) -> KeySet | Problem:
    inline = resource.spec.keys.inline
    if inline is not None:
        return load_key_objects(inline.get("keys"))
    return document if isinstance(document, Problem) else load_jwks(document)


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
        remedy = f"create it with the issuer's JWKS, or give it with `{_by_flag(resource)}`"
        if reference.key in resources.binary_entries.get((reference.namespace, reference.name), ()):
            detail = f"the entry {reference.key} of ConfigMap {place} is in binaryData, and is read from data"
            remedy = "write the JWKS as text in UTF-8, so that it is an entry of data"
        return problem_of(resource, "spec.keys.configMap", ProblemReason.KEYS_UNAVAILABLE, detail, remedy)
    field = "spec.keys.discovery" if source.discovery is not None else "spec.keys.cluster"
    detail = "these keys have to be fetched, and nothing fetches them here"
    remedy = f"give them with `{_by_flag(resource)}`, or pin them inline (`watchword pin` prints the object)"
    return problem_of(resource, field, ProblemReason.KEYS_UNAVAILABLE, detail, remedy)


def _by_flag(resource: ClusterTrustedIssuer) -> str:
    return f"--jwks {resource.metadata.name}=FILE"


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


def _is_of_desks(key: Key | HeldKey) -> bool:
    """Whether a key's id is one that only keys of desks have."""
    return key.kid.startswith(DESK_KID_PREFIX)


def _reserved_kid(resource: ClusterTrustedIssuer, key: Key) -> Problem:
    detail = f"key {key.kid[:120]} is left out: ids that begin with {DESK_KID_PREFIX} are those of desk keys"
    remedy = "see who serves such a key: no Kubernetes API server makes one"
    return problem_of(resource, "spec.keys", ProblemReason.BAD_KEY, detail, remedy)


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
