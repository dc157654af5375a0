# SPDX-License-Identifier: Apache-2.0
"""The webhook over HTTP: one path that decides, and the ops port that says how it is doing.

Not ready until the caches are warm: an API server that asks a webhook without knowledge gets refusals that
no one could explain. Until then Kubernetes sends requests to the other replica.
"""

from collections.abc import Mapping
from typing import Any, Final, Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from watchword.injection import (
    Injected,
    InjectionRefusal,
    InjectionSettings,
    NothingAsked,
    RefusalCode,
    inject,
)
from watchword.injection.names import CALL_LABEL, CALLS_ANNOTATION
from watchword.process.certificate_metrics import Validity, certificate_gauges
from watchword.process.logs import LOGGER
from watchword.webhook.caches import Caches
from watchword.webhook.review import (
    MAX_REVIEW_BYTES,
    Outcome,
    UnreadableReviewError,
    answer,
    is_pod_creation,
    read_review,
)

# A no for want of something, which may have been made this second.
_WANTING: Final = frozenset(
    {
        RefusalCode.NAMESPACE_NOT_ENABLED,
        RefusalCode.NO_SERVICE,
        RefusalCode.SERVICE_NOT_FOUND,
        RefusalCode.DESK_NOT_FOUND,
        RefusalCode.LIFETIME_TOO_SHORT,
        RefusalCode.AUDIENCE_NOT_PUBLISHED,
        RefusalCode.SEVERAL_SERVICES,
    }
)


# Ten times a pod's usual review. How many of these there are at a time is bounded by the connections.
MAX_SMALL_BYTES: Final = 256 * 1024
# How many larger ones are read and answered at a time: a parsed one weighs several times its bytes.
MAX_LARGE_REVIEWS: Final = 2
_TOO_LARGE: Final = f"an AdmissionReview has at most {MAX_REVIEW_BYTES} bytes here"


class WebhookMetrics:
    """What the webhook counts."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.admissions = Counter(
            "watchword_webhook_admissions",
            "Pods by outcome: injected, nothing_asked, or the refusal's code.",
            ["outcome"],
            registry=self.registry,
        )
        self.second_looks = Counter(
            "watchword_webhook_second_looks",
            "Times that the API server was asked before a no.",
            registry=self.registry,
        )
        self.warm = Gauge("watchword_webhook_warm", "1 when the caches are warm.", registry=self.registry)

    def follow_certificate(self, validity: Validity) -> None:
        """Say from now on from when until when the certificate in use is valid."""
        certificate_gauges(self.registry, "watchword_webhook", "webhook's", validity)


class Webhook:
    """Decides on pods."""

    def __init__(self, caches: Caches, settings: InjectionSettings, metrics: WebhookMetrics) -> None:
        """Decide by caches, and inject gates by settings."""
        self._caches, self._settings, self._metrics = caches, settings, metrics
        self._large = 0

    async def decide(self, pod: dict[str, Any], namespace: str) -> Outcome:
        """What becomes of a pod."""
        found = inject(pod, namespace, self._caches.world, self._settings)
        if isinstance(found, InjectionRefusal) and found.code in _WANTING:
            self._metrics.second_looks.inc()
            world = await self._caches.look_again(frozenset({namespace, *_called(pod)}))
            found = inject(pod, namespace, world, self._settings)
        return found

    async def serve(self, request: Request) -> Response:
        """Answer `POST /inject`."""
        if not self._caches.is_warm:
            return _problem(503, "the caches are not warm yet")
        # What is announced is refused before a byte of it is read.
        size = _announced_bytes(request)
        if size > MAX_REVIEW_BYTES:
            return _problem(413, _TOO_LARGE)
        if size <= MAX_SMALL_BYTES:
            return await self._answer(request)
        # Few large ones at a time, from the first byte to the answer; they never hold up the small ones.
        if self._large >= MAX_LARGE_REVIEWS:
            detail = f"{MAX_LARGE_REVIEWS} AdmissionReviews above {MAX_SMALL_BYTES} bytes are under way"
            return _problem(503, f"{detail}; ask again", {"retry-after": "1"})
        self._large += 1
        try:
            return await self._answer(request)
        finally:
            self._large -= 1

    async def _answer(self, request: Request) -> Response:
        body = bytearray()
        try:
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_REVIEW_BYTES:
                    return _problem(413, _TOO_LARGE)
        except ClientDisconnect:
            # No one is there to be answered: this goes nowhere, and is no error of the webhook.
            return _problem(400, "the review broke off")
        try:
            asked = read_review(bytes(body))
        except UnreadableReviewError as problem:
            return _problem(400, str(problem))
        outcome: Outcome = NothingAsked()
        if is_pod_creation(asked) and asked.object is not None:
            outcome = await self.decide(asked.object, asked.namespace)
        self._note(asked.namespace, outcome)
        return Response(answer(asked, outcome), media_type="application/json")

    def _note(self, namespace: str, outcome: Outcome) -> None:
        if isinstance(outcome, InjectionRefusal):
            self._metrics.admissions.labels(outcome.code).inc()
            detail = {"namespace": namespace, "code": outcome.code, "field": outcome.field}
            LOGGER.info("a pod was refused", extra=detail)
        else:
            self._metrics.admissions.labels(
                "injected" if isinstance(outcome, Injected) else "nothing_asked"
            ).inc()


def webhook_app(webhook: Webhook) -> Starlette:
    """The ASGI application that the API server calls."""
    return _plain(Route("/inject", webhook.serve, methods=["POST"]))


class ServingState(Protocol):
    """Whether the API server can ask (`CertificateRotator` or `ConfigurationCheck`)."""

    is_configured: bool
    problem: str | None

    @property
    def is_served(self) -> bool:
        """Whether there is a certificate to serve with."""


def readiness(caches: Caches, state: ServingState) -> tuple[int, Mapping[str, Any]]:
    """The status and body of /readyz."""
    document: dict[str, Any] = {"ready": caches.is_warm and state.is_served and state.is_configured}
    problems = [f"{each.resource}: {each.problem.detail}" for each in caches.watches if each.problem]
    if state.problem is not None:
        problems.append(state.problem)
    if problems:
        document["warning" if document["ready"] else "why"] = "; ".join(problems)
    elif not document["ready"]:
        document["why"] = "the caches are being read"
    return (200 if document["ready"] else 503), document


def _plain(*routes: Route) -> Starlette:
    app = Starlette(routes=list(routes))
    # A redirect would be made from Host, which is the caller's.
    app.router.redirect_slashes = False
    return app


def _problem(status: int, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    return JSONResponse({"detail": detail}, status, headers)


def _announced_bytes(request: Request) -> int:
    """How long a body says that it is; in chunks, as long as it may be. The server takes only digits."""
    if "transfer-encoding" in request.headers:
        return MAX_REVIEW_BYTES
    return int(request.headers.get("content-length", "0"))


def _called(pod: dict[str, Any]) -> list[str]:
    """The namespaces of the services that a pod wants to call, as far as they can be read."""
    metadata = pod.get("metadata")
    parts = metadata if isinstance(metadata, dict) else {}
    labels, annotations = (
        each if isinstance(each, dict) else {} for each in (parts.get("labels"), parts.get("annotations"))
    )
    texts = [str(labels.get(CALL_LABEL, "")).partition(".")[0]]
    texts += [
        each.strip().partition("/")[0] for each in str(annotations.get(CALLS_ANNOTATION, "")).split(",")
    ]
    # A namespace's name and nothing else may become part of a request to the API server.
    return [text for text in texts if text.replace("-", "").isalnum() and text.isascii()][:16]
