# SPDX-License-Identifier: Apache-2.0
"""What an agent reads that knows nothing else: /auth.md, and what the server's metadata says of agents.

All URLs are made of the issuer in the TokenDesk. Who may claim an agent, and which domains sign in where, is
in neither.
"""

from typing import Any

from watchword.desk.agents.claims import GUESSES
from watchword.desk.agents.core import ATTEMPT_SECONDS, policy_of
from watchword.desk.agents.id_jag import ID_JAG_TOKEN_TYPE
from watchword.desk.agents.minting import GRANT_TYPE
from watchword.desk.agents.register import CLAIM_ENDPOINT, identity_types
from watchword.desk.agents.security_events import REVOKED
from watchword.desk.state import DeskState

AUTH_MD = "/auth.md"
IDENTITY_ENDPOINT = "/agent/identity"
COMPLETE_ENDPOINT = f"{CLAIM_ENDPOINT}/complete"
EVENTS_ENDPOINT = "/agent/event/notify"


def agent_metadata(state: DeskState) -> dict[str, Any]:
    """The member `agent_auth` of the authorization server's metadata."""
    identity, claim = f"{state.issuer}{IDENTITY_ENDPOINT}", f"{state.issuer}{CLAIM_ENDPOINT}"
    types = identity_types(policy_of(state))
    # Never which providers: only that there is one.
    of_providers = {
        "events_endpoint": f"{state.issuer}{EVENTS_ENDPOINT}",
        "identity_assertion": {"assertion_types_supported": [ID_JAG_TOKEN_TYPE]},
        "events_supported": [REVOKED],
    }
    return {
        "skill": f"{state.issuer}{AUTH_MD}",
        "identity_endpoint": identity,
        "claim_endpoint": claim,
        "identity_types_supported": types,
        **(of_providers if "identity_assertion" in types else {}),
        # The names of version 0.1 for the same URLs: scanners still look for them.
        "register_uri": identity,
        "claim_uri": claim,
        "revocation_uri": f"{state.issuer}/oauth2/revoke",
    }


def auth_md(state: DeskState) -> bytes:
    """The document of /auth.md, in Markdown."""
    issuer, types = state.issuer, identity_types(policy_of(state))
    lines = [
        "# auth.md",
        "",
        f"How an agent registers at {issuer} and gets tokens. `auth.md` 0.7; every URL is under that origin.",
        "",
        "## Discover",
        "",
        f"- Metadata: GET {issuer}/.well-known/oauth-authorization-server (RFC 8414), member `agent_auth`.",
        "- Services that let agents in, and what they let them do at most:",
        "",
        *_services(state),
        "",
        "## Pick a method",
        "",
        *([_ANONYMOUS] if "anonymous" in types else []),
        *([_SERVICE_AUTH] if "service_auth" in types else []),
        *([_ASSERTION] if "identity_assertion" in types else []),
        *([] if types else ["No agent can register at present."]),
        "",
        "## Register",
        "",
        f"POST {issuer}{IDENTITY_ENDPOINT} with Content-Type: application/json.",
        "",
        *([_REGISTER_ANONYMOUS] if "anonymous" in types else []),
        *([_REGISTER_SERVICE_AUTH] if "service_auth" in types else []),
        *([_REGISTER_ASSERTION.format(issuer)] if "identity_assertion" in types else []),
        _REFRESH,
        "",
        *(_claim(issuer, "identity_assertion" in types) if "service_auth" in types else []),
        "## Use",
        "",
        f"POST {issuer}/oauth2/token with Content-Type: application/x-www-form-urlencoded and",
        "",
        f"- `grant_type={GRANT_TYPE}`",
        "- `assertion=` the newest `identity.assertion`",
        "- `audience=` one service of the list above",
        "- `scope=` scopes with one space between two, and `account=` where the path has an account, one of",
        "  those that `accounts` of the newest answer lists; or",
        '  `authorization_details=[{"type": "watchword_grant", "actions": ["..."], "accounts": ["..."]}]`',
        "",
        "There is no default scope, and nothing is left out silently. Send the `access_token` as",
        "`Authorization: Bearer ...` to that service alone. It ends after `expires_in` seconds; ask again",
        "with the same assertion, until that ends at `identity.expires_at`.",
        "",
        "## Errors",
        "",
        "An answer that is no 2xx is JSON with `error`, `reason` (stable), `message`, `remedy` (what helps)",
        "and `request_id`. With 429 and 503, wait as long as `Retry-After` says, where it is there.",
        "",
        "## Revocation",
        "",
        f"POST {issuer}/oauth2/revoke (a form) with `token=`: an access token ends alone; a refresh token,",
        "an assertion or an unused claim token ends the whole registration with all of its tokens.",
        "",
    ]
    return "\n".join(lines).encode()


