# SPDX-License-Identifier: Apache-2.0
"""docs/reference/desk.md: the desk's endpoints, what they take and answer, and how they say no."""

import json
from collections.abc import Iterable

from watchword.desk.admin.openapi import openapi
from watchword.desk.admin.operations import MAX_SCANNED
from watchword.desk.admin.parameters import MAX_BODY_BYTES, MAX_LIMIT
from watchword.desk.admin.people import LONGEST_SECONDS, MAX_AGE_SECONDS
from watchword.desk.admin.routes import DOCUMENT, PREFIX, ROUTES
from watchword.desk.admin.tickets import TICKET_SECONDS
from watchword.desk.agents.claims import ATTEMPTS, GUESSES, GUESSES_OF_ADDRESS
from watchword.desk.agents.confirmation import MAILS_OF_ADDRESS
from watchword.desk.agents.core import ATTEMPT_SECONDS
from watchword.desk.agents.oidc_http import DEADLINE_SECONDS
from watchword.desk.agents.provider_fetches import AT_ONCE, MAX_WAITING, REST_SECONDS
from watchword.desk.agents.reasons import AgentReason
from watchword.desk.clients import ASSERTION_TYPE, MAX_ASSERTION_SECONDS
from watchword.desk.exchange import ACCESS_TOKEN_TYPE, GRANT_TYPE, JWT_TYPE
from watchword.desk.forms import MAX_FORM_BYTES, MAX_PARAMETERS
from watchword.desk.grant_request import DETAIL_TYPE, MAX_DETAILS, MAX_NAMES
from watchword.desk.metadata import INTROSPECT, JWKS, RESOURCE_METADATA, REVOKE, SERVER_METADATA, TOKEN
from watchword.desk.reasons import DeskReason

_ENDPOINTS = (
    (f"POST {TOKEN}", "exchanges a workload's own token for a narrower one (RFC 8693)"),
    (f"POST {INTROSPECT}", "says whether a token is active, to resource servers (RFC 7662)"),
    (f"POST {REVOKE}", "takes a token back (RFC 7009); a 2xx means that it is durable"),
    (f"GET {SERVER_METADATA}", "the authorization server's metadata (RFC 8414)"),
    (f"GET {RESOURCE_METADATA}", "the desk as a protected resource (RFC 9728)"),
    (f"GET {JWKS}", "the desk's public keys (RFC 7517)"),
)
_ADMIN = f"""An admin service account (a `DeskClient` of the type `AdminServiceAccount` whose flag counts)
sends `grant_type=client_credentials` with its `client_assertion`, and nothing else: a token of client
credentials has no grants, so a request that asks for one is refused. The token is of the kind `admin`,
its audience is the desk's own, and it ends with the projected token that it was got by. It opens the
admin API on `--admin-listen` (below `{PREFIX}`) and nothing else: 403 `wrong_token_kind` everywhere.

A person (type `AdminPerson`) gets such a token at `POST {PREFIX}/sign-in` for an ID token of the provider
that the object names, at most {MAX_AGE_SECONDS} s old, whose only audience is its `clientId` and whose
`nonce` is the digest of a ticket of `GET {PREFIX}/sign-in`, which is good once, within
{TICKET_SECONDS} s. The token lives for at most {LONGEST_SECONDS} s. `watchword desk sign-in` does all of it.

Each call reads the DeskClient again, and in a cluster the admission policy on it: what was withdrawn, changed
or unguarded counts no more, and the token dies with the version of the object that it was issued for. Each
call leaves an audit entry, which is durable before the answer is given. Bounds: {MAX_LIMIT} entries a page,
{MAX_SCANNED} rows that one request looks through, {MAX_BODY_BYTES // 1024} KiB a body, and 20 calls a second
of one address and of one admin, 40 at once. The OpenAPI 3.1 document is
[desk-admin-openapi.json](desk-admin-openapi.json), served at `{DOCUMENT}`.

| operation | what it takes in its query |
|---|---|"""

