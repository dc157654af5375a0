# SPDX-License-Identifier: Apache-2.0
"""A desk at which agents register, a real SMTP server, and an agent that follows the metadata alone."""

from __future__ import annotations

import asyncio
import re
import ssl
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any
from urllib.parse import urlsplit

import httpx
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session

from testing.running_desk import (
    TARGET,
    Object,
    RunningDesk,
    Source,
    client_object,
    desk_object,
    issuer_object,
    namespace_object,
    running_desk,
    service_object,
    workload_object,
)

ALICE, BOB = "alice@example.com", "bob@example.com"
# One for each claim of a test: mails to one address are bounded.
PEOPLE = [f"person{number}@example.com" for number in range(200)]
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
READ = "account:usage:read"
ROUTES = [
    {"path": "/{account}/usage", "methods": ["GET"], "scope": READ},
    {"path": "/{account}/usage", "methods": ["PUT"], "scope": "account:usage:write"},
    {"path": "/status", "methods": ["GET"], "scope": "service:status:read"},
    {"path": "/{account}/{project}/cache", "methods": ["GET"], "scope": "cache:read"},
]
CEILING = {"scopes": [READ, "service:status:read"], "accounts": ["acme", "trial", "umbrella"]}


class Mailbox:
    """A real SMTP server on a free port, with what came."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        self.logins: list[tuple[bytes, bytes]] = []
        self._came = threading.Condition()
        self.port = 0

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        """Keep one mail."""
        found = message_from_bytes(envelope.content or b"", policy=policy.default)  # type: ignore[arg-type]
        with self._came:
            self.mails.append(found)  # type: ignore[arg-type]
            self._came.notify_all()
        return "250 kept"

    def authenticate(self, _: SMTP, __: Session, ___: Envelope, mechanism: str, data: Any) -> AuthResult:
        """Let anyone in, and remember by what."""
        del mechanism
        self.logins.append((data.login, data.password))
        return AuthResult(success=True)

    def wait_for(self, number: int) -> EmailMessage:
        """The newest mail, once so many came."""
        with self._came:
            assert self._came.wait_for(lambda: len(self.mails) >= number, 30), f"{len(self.mails)} mails came"
            return self.mails[-1]

    def link(self, number: int = 1) -> str:
        """The link in the newest mail, once so many came."""
        text = self.wait_for(number).get_content()
        found = re.search(r"https?://\S+", text)
        assert found is not None, text
        return found[0]


@contextmanager
def mailbox(
    *, starttls: ssl.SSLContext | None = None, tls: ssl.SSLContext | None = None
) -> Iterator[Mailbox]:
    """An SMTP server until the end of the block.

    Args:
        starttls: it offers STARTTLS with this, and takes neither mails nor passwords before.
        tls: it speaks TLS from the first byte.
    """
    made, loop, is_up, stop = Mailbox(), asyncio.new_event_loop(), threading.Event(), asyncio.Event()

    async def serve() -> None:
        def protocol() -> SMTP:
            given = {"tls_context": starttls, "require_starttls": starttls is not None}
            return SMTP(
                made, loop=loop, authenticator=made.authenticate, auth_require_tls=tls is None, **given
            )

        server = await loop.create_server(protocol, "127.0.0.1", 0, ssl=tls)
        made.port = server.sockets[0].getsockname()[1]
        is_up.set()
        async with server:
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    is_up.wait()
    try:
        yield made
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


def agents_spec(port: int = 25, **changes: Any) -> Object:
    """`spec.agents` of the desk; a member that is None is left out."""
    spec: Object = {
        "unclaimed": {"scopes": [READ, "service:status:read"], "accounts": ["trial"]},
        "claimed": {"scopes": [READ, "account:usage:write", "cache:read"]},
        "people": [{"address": each, "accounts": ["acme"]} for each in (ALICE, *PEOPLE)],
        "mail": {"host": "127.0.0.1", "port": port, "security": "None", "from": "desk@example.com"},
    } | changes
    return {name: value for name, value in spec.items() if value is not None}


def agent_objects(
    spec: Object | None, ceiling: Object | None = None, providers: Sequence[Object] = (), **desk: Any
) -> list[Object]:
    """The default objects, with agents."""
    held = CEILING if ceiling is None else ceiling
    return [
        issuer_object(),
        namespace_object(),
        service_object(routes=ROUTES, agents=held or None),
        workload_object(),
        desk_object(**desk) if spec is None else desk_object(agents=spec, **desk),
        client_object(),
        *providers,
    ]


@contextmanager
def agent_desk(
    spec: Object | None = None,
    *,
    store: str = "sqlite:///:memory:",
    ceiling: Object | None = None,
    providers: Sequence[Object] = (),
    **settings: Any,
) -> Iterator[AgentDesk]:
    """A desk with a mailbox, until the end of the block."""
    source = Source()
    with mailbox() as mails:
        found = agents_spec(mails.port) if spec is None else spec
        source.objects = agent_objects(found, ceiling, providers)
        rates = {
            "registrations_per_hour": 0,
            "registrations_per_minute": 0,
            "unclaimed_per_minute": 0,
        } | settings
        with running_desk(source, store=store, **rates) as running:
            yield AgentDesk(running, mails, providers)


class AgentDesk:
    """A running desk, its mailbox, and what an agent and a person do."""

    def __init__(self, running: RunningDesk, mails: Mailbox, providers: Sequence[Object] = ()) -> None:
        self.providers = tuple(providers)
        self.running, self.mails, self.http = running, mails, running.http
        self._people = iter(PEOPLE)

    def change(self, **spec: Any) -> None:
        """Run with other members of `spec.agents` from now on."""
        self.running.change(*agent_objects(agents_spec(self.mails.port, **spec), providers=self.providers))

    def trust(self, *providers: Object, **spec: Any) -> None:
        """Run with other AgentProviders from now on."""
        self.providers = providers
        self.change(**spec)

    def post(self, path: str, body: Any = None, **headers: str) -> httpx.Response:
        """POST JSON."""
        return self.http.post(path, json=body, headers=headers)

    def path_of(self, url: str) -> str:
        """A URL of the desk's issuer, as a path of where it really listens."""
        parts = urlsplit(url)
        assert f"{parts.scheme}://{parts.netloc}" == "https://desk.example.com", url
        return parts.path + (f"?{parts.query}" if parts.query else "")

    def anonymous(self) -> Object:
        """Register for no one."""
        return self.good(self.post("/agent/identity", {"type": "anonymous"}))

    def service_auth(self, address: str | None = None) -> Object:
        """Register for a person, by default one who was not asked before."""
        address = next(self._people) if address is None else address
        return self.good(self.post("/agent/identity", {"type": "service_auth", "login_hint": address}))

    def claim(self, registration: Object, address: str | None = None) -> Object:
        """Start an attempt."""
        address = next(self._people) if address is None else address
        body = {"type": "service_auth", "claim_token": registration["claim"]["token"], "login_hint": address}
        return self.good(self.post("/agent/identity/claim", body))

    def complete(self, registration: Object, code: str) -> httpx.Response:
        """Send the code."""
        body = {"claim_token": registration["claim"]["token"], "user_code": code}
        return self.post("/agent/identity/claim/complete", body)

    def good(self, answer: httpx.Response) -> Object:
        """The document of a 200."""
        assert answer.status_code == 200, answer.text
        found: Object = answer.json()
        return found

    def ask_for_mail(self, verification_uri: str) -> httpx.Response:
        """Open the agent's link and press its button."""
        shown = self.http.get(self.path_of(verification_uri))
        assert shown.status_code == 200, shown.text
        return self.http.post("/claim/mail", data=hidden(shown.text))

    def ask_for_mail_refused(self, verification_uri: str) -> bool:
        """Whether a link no longer leads to a mail."""
        token = verification_uri.partition("attempt=")[2]
        return self.http.post("/claim/mail", data={"attempt": token}).status_code in (409, 410)

    def secret_of(self, verification_uri: str) -> str:
        """The second secret, from the mail."""
        before = len(self.mails.mails)
        assert self.ask_for_mail(verification_uri).status_code == 200
        return self.mails.link(before + 1).partition("secret=")[2]

    def decide(self, secret: str, decision: str = "allow") -> httpx.Response:
        """Press a button of the page that the mail leads to."""
        return self.http.post("/claim/confirm", data={"secret": secret, "decision": decision})

    def code_of(self, verification_uri: str) -> str:
        """The person opens the mail, allows it, and reads the code."""
        return code_in(self.decide(self.secret_of(verification_uri)).text)

    def claimed(self, address: str | None = None) -> Object:
        """A registration that the person claimed: the answer of its completion."""
        made = self.service_auth(address)
        code = self.code_of(made["claim"]["attempt"]["verification_uri"])
        return self.good(self.complete(made, code)) | {"claim": made["claim"]}

    def token(self, assertion: str, /, **changes: Any) -> httpx.Response:
        """Ask for a token; a parameter that is None is not sent."""
        form = {
            "grant_type": JWT_BEARER,
            "assertion": assertion,
            "audience": TARGET,
            "scope": READ,
            "account": "acme",
        } | changes
        return self.http.post("/oauth2/token", data={k: v for k, v in form.items() if v is not None})

    def audit(self) -> list[Object]:
        """All entries of the audit log."""
        import json

        return [json.loads(row.entry) for row in self.running.desk._store.entries_after(0, 100_000)]


def hidden(html: str) -> dict[str, str]:
    """The hidden fields of a page's form."""
    return dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)">', html))


def code_in(html: str) -> str:
    """The code that a page shows."""
    found = re.search(r"<output[^>]*>(\d{6})</output>", html)
    assert found is not None, html
    return found[1]


def said(answer: httpx.Response) -> tuple[int, str, str]:
    """What a refusal is: its status, its `error` and its `reason`."""
    document = answer.json()
    assert {"error", "error_description", "reason", "remedy", "request_id"} <= document.keys()
    return answer.status_code, document["error"], document["reason"]
