# SPDX-License-Identifier: Apache-2.0
"""The application: paths to pages, what went wrong as a page, and the stream that tells of changes."""

from collections.abc import AsyncIterator, Callable

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from watchword.cli.failures import UnusableInput
from watchword.console.filters import BadQueryError, read_query
from watchword.console.guard import Guard
from watchword.console.pages import Pages
from watchword.console.rendering import renderer, static_file
from watchword.console.session import Session
from watchword.console.snapshots import Snapshots, TooManyListenersError
from watchword.console.source import Source
from watchword.console.token_page import TokenPage


def console_app(
    source: Source, session: Session, authority: str, opened: Callable[[], None] = lambda: None
) -> Guard:
    """The ASGI application of a console.

    Args:
        source: what it shows.
        session: who may see it.
        authority: HOST:PORT that requests name.
        opened: is called once the one-time link was used.
    """
    render = renderer()
    snapshots = Snapshots(source)
    pages, token = Pages(source, snapshots, render), TokenPage(source, snapshots, render)

    def problem(
        status: int, title: str, said: str, remedy: str = "", path: str = "", *, is_open: bool = True
    ) -> Response:
        text = render(
            "problem.html", title=title, said=said, remedy=remedy, path=path, is_open=is_open, section=""
        )
        return HTMLResponse(text, status)

    async def bad_query(_: Request, error: Exception) -> Response:
        assert isinstance(error, BadQueryError)  # noqa: S101 - what it is registered for
        return problem(400, "This address asks for nothing", f"{error.field}: {error.detail}.", error.remedy)

    async def unreadable(_: Request, error: Exception) -> Response:
        assert isinstance(error, UnusableInput)  # noqa: S101 - what it is registered for
        return problem(502, "Nothing can be read", error.message, error.remedy)

    async def missing(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101 - what it is registered for
        said = error.detail if error.status_code == 404 and error.detail != "Not Found" else ""
        return problem(error.status_code, "There is no such page", said, "Choose one above.")

    async def failed(_: Request, __: Exception) -> Response:
        said = "The console has a defect, and this page met it. Its terminal says of which kind."
        return problem(500, "This page failed", said, "Please report it.")

    async def events(request: Request) -> Response:
        known = read_query(request.scope["query_string"], ("known",)).get("known", "")
        stream = snapshots.changes(known)

        async def lines() -> AsyncIterator[bytes]:
            # At once, so that the browser knows that the stream is open.
            yield b": open\n\n"
            try:
                async for fingerprint in stream:
                    yield b": wait\n\n" if fingerprint is None else f"data: {fingerprint}\n\n".encode()
            except TooManyListenersError:
                # Told to come back later; what is open already goes on.
                yield b"retry: 60000\n\n"

        return StreamingResponse(lines(), media_type="text/event-stream")

    async def static(request: Request) -> Response:
        found = static_file(request.path_params["name"])
        if found is None:
            return PlainTextResponse("no such file\n", 404)
        return Response(found[0], media_type=found[1])

    app = Starlette(
        routes=[
            Route("/", pages.overview),
            Route("/services", pages.services),
            Route("/services/{namespace}/{name}", pages.service),
            Route("/workloads", pages.workloads),
            Route("/workloads/{namespace}/{name}", pages.workload),
            Route("/issuers", pages.issuers),
            Route("/issuers/{name}", pages.issuer),
            Route("/refusals", pages.refusals),
            Route("/token", token.form, methods=["GET"]),
            Route("/token", token.judge, methods=["POST"]),
            Route("/desks", pages.desks),
            Route("/events", events),
            Route("/static/{name}", static),
        ],
        exception_handlers={
            BadQueryError: bad_query,
            UnusableInput: unreadable,
            HTTPException: missing,
            Exception: failed,
        },
    )
    # A redirect would be made from Host.
    app.router.redirect_slashes = False

    def refuse(status: int, title: str, said: str, path: str = "") -> Response:
        return problem(status, title, said, path=path, is_open=False)

    def welcome() -> Response:
        # Not a redirect: a browser that came from the link's file would not send the cookie with it.
        return HTMLResponse(render("welcome.html", section=""))

    return Guard(app, session, authority, refuse=refuse, welcome=welcome, opened=opened)
