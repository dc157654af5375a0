# SPDX-License-Identifier: Apache-2.0
"""The operator's ops port: is it alive, is it ready and if not why not, and what has it counted.

A process can answer and yet be deaf. So /healthz fails when a watch, or the loop that works, has said nothing
for too long; a replica that stands by has no watches and is healthy, however long it stands.
"""

from collections.abc import Mapping
from typing import Final

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from watchword.operator.election import Elector
from watchword.operator.term import Term

_MERCY_SECONDS: Final = 60.0


class Health:
    """What the ops port answers, from the elector and the term that runs, if one does.

    Attributes:
        term: the term that runs; None while standing by.
        stopping: the process was told to stop.
    """

    def __init__(self, elector: Elector) -> None:
        """Answer for an elector and for the term that is set."""
        self.term: Term | None = None
        self.stopping = False
        self._elector = elector

    def watch_ages(self) -> Mapping[str, float]:
        """Seconds since the last word of each watch; none while standing by."""
        return {} if self.term is None else self.term.ages()

    def healthz(self) -> tuple[int, str]:
        """The status and body of /healthz."""
        # A term ends by itself before that; when it does not, only a new process helps.
        limit = 0.0 if self.term is None else self.term.silence_seconds + _MERCY_SECONDS
        silent = {name: age for name, age in self.watch_ages().items() if age > limit}
        if not silent:
            return 200, "ok\n"
        lines = (f"silent for {age:.0f} s: {name}\n" for name, age in sorted(silent.items()))
        return 503, "".join(lines)

    def readyz(self) -> tuple[int, dict[str, object]]:
        """The status and body of /readyz: ready is who leads and is warm, or stands by and sees the Lease."""
        elector, term = self._elector, self.term
        leads = elector.is_held()
        document: dict[str, object] = {
            "ready": False,
            "leader": leads,
            "identity": elector.identity,
            "holder": elector.holder,
        }
        if self.stopping:
            document["why"] = "the operator is stopping"
        elif term is not None and (obstacle := term.obstacle) is not None:
            document["why"], document["remedy"] = obstacle.detail, obstacle.remedy
        elif leads and term is not None and term.is_warm():
            document["ready"] = True
        elif leads:
            document["why"] = "leading since a moment ago; not everything has been read and written yet"
        elif elector.trouble is not None:
            document["why"], document["remedy"] = elector.trouble.detail, elector.trouble.remedy
        elif elector.holder in {"", elector.identity}:
            document["why"] = "nobody leads yet; a new Lease takes 10 seconds"
        else:
            document["ready"] = True
        if term is not None and term.warnings:
            document["warnings"] = [f"{each.detail}. Remedy: {each.remedy}" for each in term.warnings]
        if term is not None:
            document["watches"] = {name: round(age, 1) for name, age in sorted(term.ages().items())}
        return (200 if document["ready"] else 503), document


def ops_app(health: Health, registry: CollectorRegistry) -> Starlette:
    """The ASGI application of the ops port: three paths to read, none to change anything."""

    async def healthz(_: Request) -> Response:
        status, body = health.healthz()
        return Response(body, status, media_type="text/plain")

    async def readyz(_: Request) -> Response:
        status, document = health.readyz()
        return JSONResponse(document, status)

    async def metrics(_: Request) -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    app = Starlette(
        routes=[
            Route("/healthz", healthz, methods=["GET"]),
            Route("/readyz", readyz, methods=["GET"]),
            Route("/metrics", metrics, methods=["GET"]),
        ]
    )
    # A redirect would be made from Host, which is the caller's word.
    app.router.redirect_slashes = False
    return app