_EXCHANGE = (
    ("grant_type", "yes", f"`{GRANT_TYPE}`"),
    ("subject_token", "yes", "a projected ServiceAccount token whose only audience is the desk's"),
    ("subject_token_type", "yes", f"`{JWT_TYPE}`"),
    ("audience", "yes, once", "the service: `<namespace>/<name>`, or its own audience (`status.audience`)"),
    ("scope", "one of the two", "what the token may do: scopes with one space between two"),
    ("account", "with `scope`", "the account that it is for; absent: only paths without an account"),
    ("project", "with `account`", "the project that it is for; absent: only paths without a project"),
    (
        "authorization_details",
        "forms",
        (
            f"RFC 9396: 1 to {MAX_DETAILS} objects of the type `{DETAIL_TYPE}` with `actions` (scopes), "
            f"`accounts` and `projects`, each with 1 to {MAX_NAMES} names"
        ),
    ),
    ("purpose", "no", "a word that the TrustedWorkload allows in `spec.purposes`"),
    ("requested_token_type", "no", f"`{ACCESS_TOKEN_TYPE}` or `{JWT_TYPE}`"),
    ("client_id", "no", "changes nothing, unless it names a DeskClient, which would have to prove itself"),
)
_CLAIMS = (
    ("iss", "`spec.issuer` of the TokenDesk"),
    ("sub, client_id", "`workload:<issuer>:<namespace>:<name>`"),
    ("aud", "the service's derived audience, and nothing else"),
    ("iat, exp", "seconds; `exp` is never after the end of the token that it was made from"),
    ("jti", "the token's id, as the audit log and revocations name it"),
    ("scope", "all actions of the details"),
    ("authorization_details", "what the token allows; its workload must allow it as well"),
    ("purpose", "what it is for, where it is for something"),
    ("watchword", "`kind`, and `origin`: which token of which pod it was made from"),
)
_EVENTS = (
    (
        "token_issued",
        (
            "`subject`, `workload`, `service`, `token_id`, `expires_at`, `authorization_details`, `purpose`, "
            "`origin`, `key`, and by which rules: `bundle` with `bundle_generation`"
        ),
    ),
    (
        "admin_client_changed",
        (
            "an admin client was `granted`, `withdrawn` or `removed`, noted once: `change`, `subject`, "
            "`granted_by`, `uid`, `generation`, `authentication`"
        ),
    ),
    (
        "admin_token_issued",
        (
            "an admin client got a token: `subject`, `granted_by`, `token_id`, `expires_at`, `key`, and "
            "`provider` where a person signed in"
        ),
    ),
    (
        "admin_called",
        "an admin used the admin API: `subject`, `token_id`, `operation`, `about`, `reason` (`ok` for a yes)",
    ),
    (
        "token_revoked",
        "`subject`, `service`, `token_id`, `expires_at`, and `by`: `holder`, or which client or workload",
    ),
    ("revocation_ignored", "a client or workload asked to revoke another one's token; it was answered 200"),
    (
        "request_refused",
        "a proven caller was refused: `endpoint`, `reason`, `detail`, and `internal`, which it is not told",
    ),
    (
        "strangers_refused",
        "refusals of callers who proved nothing, once a minute: `refusals` with counts, `addresses`",
    ),
    ("agent_registered", "`subject`, `kind`, `expires_at`"),
    ("agent_claim_requested", "`subject`: someone is to be asked whether the agent may act for them"),
    (
        "agent_claim_proof",
        "`subject`, and `way`: `mail`, `sign_in`, or `none` where no one by this address may claim",
    ),
    ("agent_claim_confirmed", "`subject`: the person allowed it and saw the code"),
    ("agent_claim_denied", "`subject`: the person refused"),
    ("agent_claimed", "`subject`, and `person`: a pseudonym; the address is stored apart"),
    ("agent_refreshed", "`subject`: it got another assertion by its refresh token"),
    (
        "agent_asserted",
        (
            "a provider's assertion was taken for an agent that a person claimed: `subject`, `person`, "
            "`provider` (the AgentProvider) and `client`; `agent_registered` has them where one is asked"
        ),
    ),
    (
        "agent_provider_event",
        "a provider said that what it asserted is revoked: `provider`, `event_id`, and the ended `subjects`",
    ),
    ("agent_token_issued", "as `token_issued`, with `person` where one claimed the agent"),
    (
        "agent_revoked",
        "`subject`, and `by`: `holder`, `refresh_token_reused`, `operator`, an admin, or what took its place",
    ),
    ("person_forgotten", "what was kept of a person was deleted; of whom is not said"),
    ("store_renewed", "the store was restored, and got another id; all earlier keys are revoked"),
)
_AGENT_ENDPOINTS = (
    ("GET /auth.md", "how to register, for an agent that knows nothing else"),
    (
        "POST /agent/identity",
        "registers (`anonymous`, `service_auth`, `identity_assertion`), or renews (`refresh`)",
    ),
    ("POST /agent/identity/claim", "starts another attempt, in place of the one before"),
    ("POST /agent/identity/claim/complete", "binds the agent to the person, by the code that the person saw"),
    ("GET /claim", "the page of an agent's link, or of a mail's; changes nothing"),
    ("POST /claim/mail", "mails the second secret, if the address is one of `people`"),
    ("POST /claim/sign-in, GET /claim/callback", "sign-in at the OpenID provider of the address's domain"),
    ("POST /agent/event/notify", "a provider says that what it asserted of a subject is revoked (RFC 8935)"),
    ("POST /claim/confirm", "allows it, which shows the code once, or refuses it"),
)
_AGENT_BOUNDS = (
    ("codes that can be tried for one registration", str(GUESSES)),
    ("codes that can be tried for one person in a day", str(GUESSES_OF_ADDRESS)),
    ("attempts of one registration", str(ATTEMPTS)),
    ("mails to one address in a day", str(MAILS_OF_ADDRESS)),
    ("life of an attempt, its links and its code", f"{ATTEMPT_SECONDS} s"),
    (
        "registrations that wait, of each kind and of each AgentProvider",
        "`spec.agents.unclaimed.maxRegistrations`, or 1000",
    ),
    (
        "registrations of one address, and of all; of each AgentProvider",
        "`--agents-per-hour`, `--agents-per-minute`; the latter",
    ),
    (
        "tokens of all agents that no one claimed",
        "`--unclaimed-tokens-per-minute`; of one: 20, then one in 5 s",
    ),
    (
        "asking an OpenID provider at which people sign in",
        f"{DEADLINE_SECONDS:.0f} s; {AT_ONCE} at once; {MAX_WAITING} wait; then {REST_SECONDS:.0f} s of rest",
    ),
)
_AGENTS = """Served only where the TokenDesk has `spec.agents`; else these paths are 404 and the
metadata says nothing of them. Bodies of `/agent/...` are JSON, those of `/claim/...` forms. On the wire it is
`auth.md` 0.7.

`identity_assertion` takes an ID-JAG of an `AgentProvider` next to the desk, and is served only where there is
one. Its header says `typ: oauth-id-jag+jwt` and names a key of the provider by `kid`, which may be left out
where the provider has one key; two keys with one `kid` are both tried. A header with hints about keys (`x5t`,
`x5c`, `jku`, `jwk` and their like), `crit` or `zip` is refused, also in events; ID tokens of people may have
the hints, which common providers send there and which are ignored. `aud` is the desk's issuer alone (or
`spec.audience`), `client_id` one of `spec.clientIDs`; `jti`, `iat`, `exp` (an hour after
`iat` at most) and `auth_time` are required, and an `email` counts only with `email_verified: true` and in
`spec.emailDomains`. `cnf`, `tenant`, `aud_tenant`, `authorization_details`, and a `resource` other than the
desk's issuer are refused, since nothing here would honor them; `scope` bounds what the agent gets. Each is
good once, whatever came of it. Where the person has not confirmed yet the answer is a 401
`interaction_required` with `id`, `claim.token` and `claim.attempt`; after the claim, the next ID-JAG of the
same `iss`, `sub` and `client_id` answers `identity.assertion`. It allows at most the scopes that the person
was shown; where the ID-JAG's `scope` has more, `pending` is a claim to make (`id`, `scopes`, `claim`), which
shows the person both, and takes the registration's place once it is complete. There is no refresh token. A
401 `login_required` has `max_age`. An assertion mints as long as the provider's key that signed its ID-JAG is
taken, and the AgentProvider lists the client.

`/agent/event/notify` takes a security event token (RFC 8417) as `application/secevent+jwt`, signed by an
AgentProvider's key, a suspended one's too. The event
`https://schemas.workos.com/events/agent/auth/identity/assertion/revoked` with `sub`, or `sub_id` of the
format `iss_sub`, ends all that came by that subject: registrations, tokens, assertions, claims, and the
links, those that are newer than the event as well. An event is taken for a day after its `iat`.
202 without a body; 400 with `err` and `description`. Other events are ignored, and one that comes again ends
nothing new.

`POST /oauth2/token` with `grant_type=urn:ietf:params:oauth:grant-type:jwt-bearer` and the agent's own
`assertion` gives it a token for one `audience`, with `scope` and `account` or `authorization_details` as in
an exchange. Its `sub` and `client_id` are `agent:<registration>`, and `watchword` says the kind `agent` and
no origin. It allows at most what `spec.agents` of the desk *and* of the service allow; gates ask the
service's own again. A gate shows it as `X-Watchword-Subject` and `-Workload: agent:<registration>`,
`-Issuer: <namespace>/<desk>`.

`POST /oauth2/revoke` ends an access token alone; a refresh token, an assertion, or the claim token of an
unclaimed agent ends the whole registration. [How to let agents in](../how-to/let-agents-in.md)."""
_FORMS = f"""Endpoints of OAuth take `application/x-www-form-urlencoded` in UTF-8: at most
{MAX_FORM_BYTES // 1024} KiB and {MAX_PARAMETERS} parameters, each sent once (the RFC lets `audience` and
`resource` be repeated; the desk issues for one). An empty value counts as none, unknown parameters are
ignored, and nothing is read from the URL. Answers are `no-store`. The issuer in tokens and documents is
`spec.issuer`, whatever the Host header says."""
_AFTER_EXCHANGE = """A request that is partly covered by the workload's grants is refused whole.
`actor_token` and `resource` are refused, not ignored. The same projected token may be exchanged as often as
it lives.

The token is a JWT (RFC 9068): `typ: at+jwt`, ES256."""
_CLIENTS = f"""A resource server is a `DeskClient` of that type, and authenticates in one way:

- `client_assertion` with `client_assertion_type={ASSERTION_TYPE}`: its own projected token, or an assertion
  by a key of its `jwks`. The only audience is the desk's issuer (not an endpoint). An assertion of its own
  has a `jti`, counts once, and lives for at most {MAX_ASSERTION_SECONDS} s.
- `client_secret_basic` or `client_secret_post`, where its `secretRef` holds the secret's SHA-256.

Introspection answers about a token only where the service names the client in `spec.resourceServers` and
the client the service in `spec.serviceRefs`; for everything else `{{"active": false}}` and nothing more. It
says what the token *and* its workload allow by now. Keep an answer for at most 30 seconds.

Anyone who holds a token may revoke it, without any client authentication. Unknown tokens are answered 200.
Gates that follow their bundle refuse it within two seconds; a resource server that only reads claims does
not see it."""
_AUDIT = """One entry for each effect, in the transaction of the effect; never a token or a
secret of the desk's, nor the address of a person behind an agent. What a proven caller sent as account or
project is there as it was sent. Each has `sequence`, `time`, `event`, and where there was a request,
`request_id` and `peer`."""
_ERRORS = """The body has the RFC's `error` and `error_description`, and `reason`, `remedy` and
`request_id`. A subject token that is not accepted is `invalid_request` with 400 (RFC 8693, section 2.2.2),
whatever a gate would have answered, and its `reason` is one of [the gates' own](reasons.md). To a request
with `authorization_details`, `grant_not_covered` and `beyond_ceiling` are `invalid_authorization_details`
(RFC 9396, section 5)."""


