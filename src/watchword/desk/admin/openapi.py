# SPDX-License-Identifier: Apache-2.0
"""The OpenAPI 3.1 document of the admin API, made from the table of routes that the server itself goes by."""

import re
from collections.abc import Mapping
from typing import Any, Final

from watchword.desk.admin.explain import NAMES
from watchword.desk.admin.parameters import DEFAULT_LIMIT, MAX_LIMIT
from watchword.desk.admin.routes import PREFIX, ROUTES, Route
from watchword.desk.admin.tickets import TICKET_SECONDS
from watchword.desk.agents.overview import REGISTRATION_ID

Json = dict[str, Any]
_REFUSALS: Final = ("400", "401", "403", "429", "500", "503")
_TIME: Final[Json] = {"type": "string", "format": "date-time"}
_TEXT: Final[Json] = {"type": "string"}
_OPTIONAL: Final[Json] = {"type": ["string", "null"]}
_FLAG: Final[Json] = {"type": "boolean"}


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _object(properties: Mapping[str, Json], optional: tuple[str, ...] = (), description: str = "") -> Json:
    made: Json = {
        "type": "object",
        "additionalProperties": False,
        "required": [name for name in properties if name not in optional],
        "properties": dict(properties),
    }
    return made | ({"description": description} if description else {})


def _page(entries: str, of: str) -> Json:
    cursor = _OPTIONAL | {"description": "Send it as `cursor` for what follows; null: that was all."}
    listed = {"type": "array", "maxItems": MAX_LIMIT, "items": _ref(of)}
    return _object({entries: listed, "next_cursor": cursor})


