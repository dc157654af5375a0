# SPDX-License-Identifier: Apache-2.0
"""The webhook's process: its caches, its certificate, two servers, and an end that drops no review."""

import asyncio
import signal
import ssl
import sys
from dataclasses import dataclass, field
from typing import Final

import aiohttp
from starlette.types import ASGIApp

from watchword.apiwatch import Endpoint
from watchword.apiwatch.endpoint import Access
from watchword.apiwatch.problems import WatchFailed
from watchword.injection import InjectionSettings
from watchword.process.listening import (
    CannotStart,
    SignalFreeServer,
    address_of,
    listen_on,
    quiet_server,
    serving,
)
from watchword.process.logs import LOGGER, set_up_logging
from watchword.process.tls import ReloadingCertificate
from watchword.webhook.app import Webhook, WebhookMetrics, ops_app, webhook_app
from watchword.webhook.caches import Caches
from watchword.webhook.keeper import CertificateKeeper

# Longer than the API server keeps an idle connection to a webhook.
_KEEP_ALIVE_SECONDS: Final = 120


@dataclass(frozen=True, slots=True)
class WebhookSettings:
    """How a webhook runs.

    Attributes:
        endpoint: the API server.
        namespace: where its Service and its Secret are.
        service: the Service's name; with the namespace, the certificate's names.
        further_names: more names of the certificate.
        secret: the Secret that holds the certificate that it makes.
        configuration: the MutatingWebhookConfiguration that must trust the certificate.
        tls_certificate: PEM file of a certificate that somebody else keeps; None: it makes its own.
        tls_key: PEM file with that certificate's key.
        listen: HOST:PORT for the API server.
        ops_listen: HOST:PORT of /healthz, /readyz and /metrics.
        injection: how gates are injected.
        log_level: DEBUG, INFO, WARNING or ERROR.
        watch_window_seconds: how long one watch request lasts before it is made anew.
        stop_seconds: how long it still answers after it was told to stop: endpoints take a while to follow.
    """

    endpoint: Endpoint
    namespace: str = "watchword-system"
    service: str = "watchword-webhook"
    further_names: tuple[str, ...] = ()
    secret: str = "watchword-webhook-tls"  # noqa: S105 - an object's name
    configuration: str = "watchword-webhook"
    tls_certificate: str | None = None
    tls_key: str | None = None
    listen: str = "127.0.0.1:9443"
    ops_listen: str = "127.0.0.1:9090"
    injection: InjectionSettings = field(default_factory=InjectionSettings)
    log_level: str = "INFO"
    watch_window_seconds: float = 120.0
    stop_seconds: float = 5.0

    @property
    def names(self) -> tuple[str, ...]:
        """The DNS names by which the API server calls it."""
        name = f"{self.service}.{self.namespace}.svc"
        return name, f"{name}.cluster.local", *self.further_names


def run(settings: WebhookSettings) -> int:
    """Run a webhook until SIGTERM or SIGINT.

    Returns:
        0 after a clean stop; 2 when it could not start, with one line on standard error that says why.
    """
    set_up_logging(settings.log_level)
    try:
        # Not uvloop: see the import contract "descriptors are closed once" in pyproject.toml.
        asyncio.run(_main(settings))
    except CannotStart as problem:
        print(f"watchword: {problem}", file=sys.stderr)  # noqa: T201 - for the person at the terminal
        return 2
    return 0


async def _main(settings: WebhookSettings) -> None:
    metrics = WebhookMetrics()
    caches = Caches(settings.endpoint, settings.watch_window_seconds)
    listener, ops_listener = (
        listen_on("--listen", settings.listen),
        listen_on("--ops-listen", settings.ops_listen),
    )
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with _session(settings.endpoint) as session:
        certificate = _given_certificate(settings) or CertificateKeeper(
            session,
            settings.endpoint.url.rstrip("/"),
            secret=(settings.namespace, settings.secret),
            configuration=settings.configuration,
            names=settings.names,
        )
        work = [asyncio.create_task(each) for each in (caches.follow(), certificate.follow())]
        webhook = _server(webhook_app(Webhook(caches, settings.injection, metrics)), certificate.context)
        ops = _server(
            ops_app(caches, certificate if isinstance(certificate, CertificateKeeper) else None, metrics),
            None,
        )
        async with serving(ops, ops_listener), serving(webhook, listener):
            LOGGER.info(
                "listening",
                extra={"listen": address_of(listener), "ops_listen": address_of(ops_listener), "tls": True},
            )
            await stop.wait()
            LOGGER.info("stopping", extra={"grace_seconds": settings.stop_seconds})
            await asyncio.sleep(settings.stop_seconds)
        for task in work:
            task.cancel()
        await asyncio.gather(*work, return_exceptions=True)


def _given_certificate(settings: WebhookSettings) -> ReloadingCertificate | None:
    if settings.tls_certificate is None or settings.tls_key is None:
        return None
    try:
        return ReloadingCertificate(settings.tls_certificate, settings.tls_key, 5.0)
    except OSError as error:
        why = error.strerror or "not PEM, or not one pair"
        raise CannotStart(f"--tls-cert, --tls-key: {why}. Remedy: name two PEM files that fit") from None


def _server(app: ASGIApp, context: ssl.SSLContext | None) -> SignalFreeServer:
    return quiet_server(
        app,
        context=context,
        http="httptools",
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=10,
    )


def _session(endpoint: Endpoint) -> aiohttp.ClientSession:
    """A session that verifies the API server and authorizes each request with the token as it is now."""
    access = Access(endpoint)

    async def authorize(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        token = access.token()
        if token is not None:
            request.headers["Authorization"] = f"Bearer {token}"
        return await handler(request)

    try:
        context = access.tls()
    except WatchFailed as failed:
        raise CannotStart(f"{failed.problem.detail}. Remedy: {failed.problem.remedy}") from None
    connector = aiohttp.TCPConnector(ssl=context if context is not None else False)
    return aiohttp.ClientSession(connector=connector, middlewares=(authorize,), trust_env=False)
