# SPDX-License-Identifier: Apache-2.0
"""Make refusals that lead to the fix: what this token says, what it should say, and who can change it.

Everything here runs once a request is refused, so it may look at all there is. Before the signature nothing
of the token is quoted, but for words of a fixed list. Behind it, claims may be: a pinned key signed them. All
of it is bounded, because the sentence goes into a header as well.
"""

import math
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Final

from watchword.identity.claims import VerifiedClaims, quoted
from watchword.identity.policy import Issuer, PinnedKey, Policy, Workload
from watchword.identity.reasons import Reason, Refusal
from watchword.identity.subject import Subject

# What tokens of Secrets say (Kubernetes, pkg/serviceaccount/legacy.go). Every cluster uses the same.
LEGACY_ISSUER: Final = "kubernetes/serviceaccount"
DERIVED_AUDIENCE: Final = "watchword.dev/services/"
_LISTED: Final = 4
# Beyond this, a number of seconds is one of milliseconds (the year 5138).
_SECONDS_END: Final = 1e11
_LAST_TIME: Final = 253_402_300_799.0
# RFC 7518, section 3.1, and RFC 8037: words of the field, which say what kind of token it is.
_REGISTERED_ALGORITHMS: Final = frozenset(
    {"none", "HS256", "HS384", "HS512", "RS384", "RS512", "PS256", "PS384", "PS512", "EdDSA"}
)
_REGISTERED_TYPES: Final = frozenset(
    {"at+jwt", "application/at+jwt", "logout+jwt", "dpop+jwt", "JOSE", "jwt"}
)
_GET_ANOTHER: Final = (
    "Send the pod's projected token instead: a serviceAccountToken volume with this service's audience, "
    "which the label watchword.dev/call: NAMESPACE.SERVICE adds to a pod that is created with it."
)


def in_seconds(duration: float) -> str:
    """A duration in whole seconds, rounded up: what is over a limit never reads as the limit itself."""
    return f"{math.ceil(duration)} s"


def listed(texts: Iterable[str], limit: int = _LISTED) -> str:
    """Texts as `a`, `b` and how many more; each escaped and cut."""
    named = sorted(texts)
    shown = ", ".join(f"`{quoted(each)[1:-1]}`" for each in named[:limit])
    return shown if len(named) <= limit else f"{shown} and {len(named) - limit} more"


def timestamp(seconds: float) -> str:
    """A time as RFC 3339 in UTC; seconds since the epoch where no calendar shows it."""
    if not 0 <= seconds <= _LAST_TIME:
        return f"{seconds:.0f} s since the epoch"
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def unsupported_algorithm(said: object) -> Refusal:
    """`unsupported_algorithm`, for one that Kubernetes never signs with; named if it is a registered one."""
    detail = "alg is not one of RS256, ES256, ES384, ES512."
    if isinstance(said, str) and said in _REGISTERED_ALGORITHMS:
        detail = f"alg is {said}, and not one of RS256, ES256, ES384, ES512."
    if said == "none":
        return Refusal(Reason.UNSUPPORTED_ALGORITHM, detail, f"The token is not signed. {_GET_ANOTHER}")
    return Refusal(Reason.UNSUPPORTED_ALGORITHM, detail, f"It is a token of another system. {_GET_ANOTHER}")


def unsupported_type(said: object) -> Refusal:
    """`unsupported_header`, for a typ of another kind of token."""
    detail = "typ is neither absent nor JWT."
    if isinstance(said, str) and said in _REGISTERED_TYPES:
        detail = f"typ is {said}, and neither absent nor JWT."
    return Refusal(Reason.UNSUPPORTED_HEADER, detail, f"It is another kind of token. {_GET_ANOTHER}")


def algorithm_of_another_key(named: Sequence[PinnedKey]) -> Refusal:
    """`unsupported_algorithm`, for one that the key of this kid does not verify."""
    fit = " or ".join(sorted({each.key.algorithm for each in named}))
    detail = f"alg does not fit the pinned key that kid names, which is for {fit}."
    hint = (
        "If the issuing cluster signs with a key of another type under this kid now, a cluster admin "
        "compares it with the ClusterTrustedIssuer (`watchword pin` prints it). Otherwise, send the token as "
        "that cluster's API server issued it to the pod."
    )
    return Refusal(Reason.UNSUPPORTED_ALGORITHM, detail, hint)


