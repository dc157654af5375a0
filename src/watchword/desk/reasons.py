# SPDX-License-Identifier: Apache-2.0
"""Every way in which the desk says no: the stable code, the RFC's `error`, the status, and what helps.

Clients of the RFCs act on `error`, which has eight values; people need to know which of thirty things it was.
Refusals of a subject token keep the codes of the gates (`identity/reasons.py`), so that one page explains
both.
"""

from enum import Enum, unique
from typing import Final, NamedTuple


class _Facts(NamedTuple):
    code: str
    status: int
    error: str
    summary: str
    remedy: str


_TOKEN_TYPES: Final = "urn:ietf:params:oauth:token-type"  # noqa: S105 - a name space, not a secret


@unique
class DeskReason(Enum):
    """The stable code of a refusal of the desk's own.

    Attributes:
        code: the code as callers see it in `reason`, and as metrics and the audit log have it.
        status: the HTTP status.
        error: the RFC's `error` (RFC 6749, section 5.2; RFC 8693, section 2.2.2; RFC 9396, section 5).
        summary: one sentence: what was wrong.
        remedy: what the caller, or the owner of the service or of the desk, can do.
    """

    UNKNOWN_ENDPOINT = _Facts(
        "unknown_endpoint",
        404,
        "invalid_request",
        "There is no such endpoint.",
        "Read /.well-known/oauth-authorization-server: it lists all endpoints.",
    )
    METHOD_NOT_ALLOWED = _Facts(
        "method_not_allowed",
        405,
        "invalid_request",
        "The endpoint does not take this method.",
        "Send what the Allow header says: the endpoints of OAuth take POST, the documents GET.",
    )
    WRONG_MEDIA_TYPE = _Facts(
        "wrong_media_type",
        400,
        "invalid_request",
        "The body is not declared as a form.",
        "Send one Content-Type: application/x-www-form-urlencoded.",
    )
    FORM_TOO_LARGE = _Facts(
        "form_too_large",
        413,
        "invalid_request",
        "The form is larger than the desk reads.",
        "Send the token and the parameters of the RFC alone; a whole request has less than 32 KiB.",
    )
    MALFORMED_FORM = _Facts(
        "malformed_form",
        400,
        "invalid_request",
        "The body is not a well-formed form.",
        "Encode it as application/x-www-form-urlencoded in UTF-8, with no control character in it.",
    )
    REPEATED_PARAMETER = _Facts(
        "repeated_parameter",
        400,
        "invalid_request",
        "A parameter is sent more than once.",
        "Send each parameter once (RFC 6749, section 3.2).",
    )
    MISSING_PARAMETER = _Facts(
        "missing_parameter",
        400,
        "invalid_request",
        "A required parameter is missing or empty.",
        "Send it; an empty value counts as none.",
    )
    UNSUPPORTED_GRANT_TYPE = _Facts(
        "unsupported_grant_type",
        400,
        "unsupported_grant_type",
        "The desk does not support this grant type.",
        "Send one of the grant types that /.well-known/oauth-authorization-server lists.",
    )
    ACTOR_NOT_SUPPORTED = _Facts(
        "actor_not_supported",
        400,
        "invalid_request",
        "The request holds an actor token, and the desk issues no delegated tokens.",
        "Leave actor_token and actor_token_type away: the workload acts as itself.",
    )
    UNSUPPORTED_SUBJECT_TYPE = _Facts(
        "unsupported_subject_token_type",
        400,
        "invalid_request",
        "The desk does not exchange this type of token.",
        f"Send subject_token_type={_TOKEN_TYPES}:jwt with a projected ServiceAccount token.",
    )
    UNSUPPORTED_REQUESTED_TYPE = _Facts(
        "unsupported_requested_token_type",
        400,
        "invalid_request",
        "The desk does not issue this type of token.",
        f"Leave requested_token_type away, or send {_TOKEN_TYPES}:access_token.",
    )
    RESOURCE_NOT_SUPPORTED = _Facts(
        "resource_not_supported",
        400,
        "invalid_target",
        "The target is named by `resource`, and the desk knows targets by `audience`.",
        "Send audience=<namespace>/<service>, or the service's own audience (status.audience).",
    )
    SEVERAL_TARGETS = _Facts(
        "several_targets",
        400,
        "invalid_target",
        "The request names more than one audience, and a token is for one service.",
        "Ask once for each service.",
    )
    TARGET_UNAVAILABLE = _Facts(
        "target_unavailable",
        400,
        "invalid_target",
        "The desk issues no token for this target to this workload.",
        "Check audience=<namespace>/<service>. The service's owner names the desk in spec.tokenDeskRef and "
        "trusts the workload with a TrustedWorkload.",
    )
    TWO_GRANT_FORMS = _Facts(
        "two_grant_forms",
        400,
        "invalid_request",
        "The request says what it wants in both forms.",
        "Send either authorization_details or scope (with account and project), not both.",
    )
    NO_GRANT_REQUESTED = _Facts(
        "no_grant_requested",
        400,
        "invalid_request",
        "The request does not say what the token is to allow.",
        "Send scope (with account and project), or authorization_details. There is no default.",
    )
    MALFORMED_SCOPE = _Facts(
        "malformed_scope",
        400,
        "invalid_scope",
        "The scope, account or project is not well-formed.",
        "Send scopes such as account:usage:read, one space between two, and whole names.",
    )
    MALFORMED_AUTHORIZATION_DETAILS = _Facts(
        "malformed_authorization_details",
        400,
        "invalid_authorization_details",
        "authorization_details is not what the desk reads.",
        'Send a JSON array of {"type": "watchword_grant", "actions": [...], "accounts": [...], '
        '"projects": [...]}; a list that is present is not empty.',
    )
    GRANT_NOT_COVERED = _Facts(
        "grant_not_covered",
        400,
        "invalid_scope",
        "The workload itself is not granted all that the token is to allow.",
        "Ask for less, or have the service's owner add it to the grants of the TrustedWorkload. Nothing is "
        "left out silently.",
    )
    MALFORMED_PURPOSE = _Facts(
        "malformed_purpose",
        400,
        "invalid_request",
        "The purpose is not a word of a-z, 0-9 and hyphens, with at most 64 characters.",
        "Send one word, such as cache-warming, or no purpose.",
    )
    PURPOSE_NOT_ALLOWED = _Facts(
        "purpose_not_allowed",
        400,
        "invalid_scope",
        "The workload may not ask for tokens of this purpose.",
        "The service's owner adds the word to spec.purposes of the TrustedWorkload.",
    )
    DESK_TOKEN_AS_SUBJECT = _Facts(
        "desk_token_as_subject",
        400,
        "invalid_request",
        "The subject token is a desk token, and those are never exchanged.",
        "Send the pod's projected ServiceAccount token; read its file again for each exchange.",
    )
    SEVERAL_AUDIENCES = _Facts(
        "several_audiences",
        400,
        "invalid_request",
        "The token has more audiences than the desk.",
        "Mount a projected token whose only audience is the desk's: it would be good elsewhere too.",
    )
    CONFIRMATION_NOT_SUPPORTED = _Facts(
        "confirmation_not_supported",
        400,
        "invalid_request",
        "The token is bound to a key (cnf), which the desk cannot check.",
        "Send a projected ServiceAccount token; those are not bound to keys.",
    )
    TOKEN_ENDS_TOO_SOON = _Facts(
        "token_ends_too_soon",
        400,
        "invalid_request",
        "The subject token has less than a second left.",
        "Read the token file again: the kubelet renews it at 80 % of its life.",
    )
    TOKEN_WOULD_BE_TOO_LARGE = _Facts(
        "token_would_be_too_large",
        400,
        "invalid_request",
        "A token that says all this is longer than any gate reads (8 KiB).",
        "Ask for fewer accounts and projects at once, one token for each part of the work.",
    )
    MISSING_CLIENT = _Facts(
        "missing_client_authentication",
        401,
        "invalid_client",
        "The request does not say which client it comes from.",
        "Send client_assertion (a projected token whose only audience is the desk's issuer) and "
        "client_assertion_type=urn:ietf:params:oauth:client-assertion-type:jwt-bearer.",
    )
    INVALID_CLIENT = _Facts(
        "invalid_client_authentication",
        401,
        "invalid_client",
        "The client could not be authenticated.",
        "Check spec.authentication of the DeskClient, and that the assertion's only audience is the desk's "
        "issuer. The desk's log names the check that failed (`a caller was refused`).",
    )
    REPLAYED_ASSERTION = _Facts(
        "replayed_assertion",
        401,
        "invalid_client",
        "The client assertion was used before.",
        "Sign a new assertion with a new jti for each request (RFC 7523, section 3).",
    )
    SECOND_CLIENT_AUTHENTICATION = _Facts(
        "second_client_authentication",
        400,
        "invalid_request",
        "The client authenticates in more than one way.",
        "Use one way for each request (RFC 6749, section 2.3).",
    )
    CLIENT_NOT_ALLOWED = _Facts(
        "client_not_allowed",
        400,
        "unauthorized_client",
        "This client may not use this endpoint.",
        "Use a DeskClient of the type that the endpoint is for: only a ResourceServer introspects.",
    )
    ADMIN_TOKEN_HAS_NO_GRANTS = _Facts(
        "admin_token_has_no_grants",
        400,
        "invalid_scope",
        "The request asks for a grant, and a token of client credentials has none.",
        "Send grant_type and the client's authentication alone: the token is for the desk's admin API.",
    )
    NOT_AN_ADMIN_CLIENT = _Facts(
        "not_an_admin_client",
        400,
        "unauthorized_client",
        "The client is no admin now.",
        "See the condition Ready of the DeskClient, or the desk's log: they name what is missing.",
    )
    WRONG_TOKEN_KIND = _Facts(
        "wrong_token_kind",
        403,
        "insufficient_scope",
        "The token speaks for another kind of caller than this endpoint is for.",
        "Tokens of admin clients, people included, are for the admin API and for nothing else, and it takes "
        "no others.",
    )
    MISSING_TOKEN = _Facts(
        "missing_admin_token",
        401,
        "invalid_token",
        "The request has no bearer token, or more than one.",
        "Send one Authorization: Bearer with a token of grant_type=client_credentials, or sign in: watchword "
        "desk sign-in.",
    )
    INVALID_TOKEN = _Facts(
        "invalid_admin_token",
        401,
        "invalid_token",
        "The token is not one that this desk issued to an admin client and that is still good.",
        "Get a new one: grant_type=client_credentials at the token endpoint, or watchword desk sign-in.",
    )
    NOT_AN_ADMIN = _Facts(
        "not_an_admin",
        403,
        "insufficient_scope",
        "The client is no admin any more, or was changed since the token was issued.",
        "See the condition Ready of the DeskClient; after a change, get a new token.",
    )
    SIGN_IN_NOT_BEGUN = _Facts(
        "sign_in_not_begun",
        400,
        "invalid_grant",
        "The ticket is not one that this desk handed out within the last ten minutes.",
        "Begin again: watchword desk sign-in, with the --admin-url of this very desk.",
    )
    SIGN_IN_REFUSED = _Facts(
        "sign_in_refused",
        403,
        "access_denied",
        "The ID token does not prove a sign-in that was begun with this ticket.",
        "Begin again: watchword desk sign-in. If it lasts, compare issuer and clientId of the DeskClient "
        "with the provider's, and see that it says email_verified: true.",
    )
    SIGN_IN_USED = _Facts(
        "sign_in_used",
        403,
        "access_denied",
        "The sign-in was used before.",
        "Begin again: watchword desk sign-in. If you did not use it, someone else did: see the audit log.",
    )
    NOT_AN_ADMIN_PERSON = _Facts(
        "not_an_admin_person",
        403,
        "access_denied",
        "The person who signed in is no admin of this desk now.",
        "Someone who may grant it makes a DeskClient of the type AdminPerson with your address at that "
        "provider; its condition Ready says what is missing.",
    )
    SIGN_IN_PROVIDER_UNAVAILABLE = _Facts(
        "sign_in_provider_unavailable",
        503,
        "temporarily_unavailable",
        "The provider cannot be asked for its keys.",
        "Retry after Retry-After. If it lasts, the desk's log names what fails; network policies must let "
        "the desk reach the provider.",
    )
    MALFORMED_REQUEST = _Facts(
        "malformed_request",
        400,
        "invalid_request",
        "A parameter of the request is not what the API takes.",
        "See the OpenAPI document at /admin/v1/openapi.json.",
    )
    NOT_FOUND = _Facts(
        "not_found",
        404,
        "invalid_request",
        "There is no such object, or it ended long ago and was forgotten.",
        "List the objects, and name one of them whole.",
    )
    RATE_LIMITED = _Facts(
        "rate_limited",
        429,
        "temporarily_unavailable",
        "Too many requests.",
        "Wait as long as Retry-After says, and keep a token until 30 s before it ends.",
    )
    NOT_READY = _Facts(
        "not_ready",
        503,
        "temporarily_unavailable",
        "The desk is not ready.",
        "Retry shortly. If it lasts, read /readyz on the desk's ops port: it says what is missing.",
    )
    STORE_UNAVAILABLE = _Facts(
        "store_unavailable",
        503,
        "temporarily_unavailable",
        "The desk's store does not answer, and nothing is issued without its audit entry.",
        "Retry after Retry-After. If it lasts, the desk's operator checks the store.",
    )
    INTERNAL_ERROR = _Facts(
        "internal_error",
        500,
        "server_error",
        "The desk failed in a way that it does not know.",
        "Report it with the request_id: the desk's log names the kind of error. Nothing was issued without "
        "its audit entry.",
    )

    def __init__(self, code: str, status: int, error: str, summary: str, remedy: str) -> None:
        self.code, self.status, self.error = code, status, error
        self.summary, self.remedy = summary, remedy
