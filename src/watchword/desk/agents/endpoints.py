# SPDX-License-Identifier: Apache-2.0
"""The endpoints for agents and for the people who claim them: a path and a method in, an answer out.

Where the TokenDesk says nothing of agents, none of these paths is there.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from watchword.desk.agents import pages
from watchword.desk.agents.claims import complete_claim, start_claim
from watchword.desk.agents.confirmation import Confirmation
from watchword.desk.agents.core import AgentCore, policy_of
from watchword.desk.agents.documents import (
    AUTH_MD,
    COMPLETE_ENDPOINT,
    EVENTS_ENDPOINT,
    IDENTITY_ENDPOINT,
    auth_md,
)
from watchword.desk.agents.identity_assertion import assert_identity
from watchword.desk.agents.json_body import JsonBody, parse_json_body
from watchword.desk.agents.register import CLAIM_ENDPOINT, CLAIM_PAGE, register
from watchword.desk.agents.security_events import take_event
from watchword.desk.agents.sign_in import CALLBACK
from watchword.desk.audit_events import RequestFacts
from watchword.desk.forms import parse_form
from watchword.desk.refusals import DeskRefusal
from watchword.desk.responses import Answer, json_answer
from watchword.desk.state import DeskState

_JsonEndpoint = Callable[
    [AgentCore, JsonBody, DeskState, RequestFacts], Awaitable[dict[str, Any] | Answer | DeskRefusal]
]


async def _identity(
    core: AgentCore, body: JsonBody, state: DeskState, facts: RequestFacts
) -> dict[str, Any] | Answer | DeskRefusal:
    """POST /agent/identity: a provider's assertion where the desk takes any, or another type."""
    if body.members.get("type") == "identity_assertion" and policy_of(state).takes_assertions:
        return await assert_identity(core, body, state, facts)
    return await register(core, body, state, facts)


_JSON: Final[dict[str, tuple[str, _JsonEndpoint]]] = {
    IDENTITY_ENDPOINT: ("agent_identity", _identity),
    CLAIM_ENDPOINT: ("agent_claim", start_claim),
    COMPLETE_ENDPOINT: ("agent_claim_complete", complete_claim),
}
_FORMS: Final = frozenset({"/claim/mail", "/claim/sign-in", "/claim/confirm"})
_READS: Final = frozenset({AUTH_MD, CLAIM_PAGE, CALLBACK, pages.STYLE_PATH})
_FORM: Final = (b"application/x-www-form-urlencoded",)
AGENT_PATHS: Final = frozenset({*_JSON, *_FORMS, *_READS, EVENTS_ENDPOINT})
READ_METHODS: Final = b"GET, HEAD"


def name_of(path: str) -> str:
    """What an endpoint is called in metrics and in the audit log."""
    if path == EVENTS_ENDPOINT:
        return "agent_event"
    return _JSON[path][0] if path in _JSON else "agent_page"


def allowed_methods(path: str) -> bytes:
    """The Allow header of one of `AGENT_PATHS`."""
    if path == CALLBACK:
        # The one read that goes further: it uses up the provider's code.
        return b"GET"
    return READ_METHODS if path in _READS else b"POST"


def is_page(path: str) -> bool:
    """Whether a person reads the answers of a path."""
    return path not in _JSON and path not in (AUTH_MD, EVENTS_ENDPOINT)


def is_event(path: str) -> bool:
    """Whether a provider of agents reads the answers of a path (RFC 8935)."""
    return path == EVENTS_ENDPOINT


class AgentEndpoints:
    """Answers on `AGENT_PATHS`, of a desk that has a policy for agents."""

    def __init__(self, core: AgentCore, confirmation: Confirmation) -> None:
        """Answer by these."""
        self._core, self._confirmation = core, confirmation

    async def read(
        self, path: str, query: bytes, cookies: str, state: DeskState, facts: RequestFacts
    ) -> Answer | DeskRefusal:
        """Answer a GET or a HEAD."""
        if path == AUTH_MD:
            return Answer(200, auth_md(state), is_public=True, media_type=b"text/markdown; charset=utf-8")
        if path == pages.STYLE_PATH:
            return Answer(200, pages.STYLE, is_public=True, media_type=b"text/css; charset=utf-8")
        form = parse_form(query, _FORM)
        if isinstance(form, DeskRefusal):
            return form
        if path == CALLBACK:
            return await self._confirmation.signed_in(form, cookies, state, facts)
        return await self._confirmation.show(form, state, facts)

    async def change(
        self, path: str, body: bytes, content_types: Sequence[bytes], state: DeskState, facts: RequestFacts
    ) -> Answer | DeskRefusal:
        """Answer a POST."""
        if path in _JSON:
            parsed = parse_json_body(body, content_types)
            if isinstance(parsed, DeskRefusal):
                return parsed
            answer = await _JSON[path][1](self._core, parsed, state, facts)
            return json_answer(answer) if isinstance(answer, dict) else answer
        if path == EVENTS_ENDPOINT:
            return await take_event(self._core, body, content_types, state, facts)
        form = parse_form(body, content_types)
        if isinstance(form, DeskRefusal):
            return form
        if path == "/claim/mail":
            return await self._confirmation.mail(form, state, facts)
        if path == "/claim/sign-in":
            return await self._confirmation.begin_sign_in(form, state, facts)
        return await self._confirmation.decide(form, state, facts)
