# SPDX-License-Identifier: Apache-2.0
"""The ops port: is it alive, is it ready and if not why not, and what has it counted.

Paths to read, none to change anything: a shut-down or admin endpoint here would be one for everyone
who reaches the pod (CVE-2024-40632).
"""

from typing import TYPE_CHECKING, Final

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from watchword.gate.app_probes import AppProber
from watchword.gate.bundle_updater import BundleUpdater
from watchword.gate.engine import Engine

if TYPE_CHECKING:
    from watchword.gate.bundle_watch import BundleWatch
    from watchword.gate.proxy.target import UpstreamAddress


DEFAULT_BASE_PATH: Final = "/api/internal"


class Readiness:
    """Whether the gate wants traffic.

    Attributes:
        stopping: it was told to stop and finishes what is in flight, or that its pod is about to end.
    """

    def __init__(
        self,
        engine: Engine,
        updater: BundleUpdater,
        live: "BundleWatch | None" = None,
        upstream: "UpstreamAddress | None" = None,
    ) -> None:
        """Judge by an engine, its updater and the app at `upstream`; `live` only says what it follows."""
        self._engine, self._updater, self._live, self._upstream = engine, updater, live, upstream
        self.stopping = False

    async def now(self) -> tuple[int, dict[str, object]]:
        """The status and body of /readyz; asks whether the app accepts connections, where there is one."""
        if self._upstream is None:
            return self.document()
        # Imported only here: a gate without an upstream does not pay for what it takes.
        from watchword.gate.proxy.reachability import accepts_connections

        return self.document(has_app=await accepts_connections(self._upstream))

    def document(self, *, has_app: bool = True) -> tuple[int, dict[str, object]]:
        """The status and body of /readyz, where the app behind the gate is there or not."""
        active, problem = self._engine.active, self._updater.problem
        document: dict[str, object] = {"ready": active is not None and has_app and not self.stopping}
        if active is not None:
            ruleset = active.ruleset
            document["service"] = ruleset.service
            document["generation"] = ruleset.generation
            document["digest"] = ruleset.digest
            document["workloads"] = ruleset.workloads
            document["issuers"] = ruleset.issuers
            if active.report_only is not None:
                document["report_only_seconds_left"] = round(active.report_only.seconds_left())
        if self.stopping:
            document["why"] = "the gate is stopping"
        elif problem is not None:
            # With a bundle in use this is a warning: callers are served under the last good one.
            document["why" if active is None else "warning"] = problem.detail
            document["remedy"] = problem.remedy
        if self._upstream is not None and not has_app and "why" not in document:
            document["why"] = f"the app at http://{self._upstream.authority} accepts no connections"
            document["remedy"] = "start the app, or give --upstream the address that it listens on"
        if self._live is not None:
            document["follows"] = self._live.document()
        return (200 if document["ready"] else 503), document


def ops_app(engine: Engine, readiness: Readiness, prober: AppProber | None = None) -> Starlette:
    """The ASGI application of the ops port; with a prober it makes the app's probes for the kubelet."""

    async def healthz(_: Request) -> Response:
        return Response("ok\n", media_type="text/plain")

    async def readyz(_: Request) -> Response:
        status, document = await readiness.now()
        return JSONResponse(document, status)

    async def metrics(_: Request) -> Response:
        return Response(generate_latest(engine.metrics.registry), media_type=CONTENT_TYPE_LATEST)

    async def usage_document(_: Request) -> Response:
        # Imported here: most gates are never asked for it.
        from watchword.gate.usage.openapi import openapi

        active = engine.active
        return JSONResponse(openapi(active.ruleset.usage_base_path if active else DEFAULT_BASE_PATH))

    async def app_probe(request: Request) -> Response:
        try:
            failure = await (prober or AppProber(())).failure_of(request.path_params["name"])
        except KeyError:
            return Response("no such probe; the gate's flags (--app-probe) name those that there are\n", 404)
        return Response(f"{failure or 'ok'}\n", 503 if failure else 200, media_type="text/plain")

    app = Starlette(
        routes=[
            Route("/healthz", healthz, methods=["GET"]),
            Route("/readyz", readyz, methods=["GET"]),
            Route("/metrics", metrics, methods=["GET"]),
            Route("/app-probes/{name}", app_probe, methods=["GET"]),
            Route("/openapi.json", usage_document, methods=["GET"]),
        ]
    )
    # A redirect would be made from Host, which is the caller's word.
    app.router.redirect_slashes = False
    return app
