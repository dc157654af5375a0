# SPDX-License-Identifier: Apache-2.0
"""The ops port of a process: is it alive, is it ready and if not why not, and what has it counted."""

from collections.abc import Callable, Mapping
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route


def ops_app(
    readyz: Callable[[], tuple[int, Mapping[str, Any]]],
    registry: CollectorRegistry,
    *,
    healthz: Callable[[], tuple[int, str]] = lambda: (200, "ok\n"),
    before_metrics: Callable[[], None] = lambda: None,
) -> Starlette:
    """The ASGI application of an ops port: three paths to read, none to change anything.

    Args:
        readyz: gives the status and the body of /readyz.
        registry: what /metrics shows.
        healthz: gives the status and the text of /healthz.
        before_metrics: brings up to date what is not counted as it happens.
    """

    async def health(_: Request) -> Response:
        status, text = healthz()
        return Response(text, status, media_type="text/plain")

    async def ready(_: Request) -> Response:
        status, document = readyz()
        return JSONResponse(document, status)

    async def metrics(_: Request) -> Response:
        before_metrics()
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    app = Starlette(
        routes=[
            Route("/healthz", health, methods=["GET"]),
            Route("/readyz", ready, methods=["GET"]),
            Route("/metrics", metrics, methods=["GET"]),
        ]
    )
    # A redirect would be made from Host, which is the caller's word.
    app.router.redirect_slashes = False
    return app