def algorithm_not_allowed() -> Refusal:
    """`unsupported_algorithm`, for one that the issuer's owner left out."""
    return Refusal(
        Reason.UNSUPPORTED_ALGORITHM,
        "The issuer of this key does not allow its algorithm.",
        "A cluster admin adds alg to spec.algorithms of the ClusterTrustedIssuer, if the cluster is to sign "
        "with it.",
    )


def wrong_issuer(claims: VerifiedClaims, holders: Sequence[PinnedKey]) -> Refusal:
    """`wrong_issuer`: which iss the issuers of the key have, and a legacy token by its name."""
    said = claims.issuer
    if said == LEGACY_ISSUER:
        detail = f"It is a legacy token from a Secret (iss {quoted(said)}), which never expires."
        hint = f"{_GET_ANOTHER} Do not add {quoted(said)} as an issuer: every cluster says it."
        return Refusal(Reason.WRONG_ISSUER, detail, hint)
    if all(each.is_revoked for each in holders):
        # Anyone can sign with a leaked key: its holder has proven nothing, and learns nothing.
        detail = f"The token says iss {quoted(said or '')}, which is not that of the issuer of its key."
        return Refusal(
            Reason.WRONG_ISSUER, detail, "Its key was revoked too: get a token signed by another one."
        )
    issuers = {each.issuer.name: each.issuer for each in holders}
    urls = {url for each in issuers.values() for url in each.urls}
    is_said = "The token has no iss" if said is None else f"The token says iss {quoted(said)}"
    detail = f"{is_said}; the issuer of its key has {listed(urls)}."
    names = listed(issuers)
    if said is None:
        hint = f"Get a token from the API server of that cluster (the ClusterTrustedIssuer {names})."
    elif said.rstrip("/").casefold() in {url.rstrip("/").casefold() for url in urls}:
        hint = (
            "They differ in a trailing slash or in case only, and are compared byte for byte. A cluster "
            "admin "
            f"writes iss as the token has it into spec.issuer or spec.additionalIssuers of the "
            f"ClusterTrustedIssuer {names}."
        )
    else:
        hint = (
            f"If that cluster's API server signs with this iss too (--service-account-issuer), a cluster "
            f"admin adds it to spec.additionalIssuers of the ClusterTrustedIssuer {names}. Else the token "
            f"was not "
            "issued by that cluster."
        )
    return Refusal(Reason.WRONG_ISSUER, detail, hint)


def revoked_key(issuer: Issuer) -> Refusal:
    """`revoked`, before anything else that the token says is looked at: a leaked key can sign anything."""
    return Refusal(
        Reason.REVOKED,
        f"The key that signed it was revoked by the issuer {issuer.name}.",
        "Get a token that the cluster signs with another key: once its API server does, restart the pod. "
        "Never "
        f"pin or approve this key again; the owner of the ClusterTrustedIssuer {issuer.name} knows why it "
        f"was "
        "revoked.",
    )


def wrong_audience(claims: VerifiedClaims, policy: Policy) -> Refusal:
    """`wrong_audience`: which ones the token has, which it should have, and where that is set."""
    said, wanted = claims.audience, " or ".join(f"`{each}`" for each in sorted(policy.audiences))
    folded = {each.strip().casefold() for each in said}
    other = next((each for each in said if each.startswith(DERIVED_AUDIENCE)), None)
    if claims.issuer in said:
        # The API server's own audience is its issuer URL: this is the token that every pod has by default.
        hint = (
            "The pod sends its default token, which is for the API server. Mount a serviceAccountToken "
            "volume "
            f"with audience {wanted}, or create the pod with the label watchword.dev/call: "
            f"{policy.service.replace('/', '.') or 'NAMESPACE.SERVICE'}, and send that token."
        )
    elif other is not None:
        service = quoted("/".join(other.split("/")[3:]))[1:-1]
        hint = (
            f"The token is for the service {service}: call that one, or send a token with audience {wanted}."
        )
    elif folded & {each.casefold() for each in policy.audiences}:
        hint = f"Audiences are compared byte for byte, case and spaces too: ask for {wanted}, exactly."
    elif claims.pod is None:
        hint = f"Ask for a token for this service: `kubectl create token` with --audience {wanted}."
    else:
        hint = f"Set serviceAccountToken.audience of the pod's projected volume to {wanted}."
    shown = ", ".join(quoted(each) for each in said[:_LISTED]) or "none"
    return Refusal(Reason.WRONG_AUDIENCE, f"The token's audience is {shown}; this service is {wanted}.", hint)