_AGENT: Final = _object(
    {
        "id": {"type": "string", "pattern": f"^{REGISTRATION_ID}$"},
        "kind": _TEXT,
        "state": {"enum": ["unclaimed", "claimed", "revoked", "ended"]},
        "person": _OPTIONAL | {"description": "The pseudonym of the person who claimed it."},
        "epoch": {"type": "integer"},
        "guesses": {"type": "integer", "description": "Codes that were tried."},
        "made_at": _TIME,
        "expires_at": _TIME,
    },
    description="An agent's registration. No secret and no address is ever shown.",
)
_SCHEMAS: Final[Mapping[str, Json]] = {
    "Refusal": _object(
        {
            "error": _TEXT
            | {"description": "The RFC's word (RFC 6749, section 5.2; RFC 6750, section 3.1)."},
            "error_description": _TEXT,
            "reason": _TEXT | {"description": "The stable code: docs/reference/desk.md lists them."},
            "remedy": _TEXT,
            "request_id": _TEXT,
        }
    ),
    "Token": _object(
        {
            "token_id": _TEXT | {"description": "The token's `jti`. No token is ever shown."},
            "kind": {"enum": ["workload", "client", "agent", "admin"]},
            "subject": _TEXT,
            "service": _OPTIONAL | {"description": "`namespace/name`; null: the desk itself."},
            "issued_at": _TIME,
            "expires_at": _TIME,
            "state": {
                "enum": ["active", "revoked", "ended"],
                "description": "What the desk knows. A gate may refuse an active one: its workload may have "
                "been suspended since.",
            },
        }
    ),
    "Tokens": _page("tokens", "Token"),
    "Client": _object(
        {
            "name": _TEXT,
            "type": {"enum": ["ResourceServer", "AdminServiceAccount", "AdminPerson"]},
            "authentication": _object(
                {
                    "service_account": _object({"issuer": _TEXT, "namespace": _TEXT, "name": _TEXT}),
                    "key_ids": {"type": "array", "items": _TEXT},
                    "secret": _object({"name": _TEXT, "key": _TEXT}),
                    "person": _object({"issuer": _TEXT, "client_id": _TEXT, "is_subject_pinned": _FLAG}),
                },
                optional=("service_account", "key_ids", "secret", "person"),
                description="The one way in which it proves itself.",
            ),
            "services": {"type": "array", "items": _TEXT},
            "usable": _FLAG | {"description": "Whether it can prove itself now."},
            "admin": _object(
                {
                    "requested": _FLAG | {"description": "What its object says."},
                    "granted_by": _OPTIONAL,
                    "counts": _FLAG
                    | {"description": "Whether it is an admin now; when one client is shown."},
                    "problem": _OPTIONAL,
                },
                optional=("counts", "problem"),
            ),
        },
        optional=("admin",),
    ),
    "Clients": _page("clients", "Client"),
    "Agent": _AGENT,
    "Agents": _page("agents", "Agent"),
    "PersonQuestion": _object(
        {"address": _TEXT | {"description": "The whole mail address, as it was proven."}}
    ),
    "Person": _object(
        {
            "address": _TEXT,
            "people": {
                "type": "array",
                "items": _object(
                    {
                        "pseudonym": _TEXT | {"description": "What the audit log calls the person."},
                        "proven_by": {"enum": ["mail", "sign_in"]},
                        "issuer": _OPTIONAL,
                        "subject": _OPTIONAL,
                        "agents": {"type": "array", "items": _ref("Agent")},
                    }
                ),
            },
            "open_claims": {"type": "array", "items": _object({"agent": _TEXT, "expires_at": _TIME})},
        }
    ),
    "Forgotten": _object({"forgotten": {"const": True}}),
    "Entry": _object(
        {
            "entry": {"type": "object", "description": "As it was hashed: its fields depend on `event`."},
            "hash": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
        }
    ),
    "Entries": _page("entries", "Entry"),
    "Head": _object(
        {
            "sequence": {"type": "integer", "minimum": 0},
            "hash": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
            "head": _TEXT | {"description": "For `watchword audit verify --head`."},
        }
    ),
    "Question": _object(
        {
            "issuer": _TEXT | {"description": "The ClusterTrustedIssuer of the workload's cluster."},
            "namespace": _TEXT,
            "service_account": _TEXT,
            "service": _TEXT | {"description": "`namespace/name`, or the service's audience."},
            "scope": _OPTIONAL,
            "account": _OPTIONAL,
            "project": _OPTIONAL,
            "authorization_details": {"type": ["array", "null"], "items": {}},
            "purpose": _OPTIONAL,
        },
        optional=("scope", "account", "project", "authorization_details", "purpose"),
    ),
    "Explanation": _object(
        {
            "allowed": _FLAG,
            "workload": _TEXT | {"description": "The TrustedWorkload; empty: none was found."},
            "conditions": {
                "type": "array",
                "items": _object(
                    {
                        "name": {"enum": list(NAMES)},
                        "holds": {
                            "type": ["boolean", "null"],
                            "description": "null: it cannot be judged, since an earlier one does not hold.",
                        },
                        "detail": _TEXT,
                        "remedy": _TEXT,
                    },
                    optional=("detail", "remedy"),
                ),
            },
        }
    ),
    "Providers": _object(
        {
            "issuer": _TEXT | {"description": "The desk's own issuer URL."},
            "providers": {
                "type": "array",
                "items": _object({"issuer": _TEXT, "client_id": _TEXT}),
                "description": "Where a person could sign in (OpenID Connect Discovery 1.0).",
            },
            "ticket": _TEXT
            | {
                "description": f"Good for one sign-in within {TICKET_SECONDS} s. The nonce at the provider "
                "is its SHA-256 in base64url."
            },
        }
    ),
    "SignIn": _object({"id_token": _TEXT, "ticket": _TEXT}),
    "AccessToken": _object(
        {"access_token": _TEXT, "token_type": {"const": "Bearer"}, "expires_in": {"type": "integer"}}
    ),
}
# Of each operation: what it is for, the schema of its answer, and of its body.
_SAID: Final[Mapping[str, tuple[str, str, str]]] = {
    "list_tokens": ("List tokens that the desk issued, the newest first", "Tokens", ""),
    "show_token": ("Show one token", "Token", ""),
    "revoke_token": ("Revoke one token; durable with the answer", "Token", ""),
    "list_clients": ("List the desk's clients by name", "Clients", ""),
    "show_client": ("Show one client, and whether it is an admin now", "Client", ""),
    "list_agents": ("List registrations of agents by their ids", "Agents", ""),
    "show_agent": ("Show one registration", "Agent", ""),
    "revoke_agent": (
        "End a registration with all that was issued for it; durable with the answer",
        "Agent",
        "",
    ),
    "export_person": ("Show all that is kept of a person with an address", "Person", "PersonQuestion"),
    "forget_person": ("Delete it, and end the person's agents", "Forgotten", "PersonQuestion"),
    "list_audit": ("List audit entries, the newest first", "Entries", ""),
    "show_audit_head": ("Show the newest audit entry's number and hash", "Head", ""),
    "explain": ("Say which condition of an exchange would fail; issues nothing", "Explanation", "Question"),
    "begin_sign_in": ("Say where people sign in, and hand out a ticket; takes no token", "Providers", ""),
    "sign_in": (
        "Turn a person's ID token into an admin token, once; takes no token",
        "AccessToken",
        "SignIn",
    ),
}