_ANONYMOUS = "- `anonymous`: no one answers for you. You get little, at once; a person can claim you later."
_SERVICE_AUTH = (
    "- `service_auth`: you act for a person whose mail address you know. You get nothing until they confirm."
)
_REGISTER_ANONYMOUS = '- `{"type": "anonymous"}` answers `identity.assertion` and `claim.token`.'
_REGISTER_SERVICE_AUTH = (
    '- `{"type": "service_auth", "login_hint": "alice@example.com"}` answers `claim.token` and '
    "`claim.attempt.verification_uri`."
)
_ASSERTION = (
    "- `identity_assertion`: your provider says whom you act for, by an ID-JAG. The person confirms it once."
)
_REGISTER_ASSERTION = (
    '- `{{"type": "identity_assertion", "assertion_type": "urn:ietf:params:oauth:token-type:id-jag", '
    '"assertion": "..."}}`\n'
    "  with an ID-JAG whose only `aud` is `{}` (unless you were told another one), and with\n"
    "  `auth_time`. Each is good once. 401 `interaction_required` has a claim to make; after that, a new\n"
    "  one answers `identity.assertion` at once, and there is no refresh token. What the person was shown\n"
    "  is the most that you get. For more, send one whose `scope` has it: the answer gives what was\n"
    "  confirmed, and under `pending` a claim to make. 401 `login_required`: the person signs in at your\n"
    "  provider again."
)
_REFRESH = (
    '- `{"type": "refresh", "refresh_token": "..."}` answers a new `identity.assertion` and a new '
    "`identity.refresh_token`. Each is good once: one that comes twice ends the registration."
)


def _claim(issuer: str, takes_assertions: bool) -> list[str]:
    minutes = ATTEMPT_SECONDS // 60
    # Whom such a registration is for is the provider's to say, and so is when it is renewed.
    only = [
        "5. A registration by `identity_assertion` has its attempt already and gets no refresh token: to",
        "   start again, and whenever its assertion ends, send a new ID-JAG.",
    ]
    return [
        "## Claim",
        "",
        f"1. For `anonymous`, or to start again: POST {issuer}{CLAIM_ENDPOINT} with",
        '   `{"type": "service_auth", "claim_token": "...", "login_hint": "alice@example.com"}`. It answers',
        "   `attempt.verification_uri`. A new attempt replaces the one before.",
        f"2. Have the person open `verification_uri` within {minutes} minutes. Do not open it yourself: it",
        "   shows you no code. The person signs in or gets a mail, allows it, and sees six digits.",
        f"3. Ask the person for the digits and POST {issuer}{COMPLETE_ENDPOINT} with",
        '   `{"claim_token": "...", "user_code": "..."}`. `claim_not_confirmed` (409) means: wait, and ask',
        f"   the person. At most {GUESSES} codes can be tried.",
        "4. The answer has `identity.assertion` and `identity.refresh_token`. All from before is revoked.",
        *(only if takes_assertions else []),
        "",
    ]


def _services(state: DeskState) -> list[str]:
    rows = [
        f"  - `audience={service}`: scopes {', '.join(f'`{scope}`' for scope in target.agents.scopes)}"
        for service, target in sorted(state.targets.items())
        if target.agents is not None
    ]
    return rows or ["  - none at present"]