def missing_time(claims: VerifiedClaims) -> Refusal:
    """`missing_time`: which one."""
    if claims.expires_at is None:
        detail = "The token has no exp: it would be good for ever."
        return Refusal(Reason.MISSING_TIME, detail, _GET_ANOTHER)
    hint = "Get the token from a Kubernetes API server (a projected volume, or TokenRequest): it writes iat."
    return Refusal(Reason.MISSING_TIME, "The token has no iat: how long it lives is not known.", hint)


def ahead(reason: Reason, claim: str, time: float, now: float, allowed: int) -> Refusal:
    """`issued_in_future` or `not_yet_valid`: by how much."""
    detail = f"{claim} is {in_seconds(time - now)} ahead; {allowed} s are allowed."
    hint = ""
    if time > _SECONDS_END:
        hint = (
            f"{claim} is in milliseconds, and RFC 7519 counts seconds: no API server writes such a token. "
            f"{_GET_ANOTHER}"
        )
    return Refusal(reason, detail, hint)


def expired(claims: VerifiedClaims, now: float) -> Refusal:
    """`expired`: since when, and what a caller does that reads its file once."""
    expires_at = claims.expires_at or 0.0
    detail = f"exp was {in_seconds(now - expires_at)} ago ({timestamp(expires_at)})."
    if claims.pod is None:
        return Refusal(
            Reason.EXPIRED, detail, "Get a new token; this one is bound to no pod, so nothing renews it."
        )
    return Refusal(Reason.EXPIRED, detail)


def never_valid() -> Refusal:
    """`expired`, for an `exp` that is not after `iat`."""
    return Refusal(
        Reason.EXPIRED,
        "exp is not after iat, so the token was never good.",
        "Get a token from a Kubernetes API server; the program that made this one mixes up its times.",
    )


def lifetime_too_long(lifetime: float, claims: VerifiedClaims, policy: Policy) -> Refusal:
    """`lifetime_too_long`: by how much, and where both numbers are set."""
    allowed = policy.max_lifetime_seconds
    detail = f"The token lives for {in_seconds(lifetime)}; {allowed} s are allowed."
    where = (
        f"expirationSeconds of the pod's serviceAccountToken volume to at most {allowed}"
        if claims.pod is not None
        else f"`kubectl create token --duration` to at most {allowed}s"
    )
    hint = f"Set {where}, or the service's owner raises spec.token.maxLifetimeSeconds{_of_service(policy)}."
    return Refusal(Reason.LIFETIME_TOO_LONG, detail, hint)


def not_a_service_account(claims: VerifiedClaims) -> Refusal:
    """`not_a_service_account`: what sub is instead."""
    said = "has no sub" if claims.subject is None else f"has sub {quoted(claims.subject)}"
    detail = f"The token {said}, which is not system:serviceaccount:<namespace>:<name>."
    return Refusal(Reason.NOT_A_SERVICE_ACCOUNT, detail)


def inconsistent_claims(claims: VerifiedClaims, subject: Subject) -> Refusal:
    """`inconsistent_claims`: which of the two copies differ."""
    said, account = claims.kubernetes, claims.service_account
    if said is None or account is None or said.namespace is None:
        missing = (
            "kubernetes.io"
            if said is None
            else "kubernetes.io.serviceaccount"
            if account is None
            else "kubernetes.io.namespace"
        )
        return Refusal(Reason.INCONSISTENT_CLAIMS, f"The claim {missing} is missing.")
    if said.namespace != subject.namespace:
        pair = ("kubernetes.io.namespace", said.namespace, subject.namespace)
    elif account.name != subject.name:
        pair = ("kubernetes.io.serviceaccount.name", account.name, subject.name)
    else:
        return Refusal(Reason.INCONSISTENT_CLAIMS, "The claim kubernetes.io.serviceaccount.uid is missing.")
    detail = f"{pair[0]} is {quoted(pair[1])}, and sub names {quoted(pair[2])}."
    return Refusal(Reason.INCONSISTENT_CLAIMS, detail)


def not_bound(claims: VerifiedClaims, policy: Policy) -> Refusal:
    """`not_bound`: what to ask for, and who may accept others."""
    detail = "The token names no pod"
    if claims.pod is not None:
        detail = (
            "The token names a pod without its uid"
            if claims.pod.name
            else "The token names a pod without its name"
        )
    hint = (
        "Send the projected token of a pod, or ask with `kubectl create token --bound-object-kind Pod "
        "--bound-object-name POD`. To accept tokens of no pod, the service's owner sets spec.token.binding: "
        f"Any{_of_service(policy)}."
    )
    return Refusal(Reason.NOT_BOUND, f"{detail}, and this service requires one.", hint)


