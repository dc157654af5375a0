# SPDX-License-Identifier: Apache-2.0
"""Every way in which a request can be refused: the stable code, its HTTP status, and what the caller can do.

A "no" that no one can explain is the second worst bug here. So a reason is a member of one enum with its
remedy next to it; the reference page and the problem bodies are made from this table, and nothing else may
invent a code.
"""

from enum import Enum, unique
from typing import NamedTuple

import msgspec


class _Facts(NamedTuple):
    code: str
    status: int
    summary: str
    remedy: str


@unique
class Reason(Enum):
    """The stable code of a refusal, with its HTTP status (RFC 9110, section 15), a summary and a remedy.

    Attributes:
        code: the code as callers see it: in the body, in X-Watchword-Reason, in metrics.
        status: the HTTP status of the refusal.
        summary: one sentence: what was wrong.
        remedy: what the caller, or the owner of the service, can do.
    """

    NOT_READY = _Facts(
        "not_ready",
        503,
        "The gate has no bundle yet.",
        "Retry shortly. If it lasts, the service's owner reads /readyz on the gate's ops port: it says which "
        "bundle is missing.",
    )
    MISSING_CREDENTIAL = _Facts(
        "missing_credential",
        401,
        "The request carries no Authorization header.",
        "Send `Authorization: Bearer <token>` with the content of the pod's projected ServiceAccount token. "
        "If the pod has none: label it watchword.dev/call: NAMESPACE.SERVICE and create it again (a pod "
        "that is older than its label has none), or mount a serviceAccountToken volume with this service's "
        "audience.",
    )
    MALFORMED_CREDENTIAL = _Facts(
        "malformed_credential",
        400,
        "The Authorization header is not exactly one Bearer credential.",
        "Send exactly one Authorization header: the word Bearer, one space, and the token as its file holds "
        "it.",
    )
    TOKEN_TOO_LARGE = _Facts(
        "token_too_large",
        401,
        "The token is longer than 8 KiB.",
        "Send the pod's projected ServiceAccount token and nothing else; it is about 1 KiB long.",
    )
    MALFORMED_TOKEN = _Facts(
        "malformed_token",
        401,
        "The token is not a well-formed signed JWT.",
        "Send the token file's content as it is: three base64url parts joined by dots, without padding, "
        "quotes or line breaks.",
    )
    UNSUPPORTED_ALGORITHM = _Facts(
        "unsupported_algorithm",
        401,
        "The token's algorithm is not allowed for the key that it names.",
        "Use a token signed by a Kubernetes API server: RS256, ES256, ES384 or ES512, by its key's type.",
    )
    UNSUPPORTED_HEADER = _Facts(
        "unsupported_header",
        401,
        "The token's header holds a parameter that is never honored here.",
        "Use a token issued by a Kubernetes API server: its header holds alg, kid and at most typ: JWT.",
    )
    MISSING_KEY_ID = _Facts(
        "missing_key_id",
        401,
        "The token's header names no key.",
        "Use a token issued by a Kubernetes API server: its header always holds a kid.",
    )
    UNKNOWN_KEY = _Facts(
        "unknown_key",
        401,
        "No trusted issuer has the key that the token names.",
        "A cluster admin looks at the ClusterTrustedIssuer of the cluster that issued the token (`kubectl "
        "get clustertrustedissuers`). If there is none, the cluster is not trusted here: `watchword pin` "
        "prints one. If a key waits there (rotation policy Approve), compare it and run `watchword approve "
        "ISSUER`. If its keys are written inline and the cluster has rotated its own, `watchword pin` "
        "prints the new set. A key that was revoked stays out.",
    )
    BAD_SIGNATURE = _Facts(
        "bad_signature",
        401,
        "The signature does not match the key that the token names.",
        "Read the token from its file again and send it whole and unchanged. If it persists, the cluster "
        "signs with another key under this kid than the one pinned: a cluster admin compares what "
        "`watchword pin` prints with the ClusterTrustedIssuer.",
    )
    MALFORMED_CLAIMS = _Facts(
        "malformed_claims",
        401,
        "The token's payload is not a JSON object with claims of the right types.",
        "Use a token issued by a Kubernetes API server; this one's issuer signs claims that break RFC 7519.",
    )
    WRONG_ISSUER = _Facts(
        "wrong_issuer",
        401,
        "The token's iss is not the URL of the issuer that holds its key.",
        "A cluster admin compares iss byte for byte (a trailing slash counts) with spec.issuer and "
        "spec.additionalIssuers of the ClusterTrustedIssuer.",
    )
    WRONG_AUDIENCE = _Facts(
        "wrong_audience",
        401,
        "The token was not issued for this service.",
        "Mount a projected token whose serviceAccountToken.audience is one of this service's audiences.",
    )
    MISSING_TIME = _Facts(
        "missing_time",
        401,
        "The token lacks iat or exp.",
        "Use a projected token: one from a Secret never expires and is not accepted.",
    )
    ISSUED_IN_FUTURE = _Facts(
        "issued_in_future",
        401,
        "The token's iat is in the future.",
        "Set the clocks right: that of the issuing cluster's API server, or that of the node that the gate "
        "runs on.",
    )
    NOT_YET_VALID = _Facts(
        "not_yet_valid",
        401,
        "The token's nbf is in the future.",
        "Set the clocks right: that of the issuing cluster's API server, or that of the node that the gate "
        "runs on.",
    )
    EXPIRED = _Facts(
        "expired",
        401,
        "The token has expired.",
        "Read the token's file again before each request: the kubelet renews it at 80 % of its life. Where "
        "it is mounted by subPath it is never renewed: mount the directory.",
    )
    LIFETIME_TOO_LONG = _Facts(
        "lifetime_too_long",
        401,
        "The token lives longer than this service allows.",
        "Set serviceAccountToken.expirationSeconds to at most the service's token.maxLifetimeSeconds.",
    )
    NOT_A_SERVICE_ACCOUNT = _Facts(
        "not_a_service_account",
        401,
        "The token's sub is not a ServiceAccount.",
        "Send a ServiceAccount token, such as the pod's projected one: its sub is "
        "system:serviceaccount:<namespace>:<name>. Tokens of people are not accepted.",
    )
    INCONSISTENT_CLAIMS = _Facts(
        "inconsistent_claims",
        401,
        "The kubernetes.io claims do not agree with sub.",
        "Use a token issued by TokenRequest or a projected volume; this one was put together by hand.",
    )
    NOT_BOUND = _Facts(
        "not_bound",
        401,
        "The token is not bound to a pod, and this service requires it.",
        "Send the projected token of a pod. A service that accepts others says token.binding: Any.",
    )
    REVOKED = _Facts(
        "revoked",
        401,
        "The token, the key that signed it, its pod or its ServiceAccount was revoked.",
        "Restart the pod for another token; if that is refused too, ask the owner of the "
        "ClusterTrustedIssuer.",
    )
    STALE_IDENTITY = _Facts(
        "stale_identity",
        401,
        "The ServiceAccount that the token speaks for was deleted, or deleted and created again.",
        "Restart the pod, so that it gets a token of the present ServiceAccount; create the ServiceAccount "
        "first where it is gone.",
    )
    ORIGIN_KEY_UNKNOWN = _Facts(
        "origin_key_unknown",
        401,
        "The key that signed the token behind this desk token is no longer trusted.",
        "Exchange the pod's token at the desk again, once the cluster signs with a key that is pinned in its "
        "ClusterTrustedIssuer.",
    )
    WRONG_TOKEN_KIND = _Facts(
        "wrong_token_kind",
        403,
        "The token is of another kind than what it is used for.",
        "Send a workload's token: the pod's own, or what the desk issued for it. A token of an agent "
        "passes only where the ProtectedService has spec.agents; an admin client's is for the desk alone.",
    )
    UNKNOWN_WORKLOAD = _Facts(
        "unknown_workload",
        403,
        "This service does not trust the calling workload.",
        "The service's owner adds a TrustedWorkload for this issuer, namespace and ServiceAccount.",
    )
    SUSPENDED = _Facts(
        "suspended",
        403,
        "Trust in the calling workload is suspended.",
        "The service's owner sets spec.suspend: false on the TrustedWorkload.",
    )
    TRUST_EXPIRED = _Facts(
        "trust_expired",
        403,
        "Trust in the calling workload has expired.",
        "The service's owner sets a later spec.expires on the TrustedWorkload, or removes the field.",
    )
    WRONG_PURPOSE = _Facts(
        "wrong_purpose",
        403,
        "The purpose of the token is not that of the route.",
        "Ask the desk for a token with the route's purpose, or without one for all other requests. What a "
        "workload may name is in spec.purposes of its TrustedWorkload.",
    )
    NO_ROUTE = _Facts(
        "no_route",
        403,
        "No route of this service matches the method and path.",
        "Check the method and the path, which is compared whole: each part in braces of a route stands for "
        "one segment. If they are right, the service's owner adds a route to spec.routes of the "
        "ProtectedService.",
    )
    AMBIGUOUS_QUERY = _Facts(
        "ambiguous_query",
        400,
        "The query can be read as being about another account or project than another parser would find.",
        "Send each parameter that the route binds exactly once, plainly encoded, without `;` or `+` in the "
        "query, and with no form as the body.",
    )
    INSUFFICIENT_SCOPE = _Facts(
        "insufficient_scope",
        403,
        "The calling workload lacks the scope that this route requires.",
        "The service's owner adds the scope to a grant of the TrustedWorkload.",
    )
    ACCOUNT_NOT_GRANTED = _Facts(
        "account_not_granted",
        403,
        "The calling workload holds the scope, but not for this account or project.",
        "The service's owner adds the account (or project) to the grant that holds the scope.",
    )
    NOT_IN_TOKEN = _Facts(
        "not_in_token",
        403,
        "The desk token does not allow this request.",
        "Ask the desk for a token whose scopes, accounts and projects cover it; the workload's own grants "
        "are the bound.",
    )
    REVOCATIONS_UNKNOWN = _Facts(
        "revocations_unknown",
        503,
        "The gate does not know yet which desk tokens were revoked.",
        "Retry shortly. If it lasts, read /readyz on the gate's ops port; the pod's own token is accepted "
        "meanwhile.",
    )
    RATE_LIMITED = _Facts(
        "rate_limited",
        429,
        "The calling workload is over its rate.",
        "Wait as long as Retry-After says, and spread the calls. The limit is spec.limits of the "
        "ProtectedService.",
    )

    def __init__(self, code: str, status: int, summary: str, remedy: str) -> None:
        # As plain attributes: `value.code` takes ten times as long, and a flood of refusals asks for it.
        self.code, self.status, self.summary, self.remedy = code, status, summary, remedy