def openapi() -> Json:
    """The document."""
    paths: dict[str, Json] = {}
    for route in ROUTES:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Watchword token desk: admin API",
            "version": "v1",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            "description": "For admin service accounts and people: tokens, clients, agents, the audit log, "
            "and a dry run of an exchange. Each call leaves an audit entry. Pages may hold less than "
            "`limit`, even nothing, and still have a `next_cursor`: a request looks through a bounded number "
            "of rows.",
        },
        "servers": [{"url": PREFIX}],
        "security": [{"adminToken": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "adminToken": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "JWT",
                    "description": "A token of grant_type=client_credentials, which the desk issues to admin "
                    "clients (DeskClient, type AdminServiceAccount), or of the operation sign_in, to people "
                    "(type AdminPerson).",
                }
            },
            "responses": {
                "Refusal": {
                    "description": "A refusal. 429 and 503 have Retry-After, 401 and 403 WWW-Authenticate.",
                    "headers": {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds."}},
                    "content": {"application/json": {"schema": _ref("Refusal")}},
                }
            },
            "schemas": dict(_SCHEMAS),
        },
    }


def _operation(route: Route) -> Json:
    summary, answer, body = _SAID[route.name]
    refusals = [
        *_REFUSALS,
        *(["404"] if route.form or "/people/" in route.path else []),
        *(["413"] if route.method == "POST" else []),
    ]
    if route.is_open:
        refusals = [each for each in refusals if each != "401"]
    made: Json = {
        "operationId": route.name,
        "summary": summary,
        "responses": {
            "200": {
                "description": "What was asked for.",
                "content": {"application/json": {"schema": _ref(answer)}},
            },
            **{status: {"$ref": "#/components/responses/Refusal"} for status in sorted(refusals)},
        },
    }
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": _form(route.form)}
        for name in re.findall(r"\{([a-z_]+)\}", route.path)
    ]
    parameters += [_query(name, form) for name, form in route.query.items()]
    if parameters:
        made["parameters"] = parameters
    if route.is_open:
        made["security"] = []
    if body:
        made["requestBody"] = {"required": True, "content": {"application/json": {"schema": _ref(body)}}}
    return made


def _query(name: str, form: str) -> Json:
    schema = _form(form)
    if name == "limit":
        schema = {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT}
    elif "|" in form:
        schema = {"enum": form.split("|")}
    return {"name": name, "in": "query", "required": False, "schema": schema}


def _form(form: str) -> Json:
    return {"type": "string", "pattern": f"^(?:{form})$"}
