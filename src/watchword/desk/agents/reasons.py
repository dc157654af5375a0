# SPDX-License-Identifier: Apache-2.0
"""How the endpoints for agents say no: the codes of `auth.md` 0.7 as `error`, each with what helps.

What could tell a stranger who is known here has no code of its own.
"""

from enum import Enum, unique
from typing import NamedTuple


class _Facts(NamedTuple):
    status: int
    error: str
    summary: str
    remedy: str


_AGAIN = "Register again, by POST /agent/identity."


@unique
class AgentReason(Enum):
    """The stable code of a refusal of an agent; its attributes are those of a `DeskReason`."""

    WRONG_JSON_TYPE = _Facts(
        400,
        "invalid_request",
        "The body is not declared as JSON.",
        "Send one Content-Type: application/json.",
    )
    MALFORMED_JSON = _Facts(
        400,
        "invalid_request",
        "The body is not a JSON object.",
        "Send one JSON object in UTF-8, each member once.",
    )
    MISSING_MEMBER = _Facts(
        400, "invalid_request", "A required member is missing, or not a text.", "Send it; see /auth.md."
    )
    MEMBER_TOO_LARGE = _Facts(
        400,
        "invalid_request",
        "A member is longer than this desk reads.",
        "Send a shorter one; ask the provider for an assertion with fewer claims.",
    )
    UNKNOWN_TYPE = _Facts(
        400,
        "invalid_request",
        "The type is none that this desk serves.",
        "Send a type that agent_auth.identity_types_supported of the server's metadata lists.",
    )
    ANONYMOUS_DISABLED = _Facts(
        400,
        "anonymous_registration_disabled",
        "This desk registers no agent for which no one answers.",
        "Register with type service_auth and the address of the person whom you act for.",
    )
    SERVICE_AUTH_DISABLED = _Facts(
        400,
        "service_auth_registration_disabled",
        "No person can claim an agent at this desk.",
        "Register with type anonymous, if the server's metadata lists it.",
    )
    INVALID_LOGIN_HINT = _Facts(
        400,
        "invalid_login_hint",
        "login_hint is not one whole mail address.",
        "Send the person's address, such as alice@example.com, in ASCII and without a name or spaces.",
    )
    INVALID_CLAIM_TOKEN = _Facts(
        401, "invalid_claim_token", "The claim token is not one that this desk keeps.", _AGAIN
    )
    CLAIM_NOT_CONFIRMED = _Facts(
        409,
        "claim_not_confirmed",
        "The person has not confirmed yet.",
        "Have the person open the verification_uri and confirm there; then send the code that it shows.",
    )
    ALREADY_CLAIMED = _Facts(
        409,
        "already_claimed",
        "A person has claimed the registration already.",
        "Use the refresh token that came with the claim, or register again.",
    )
    CLAIM_DENIED = _Facts(
        403, "claim_denied", "The person has refused.", "Ask the person, before you start another attempt."
    )
    CLAIM_EXPIRED = _Facts(410, "claim_expired", "The registration has ended unclaimed.", _AGAIN)
    CLAIM_REVOKED = _Facts(410, "claim_revoked", "The registration was revoked.", _AGAIN)
    USER_CODE_EXPIRED = _Facts(
        410,
        "user_code_expired",
        "The attempt has ended, and its code with it.",
        "Start another attempt, by POST /agent/identity/claim.",
    )
    INVALID_USER_CODE = _Facts(
        401,
        "invalid_user_code",
        "The code is not the one that the person was shown.",
        "Ask the person for the six digits. The number of tries is bounded.",
    )
    TOO_MANY_ATTEMPTS = _Facts(
        429,
        "too_many_attempts",
        "Too many codes were tried.",
        "Register again; for the same person, wait a day.",
    )
    AGENT_RATE_LIMITED = _Facts(
        429, "rate_limit_exceeded", "Too many registrations or attempts.", "Wait as long as Retry-After says."
    )
    REGISTRATIONS_FULL = _Facts(
        429,
        "rate_limit_exceeded",
        "As many registrations wait to be claimed as the desk keeps.",
        "Try again later. The desk's operator raises spec.agents.unclaimed.maxRegistrations.",
    )
    INVALID_REFRESH_TOKEN = _Facts(
        401,
        "invalid_refresh_token",
        "The refresh token is not one that this desk takes.",
        "Use the newest one: each is good once. If there is none, register again.",
    )
    INVALID_ASSERTION = _Facts(
        400,
        "invalid_grant",
        "The assertion is not one that this desk issued, or it has ended.",
        "Send the newest identity.assertion; get another one with the refresh token, or register again.",
    )
    AGENT_ENDED = _Facts(
        400,
        "invalid_grant",
        "The registration of this assertion is over, or was claimed since.",
        "Use what came with the claim, or register again.",
    )
    NOT_CLAIMED = _Facts(
        400,
        "invalid_grant",
        "Until a person claims the registration it gives no tokens.",
        "Complete the claim first; /auth.md says how.",
    )
    PERSON_NOT_ALLOWED = _Facts(
        400,
        "invalid_grant",
        "The person who claimed the agent no longer has a right to.",
        "The desk's operator decides by spec.agents of the TokenDesk whose agents may act.",
    )
    PROVIDER_KEY_WITHDRAWN = _Facts(
        400,
        "invalid_grant",
        "The provider's key that signed for this agent is no longer taken.",
        "Show a new ID-JAG by POST /agent/identity, signed with a key that the provider publishes now.",
    )
    SCOPE_ALLOWS_NOTHING = _Facts(
        400,
        "invalid_scope",
        "The assertion's scope has nothing that agents may do here.",
        "Ask the provider for an ID-JAG whose scope has some of what /auth.md lists, or that has none.",
    )
    BEYOND_CEILING = _Facts(
        400,
        "invalid_scope",
        "Agents may not do all that the token is to allow.",
        "Ask for less: /auth.md lists what each service lets agents do. Nothing is left out silently.",
    )
    AGENT_TARGET_UNAVAILABLE = _Facts(
        400,
        "invalid_target",
        "The desk issues no agent a token for this target.",
        "Send audience=<namespace>/<service> of a service that /auth.md lists.",
    )

    UNSUPPORTED_ASSERTION_TYPE = _Facts(
        400,
        "invalid_request",
        "The assertion_type is none that this desk takes.",
        "Send assertion_type=urn:ietf:params:oauth:token-type:id-jag.",
    )
    WRONG_ASSERTION_TYPE = _Facts(
        400,
        "invalid_grant",
        "The assertion is a token of another kind.",
        "Send an ID-JAG: its header says typ oauth-id-jag+jwt.",
    )
    UNVERIFIED_ASSERTION = _Facts(
        400,
        "invalid_grant",
        "No provider that this desk trusts signed the assertion.",
        "Have the provider sign it with a key that it publishes, and name the key by kid. The desk's "
        "operator decides by AgentProviders whom the desk trusts.",
    )
    MALFORMED_ASSERTION = _Facts(
        400,
        "invalid_grant",
        "A claim of the assertion is missing, or of another type.",
        "Have the provider send iss, sub, aud, client_id, jti, iat, exp and auth_time, each once.",
    )
    WRONG_ASSERTION_AUDIENCE = _Facts(
        400,
        "invalid_grant",
        "The assertion is not for this desk, or not for it alone.",
        "Ask the provider for one whose only aud is the issuer of this desk, as its metadata says it.",
    )
    CLIENT_NOT_ENABLED = _Facts(
        400,
        "invalid_grant",
        "The assertion is for a client of the provider that this desk does not take.",
        "The desk's operator lists client_id in spec.clientIDs of the AgentProvider.",
    )
    ASSERTION_NOT_IN_TIME = _Facts(
        400,
        "invalid_grant",
        "The assertion has ended, is of the future, or lives for too long.",
        "Ask the provider for a new one; see that its clock is right.",
    )
    KEY_BOUND_ASSERTION = _Facts(
        400,
        "invalid_grant",
        "The assertion is bound to a key (cnf), which this desk does not check.",
        "Ask the provider for one without cnf.",
    )
    ASSERTION_BOUND_OTHERWISE = _Facts(
        400,
        "invalid_grant",
        "The assertion is bound in a way that this desk does not check.",
        "Ask the provider for one without authorization_details, tenant and aud_tenant, whose resource is "
        "the issuer of this desk or is not said; scope is honored.",
    )
    LOGIN_REQUIRED = _Facts(
        401,
        "login_required",
        "The person's sign-in at the provider is too old, or not said.",
        "Have the person sign in at the provider again, and ask it for a new assertion.",
    )
    MISSING_VERIFIED_EMAIL = _Facts(
        400,
        "invalid_grant",
        "The assertion names no verified mail address.",
        "Ask the provider for one with email and email_verified: true.",
    )
    DOMAIN_NOT_OF_PROVIDER = _Facts(
        400,
        "invalid_grant",
        "The provider may not name people of this domain.",
        "The desk's operator lists the domain in spec.emailDomains of the AgentProvider.",
    )
    ASSERTION_REPLAYED = _Facts(
        400,
        "invalid_grant",
        "The assertion was used before.",
        "Ask the provider for a new one: each is good once, whatever came of it.",
    )
    INTERACTION_REQUIRED = _Facts(
        401,
        "interaction_required",
        "The person has not confirmed yet that this agent of the provider may act for them.",
        "Have the person open claim.attempt.verification_uri, and complete the claim with the code.",
    )
    CLAIM_BY_ASSERTION = _Facts(
        400,
        "invalid_request",
        "Whom this registration is for is the provider's to say.",
        "Register again with a new assertion of the provider.",
    )
    UNVERIFIED_EVENT = _Facts(
        400,
        "authentication_failed",
        "No provider that this desk knows signed the event.",
        "Sign it with a key that is published, name the key by kid, and say typ secevent+jwt.",
    )
    MALFORMED_EVENT = _Facts(
        400,
        "invalid_request",
        "The event lacks a member, or one is of another type.",
        "Send iss, aud, jti, iat, events and the subject, as RFC 8417 has them.",
    )
    WRONG_EVENT_AUDIENCE = _Facts(
        400,
        "invalid_audience",
        "The event is not for this desk, or not for it alone.",
        "Send one whose only aud is the issuer of this desk.",
    )
    EVENT_NOT_IN_TIME = _Facts(
        400,
        "invalid_request",
        "The event is older than a day, or of the future.",
        "Send it again with a new iat and jti, if it still holds; see that the clock is right.",
    )
    WRONG_EVENT_TYPE = _Facts(
        400,
        "invalid_request",
        "The body is not declared as a security event token.",
        "Send one Content-Type: application/secevent+jwt.",
    )

    LINK_ENDED = _Facts(
        410,
        "claim_expired",
        "This link is not, or no longer, good for anything.",
        "Ask your agent to start again. Each link is good for ten minutes, and a new one replaces it.",
    )
    ALREADY_CONFIRMED = _Facts(
        409,
        "already_claimed",
        "This request was answered already.",
        "Ask your agent to start again if you did not note the code; it is shown once.",
    )
    SIGN_IN_FAILED = _Facts(
        403,
        "claim_denied",
        "The sign-in did not succeed.",
        "Open your agent's link again, in one browser, and sign in there.",
    )
    WRONG_PERSON = _Facts(
        403,
        "claim_denied",
        "You are signed in as someone else than the person whom the agent named.",
        "Sign in with the address that you gave your agent, or let it start again with this one.",
    )
    PROVIDER_UNAVAILABLE = _Facts(
        503,
        "temporarily_unavailable",
        "The place where you sign in does not answer.",
        "Try again in a minute. If it lasts, the desk's operator checks spec.agents.domains.",
    )

    def __init__(self, status: int, error: str, summary: str, remedy: str) -> None:
        self.status, self.error, self.summary, self.remedy = status, error, summary, remedy

    @property
    def code(self) -> str:
        """The code as callers see it in `reason`."""
        return self.name.lower()