class Proven(msgspec.Struct, frozen=True, gc=False):
    """Who was refused, as far as signed bytes prove it. For the audit log; never for the caller's answer.

    Attributes:
        issuer: the name of the ClusterTrustedIssuer whose key signed; the empty string where several hold the
            key and the token did not say which.
        key_thumbprint: RFC 7638 thumbprint of the key.
        subject: the token's `sub`, or the empty string. At most 512 characters, as the next two.
        token_id: the token's `jti`, or the empty string.
        pod: the pod's name, or the empty string.
        workload: `namespace/name` of the TrustedWorkload, once all but its own state was checked.
    """

    issuer: str
    key_thumbprint: str
    subject: str = ""
    token_id: str = ""
    pod: str = ""
    workload: str = ""


class Refusal(msgspec.Struct, frozen=True, gc=False):
    """The answer "no", as a value: a reason, and what was special about this case.

    Attributes:
        reason: the stable code with its status.
        detail: one sentence about this request. Quotes claims only after the signature was verified.
        hint: a remedy for this very case; empty when the reason's own remedy says it all.
        proven: who was refused, once the signature held; None before.
    """

    reason: Reason
    detail: str = ""
    hint: str = ""
    proven: Proven | None = None

    @property
    def remedy(self) -> str:
        """What to do: the hint for this case, or else the reason's own remedy."""
        return self.hint or self.reason.remedy

    def sentence(self) -> str:
        """What was wrong, for people: the detail, or else the reason's summary."""
        return self.detail or self.reason.summary