def revoked(claims: VerifiedClaims, issuer: Issuer, now: float) -> Refusal:
    """`revoked`: by which entry, and what gets a caller a token that it does not hit."""
    revocations = issuer.revocations
    account, pod = claims.service_account, claims.pod
    where = f"spec.revoked of the ClusterTrustedIssuer {issuer.name}"
    owner = f"If it was by mistake, the issuer's owner removes the entry from {where}."
    if claims.token_id in revocations.token_ids:
        detail = f"This one token was revoked (its jti, by {where})."
        return Refusal(Reason.REVOKED, detail, f"Restart the pod: it gets another token. {owner}")
    if pod is not None and pod.uid in revocations.pod_uids:
        detail = f"All tokens of the pod {quoted(pod.name)} were revoked (its UID, by {where})."
        return Refusal(
            Reason.REVOKED, detail, f"Delete the pod: the one that replaces it has another UID. {owner}"
        )
    if account is not None and account.uid in revocations.service_account_uids:
        detail = f"All tokens of this ServiceAccount were revoked (its UID, by {where})."
        hint = (
            f"The owner of the ClusterTrustedIssuer {issuer.name} knows why. If the workload is to be "
            f"trusted "
            "again: delete and create the ServiceAccount, so that it has another UID, and restart its pods; "
            "if it "
            f"was by mistake, the owner removes the entry from {where}."
        )
        return Refusal(Reason.REVOKED, detail, hint)
    # Nothing else is left; whether it is revoked was decided by the check, and not here.
    since = revocations.issued_before or 0.0
    detail = f"All tokens that were issued before {timestamp(since)} were revoked (issuedBefore, by {where})."
    hint = "Restart the pod: it gets a token that was issued after that time."
    if since > now:
        hint = (
            "That time is still to come: every token is refused until then; restart the pod after it. "
            f"{owner}"
        )
    return Refusal(Reason.REVOKED, detail, hint)


def stale_identity(workload: Workload, subject: Subject) -> Refusal:
    """`stale_identity`: deleted, or deleted and created again; the two have different fixes."""
    account = f"{subject.namespace}/{subject.name}"
    if not workload.live_uid:
        return Refusal(
            Reason.STALE_IDENTITY,
            f"The ServiceAccount {account} was deleted in this cluster.",
            f"Create the ServiceAccount {account} again and restart the pod; if it is gone for good, delete "
            f"the TrustedWorkload {workload.name}.",
        )
    return Refusal(
        Reason.STALE_IDENTITY,
        f"The ServiceAccount {account} was deleted and created again since; the token is for the one before.",
        "Restart the pod: its new token is for the present ServiceAccount.",
    )


def unknown_workload(issuer: str, subject: Subject, policy: Policy) -> Refusal:
    """`unknown_workload`: the object that is missing."""
    namespace, _, service = policy.service.partition("/")
    place = f" in the namespace {namespace}" if namespace else ""
    ref = f"serviceRef.name: {service}, " if service else ""
    return Refusal(
        Reason.UNKNOWN_WORKLOAD,
        f"{subject} of issuer {issuer} is not trusted by this service.",
        f"The service's owner creates a TrustedWorkload{place} with {ref}issuerRef.name: {issuer} and "
        f"serviceAccount: {{namespace: {subject.namespace}, name: {subject.name}}}; `watchword verify` "
        f"prints "
        "it. If there is one, its condition Ready says why it does not count.",
    )


def suspended(workload: Workload) -> Refusal:
    """`suspended`: by which object."""
    namespace, _, name = workload.name.partition("/")
    return Refusal(
        Reason.SUSPENDED,
        f"spec.suspend of the TrustedWorkload {workload.name} is true.",
        f"The service's owner ends that with `kubectl patch trustedworkload {name} -n {namespace} "
        """--type=merge -p '{"spec":{"suspend":false}}'`.""",
    )


def trust_expired(workload: Workload) -> Refusal:
    """`trust_expired`: of which object, and when."""
    return Refusal(
        Reason.TRUST_EXPIRED,
        f"spec.expires of the TrustedWorkload {workload.name} was {timestamp(workload.expires_at or 0.0)}.",
        "The service's owner sets a later spec.expires there, or removes the field.",
    )


def _of_service(policy: Policy) -> str:
    return f" of the ProtectedService {policy.service}" if policy.service else " of its ProtectedService"
