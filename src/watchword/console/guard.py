# SPDX-License-Identifier: Apache-2.0
"""What every request passes before a page sees it: its Host, its Origin, its method and its session.

A page of another site, or of another port of this machine, can make a browser send requests here. It can
forge neither of the headers: Host names what the browser believes to talk to (so that a name that was rebound
to this machine is refused), Origin the page that asks.
"""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from watchword.console.session import LINK_PREFIX, Session, set_cookie

if TYPE_CHECKING:
    from starlette.responses import Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

STATIC_PREFIX: Final = "/static/"
HEADERS: Final = (
    (
        b"content-security-policy",
        (
            b"default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; "
            b"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
        ),
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    # With `no-referrer` a browser would send the Origin of the console's own forms as null.
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-embedder-policy", b"require-corp"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
    (b"cache-control", b"no-store"),
)


class Guard:
    """An ASGI application in front of the pages."""

    def __init__(
        self,
        app: "ASGIApp",
        session: Session,
        authority: str,
        *,
        refuse: Callable[..., "Response"],
        welcome: Callable[[], "Response"],
        opened: Callable[[], None],
    ) -> None:
        """Let through to `app` what is of the session.

        Args:
            app: the pages.
            session: the one session.
            authority: HOST:PORT that a request must name.
            refuse: makes a page of a status, a title, a sentence and a path to go to.
            welcome: makes the page that is answered to the one-time link.
            opened: is called once the link was used.
        """
        self._app, self._session = app, session
        self._authority, self._origin = authority.encode(), f"http://{authority}".encode()
        self._refuse, self._welcome, self._opened = refuse, welcome, opened

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return

        async def send_with_headers(message: "Message") -> None:
            if message["type"] == "http.response.start":
                own = {name for name, _ in HEADERS}
                kept = [each for each in message.get("headers", ()) if each[0].lower() not in own]
                message = {**message, "headers": [*kept, *HEADERS]}
            await send(message)

        refusal = self._refusal(scope)
        if refusal is None and scope["path"].startswith(LINK_PREFIX):
            refusal = self._use_link(scope)
        app: ASGIApp = self._app if refusal is None else refusal
        await app(scope, receive, send_with_headers)

    def _refusal(self, scope: "Scope") -> "Response | None":
        hosts, origins = _values(scope, b"host"), _values(scope, b"origin")
        if hosts != [self._authority]:
            return self._refuse(421, "Another host", "This console answers under its own name only.")
        if any(each != self._origin for each in origins):
            return self._refuse(403, "Another page", "The request comes from a page of another origin.")
        if _is_embedded(scope):
            return self._refuse(403, "Another page", "A page of another origin may lead here, not embed it.")
        method, path = scope["method"], scope["path"]
        if method not in {"GET", "HEAD", "POST"}:
            return self._refuse(405, "Another method", "The console only shows: it takes GET, HEAD and POST.")
        if method == "POST" and (
            len(origins) != 1 or _values(scope, b"sec-fetch-site") not in ([], [b"same-origin"])
        ):
            return self._refuse(
                403, "No origin", "The request does not say that a page of this console sent it."
            )
        if path.startswith((STATIC_PREFIX, LINK_PREFIX)):
            return None
        cookies = "; ".join(each.decode("latin-1") for each in _values(scope, b"cookie"))
        if not self._session.holds(cookies):
            said = _how_to_open(is_used=self._session.was_opened)
            return self._refuse(
                403, "Not open in this browser", said, _here(scope) if self._session.was_opened else ""
            )
        return None

    def _use_link(self, scope: "Scope") -> "Response":
        # A HEAD, as a checker of links makes it, must not use it up.
        given = scope["path"].removeprefix(LINK_PREFIX)
        value = self._session.open(given) if scope["method"] == "GET" else None
        if value is None:
            said = (
                "The link was used before, and works once. If that was not you, stop the console now: its "
                "session ends with it."
            )
            if not self._session.was_opened:
                said = "This is not the console's link. It is in the file that the console named."
            return self._refuse(403, "The link opens nothing", said)
        answer = self._welcome()
        answer.headers["set-cookie"] = set_cookie(value)
        self._opened()
        return answer


def _how_to_open(*, is_used: bool) -> str:
    if is_used:
        return (
            "The console is open in another browser, or was left through a link of another site. Follow the "
            "link below; if it leads here again, stop the console and start it again for a new one-time link."
        )
    return "Open the file that the console named when it started: it has the one-time link."


def _here(scope: "Scope") -> str:
    """The path that was asked for, with its query: a link within the console; never to another host."""
    path: bytes = scope.get("raw_path") or b"/"
    query: bytes = scope.get("query_string") or b""
    if not path.startswith(b"/") or path.startswith((b"//", b"/\\")) or scope["method"] == "POST":
        return "/"
    return (path.partition(b"?")[0] + (b"?" + query if query else b"")).decode("latin-1")


def _is_embedded(scope: "Scope") -> bool:
    """Whether a browser says that a page of another origin asks, and not to go there.

    A GET without Origin, as of an image, comes with the cookie from another port of the same name: cookies
    ignore ports, and so does what a browser takes for the same site.
    """
    sites, modes = _values(scope, b"sec-fetch-site"), _values(scope, b"sec-fetch-mode")
    return any(each not in {b"same-origin", b"none"} for each in sites) and modes != [b"navigate"]


def _values(scope: "Scope", name: bytes) -> list[bytes]:
    headers: Iterable[tuple[bytes, bytes]] = scope["headers"]
    return [value for each, value in headers if each.lower() == name]
