# SPDX-License-Identifier: Apache-2.0
"""The webhook's process: its caches, its certificate, two servers, and an end that drops no review."""

import asyncio
import signal
import ssl
import sys
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from starlette.types import ASGIApp

from watchword.injection import InjectionSettings
from watchword.kube.connection import Connection
from watchword.kube.names import NamespacedName
from watchword.kube.requests import verified_client
from watchword.kube.watch import Endpoint
from watchword.process.bounds import OPS_BOUNDS, Bounds, with_tls
from watchword.process.listening import CannotStartError, address_of, listen_on, serving
from watchword.process.logs import LOGGER, set_up_logging
from watchword.process.ops import ops_app
from watchword.process.server import SignalFreeServer, bounded_server
from watchword.process.tls import ReloadingCertificate, demand_client_certificates, given_certificate
from watchword.webhook.app import Webhook, WebhookMetrics, readiness, webhook_app
from watchword.webhook.caches import Caches
from watchword.webhook.certificate_rotation import CertificateRotator
from watchword.webhook.configuration_check import ConfigurationCheck
from watchword.webhook.review import MAX_REVIEW_BYTES

# Longer than the API server keeps an idle connection to a webhook.
_KEEP_ALIVE_SECONDS: Final = 120
# One API server keeps one connection, or a few.
REVIEW_BOUNDS: Final = with_tls(
    Bounds(
        head_bytes=16 * 1024,
        headers=64,
        # Above the largest review by more than is read at once: so the application, which says why, refuses
        # what is larger, and not the parser, which ends the connection without a word.
        message_bytes=MAX_REVIEW_BYTES + 1024 * 1024,
        trailer_bytes=1024,
        trailers=8,
        head_seconds=10.0,
        body_seconds=10.0,
        connections=256,
        buffered_bytes=24 * 1024 * 1024,
    )
)


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
        tls_certificate: PEM file of a certificate that is renewed elsewhere; None: it makes its own.
        tls_key: PEM file with that certificate's key.
        client_ca: PEM file of the CAs whose clients are answered; None: every client is.
        listen: HOST:PORT for the API server.
        ops_listen: HOST:PORT of /healthz, /readyz and /metrics.
        injection: how gates are injected.
        log_level: DEBUG, INFO, WARNING or ERROR.
        desk_namespace: the one namespace in which TokenDesks count; empty: there are no desks.
        watch_window_seconds: how long one watch request lasts before it is made again.
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
    client_ca: str | None = None
    listen: str = "127.0.0.1:9443"
    ops_listen: str = "127.0.0.1:9090"
    injection: InjectionSettings = field(default_factory=InjectionSettings)
    log_level: str = "INFO"
    desk_namespace: str = ""
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
    except CannotStartError as problem:
        print(f"watchword: {problem}", file=sys.stderr)  # noqa: T201 - for the person at the terminal
        return 2
    return 0


async def _main(settings: WebhookSettings) -> None:
    metrics = WebhookMetrics()
    caches = Caches(settings.endpoint, settings.watch_window_seconds, desk_namespace=settings.desk_namespace)
    listener, ops_listener = (
        listen_on("--listen", settings.listen),
        listen_on("--ops-listen", settings.ops_listen),
    )
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with verified_client(Connection(settings.endpoint, agent="watchword-webhook")) as client:
        given = given_certificate(settings.tls_certificate, settings.tls_key, 5.0)
        certificate: CertificateRotator | ReloadingCertificate
        state: CertificateRotator | ConfigurationCheck
        if given is None:
            certificate = state = CertificateRotator(
                client,
                secret=NamespacedName(settings.namespace, settings.secret),
                configuration=settings.configuration,
                names=settings.names,
            )
        else:
            certificate, state = given, ConfigurationCheck(client, settings.configuration)
        metrics.follow_certificate(lambda: certificate.validity)
        _demand_client_certificates(certificate.context, settings.client_ca)
        work = [asyncio.create_task(each) for each in (caches.run(), certificate.run())]
        if given is not None:
            work.append(asyncio.create_task(state.run()))
        webhook = _server(
            webhook_app(Webhook(caches, settings.injection, metrics)),
            REVIEW_BOUNDS,
            certificate.context,
        )
        ops = _server(
            ops_app(
                partial(readiness, caches, state),
                metrics.registry,
                before_metrics=lambda: metrics.warm.set(caches.is_warm),
            ),
            OPS_BOUNDS,
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


def _demand_client_certificates(context: ssl.SSLContext, ca_file: str | None) -> None:
    if ca_file is None:
        return
    try:
        demand_client_certificates(context, ca_file)
    except OSError as error:
        why = "not PEM" if isinstance(error, ssl.SSLError) else error.strerror
        raise CannotStartError(
            f"--client-ca: {why}. Remedy: name a readable PEM file of CA certificates"
        ) from None


def _server(app: ASGIApp, bounds: Bounds, context: ssl.SSLContext | None) -> SignalFreeServer:
    return bounded_server(
        app, bounds, context=context, keep_alive_seconds=_KEEP_ALIVE_SECONDS, grace_seconds=10
    )
