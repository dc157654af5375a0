# SPDX-License-Identifier: Apache-2.0
"""The operations of the admin API as one table: what the server takes, and what its OpenAPI document says."""

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

from watchword.desk.admin.parameters import TOKEN_ID
from watchword.desk.agents.overview import REGISTRATION_ID

PREFIX: Final = "/admin/v1"
DOCUMENT: Final = f"{PREFIX}/openapi.json"
_NAME: Final = r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?"
_TEXT: Final = r"[!-~]{1,512}"
_LIMIT: Final = r"[1-9][0-9]{0,2}"
TOKEN_FILTERS: Final = {
    "subject": _TEXT,
    "service": r"[a-z0-9.-]{1,63}/[a-z0-9.-]{1,253}",
    "kind": "workload|client|agent|admin",
    "state": "active|revoked|ended",
    "limit": _LIMIT,
    "cursor": TOKEN_ID,
}
AGENT_FILTERS: Final = {
    "kind": r"[a-z_]{1,64}",
    "state": "unclaimed|claimed|revoked|ended",
    "person": r"person_[0-9a-f]{32}",
    "limit": _LIMIT,
    "cursor": REGISTRATION_ID,
}
CLIENT_FILTERS: Final = {"limit": _LIMIT, "cursor": r"[a-z0-9.-]{1,253}"}
AUDIT_FILTERS: Final = {
    "event": r"[a-z_]{1,64}",
    "subject": _TEXT,
    "limit": _LIMIT,
    "cursor": r"[1-9][0-9]{0,17}",
}


class Route(NamedTuple):
    """One operation.

    Attributes:
        name: what audit entries and metrics call it.
        method: GET or POST.
        path: its template, behind the prefix.
        form: of the one parameter in its path; empty: there is none.
        query: the parameters that it takes, by their forms.
        is_open: anyone may ask, without a token.
    """

    name: str
    method: str
    path: str
    form: str = ""
    query: Mapping[str, str] = {}
    is_open: bool = False

    @property
    def pattern(self) -> re.Pattern[str]:
        """All paths of this route."""
        return re.compile(re.escape(PREFIX) + re.sub(r"\{[a-z_]+\}", f"(?P<name>{self.form})", self.path))


ROUTES: Final = (
    Route("list_tokens", "GET", "/tokens", query=TOKEN_FILTERS),
    Route("show_token", "GET", "/tokens/{token_id}", TOKEN_ID),
    Route("revoke_token", "POST", "/tokens/{token_id}/revoke", TOKEN_ID),
    Route("list_clients", "GET", "/clients", query=CLIENT_FILTERS),
    Route("show_client", "GET", "/clients/{name}", _NAME),
    Route("list_agents", "GET", "/agents", query=AGENT_FILTERS),
    Route("show_agent", "GET", "/agents/{agent_id}", REGISTRATION_ID),
    Route("revoke_agent", "POST", "/agents/{agent_id}/revoke", REGISTRATION_ID),
    Route("export_person", "POST", "/people/export"),
    Route("forget_person", "POST", "/people/forget"),
    Route("list_audit", "GET", "/audit", query=AUDIT_FILTERS),
    Route("show_audit_head", "GET", "/audit/head"),
    Route("explain", "POST", "/explain"),
    Route("begin_sign_in", "GET", "/sign-in", is_open=True),
    Route("sign_in", "POST", "/sign-in", is_open=True),
)