def _names(query: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in query) or "nothing"


def admin_openapi() -> str:
    """The text of docs/reference/desk-admin-openapi.json."""
    return json.dumps(openapi(), indent=2) + "\n"


def page() -> str:
    """The page's text."""
    lines = [
        "# The token desk: endpoints, tokens, errors",
        "",
        "Generated from the code (`make generate`). How to use it:",
        "[exchange a token](../how-to/exchange-a-token.md),",
        "[a cache node that asks](../how-to/a-cache-node-that-asks.md),",
        "[run the desk](../how-to/run-the-desk.md).",
        "",
        "| endpoint | what |",
        "|---|---|",
        *(f"| `{path}` | {what} |" for path, what in _ENDPOINTS),
        "",
        _FORMS,
        "",
        "## Exchange",
        "",
        "| parameter | required | what |",
        "|---|---|---|",
        *(f"| `{name}` | {required} | {what} |" for name, required, what in _EXCHANGE),
        "",
        _AFTER_EXCHANGE,
        "",
        "| claim | what |",
        "|---|---|",
        *(f"| `{name}` | {what} |" for name, what in _CLAIMS),
        "",
        "## Clients",
        "",
        _CLIENTS,
        "",
        "## Admin clients and the admin API",
        "",
        _ADMIN,
        *(f"| `{each.method} {PREFIX}{each.path}` | {_names(each.query)} |" for each in ROUTES),
        "",
        "## Agents",
        "",
        _AGENTS,
        "",
        "| endpoint | what |",
        "|---|---|",
        *(f"| `{path}` | {what} |" for path, what in _AGENT_ENDPOINTS),
        "",
        "| bound | |",
        "|---|---|",
        *(f"| {what} | {bound} |" for what, bound in _AGENT_BOUNDS),
        "",
        "## The audit log",
        "",
        _AUDIT,
        "",
        "| event | what it says |",
        "|---|---|",
        *(f"| `{name}` | {what} |" for name, what in _EVENTS),
        "",
        "## Errors",
        "",
        _ERRORS,
    ]
    for reason in (*DeskReason, *AgentReason):
        lines += [
            "",
            f"### {reason.code}",
            "",
            f"**{reason.status} {reason.error}.** {reason.summary}",
            "",
            f"What to do: {reason.remedy}",
        ]
    return "\n".join(lines) + "\n"
