# SPDX-License-Identifier: Apache-2.0
"""The gate's process: two servers on one loop, the files they follow, and an end that drops no request.

Start order matters to no one: the gate listens at once, answers `not_ready` until its bundle is there, and
never crashes because something next to it is late.
"""

import asyncio
import gc
import os
import signal
import ssl
import sys
from collections.abc import Callable, Coroutine
from functools import partial
from typing import TYPE_CHECKING

import uvloop

from watchword.gate.absence import API
from watchword.gate.app import GateApp
from watchword.gate.app_probes import AppProber
from watchword.gate.audit import AuditLog
from watchword.gate.bundle_file import BundleSource
from watchword.gate.bundle_updater import BundleUpdater
from watchword.gate.draining import Draining
from watchword.gate.engine import Engine
from watchword.gate.fast_path import FastPathProtocol
from watchword.gate.first_bytes import ALPN
from watchword.gate.metrics import GateMetrics
from watchword.gate.ops import Readiness, ops_app
from watchword.gate.protocol import BOUNDS, PROXYING_BOUNDS
from watchword.gate.proxy import UpstreamError, parse_upstream
from watchword.gate.request_templates import RequestTemplates
from watchword.gate.settings import GateSettings
from watchword.gate.usage.api import UsageApi
from watchword.process.bounds import OPS_BOUNDS, with_tls
from watchword.process.http_protocol import BoundedProtocol
from watchword.process.listening import CannotStartError, address_of, listen_on, listen_on_each, serving
from watchword.process.logs import LOGGER, SUMMARY_SECONDS, set_up_logging
from watchword.process.server import SignalFreeServer, bounded_server
from watchword.trust import Ruleset
from watchword.usage import StoreError, open_store

if TYPE_CHECKING:
    from watchword.gate.bundle_watch import BundleWatch
    from watchword.gate.desk_revocation_watch import RevocationWatch
    from watchword.gate.http2.upstream import AnyUpstream
    from watchword.gate.tracing.export import SpanExport
    from watchword.gate.tracing.tracer import Tracer
    from watchword.process.tls import ReloadingCertificate

# Proxies keep idle connections for about a minute; the gate must not be the one that closes first.
KEEP_ALIVE_SECONDS = 75
# How long one thread may keep the others waiting.
SWITCH_SECONDS = 0.0005


def run(
    settings: GateSettings, source: BundleSource, on_engine: Callable[[Engine], None] | None = None
) -> int:
    """Run a gate until SIGTERM or SIGINT.

    Args:
        settings: how.
        source: where its bundles come from.
        on_engine: called once with what decides, on its event loop; for a desk in the same process.

    Returns:
        0 after a clean stop; 2 when it could not start, with one line on standard error that says why.
    """
    set_up_logging(settings.log_level)
    # A bundle of 10,000 workloads is made ready in a thread, in 8 ms of Python: requests wait for turns of
    # that thread, and one each 5 ms would be felt.
    sys.setswitchinterval(SWITCH_SECONDS)
    # What was imported stays for good: a collection that goes over all of it holds requests up for 10 ms.
    gc.freeze()
    try:
        uvloop.run(_main(settings, source, on_engine))
    except CannotStartError as problem:
        print(f"watchword: {problem}", file=sys.stderr)  # noqa: T201 - for the person at the terminal
        return 2
    return 0


def _usage(engine: Engine, dsn: str) -> UsageApi:
    try:
        store = open_store(dsn)
        # A file takes one thread at a time: a second opening of it is read while the first one is written.
        is_file = store.threads == 1 and not dsn.endswith(":memory:")
        reader = open_store(dsn) if is_file else None
    except StoreError as error:
        raise CannotStartError(f"--usage-dsn: {error.detail}. Remedy: {error.remedy}") from None
    return UsageApi(engine, store, reader=reader)


async def _main(
    settings: GateSettings, source: BundleSource, on_engine: Callable[[Engine], None] | None
) -> None:
    metrics = GateMetrics()
    spans = _span_export(settings, metrics)
    audit = AuditLog(sys.stdout.buffer, metrics.audit_dropped.inc) if settings.audit != "off" else None
    engine = Engine(
        metrics,
        audit=audit,
        audit_level=settings.audit,
        long_connection_grace=settings.long_connection_grace_seconds,
        tracer=_tracer(settings, spans),
    )
    if on_engine is not None:
        on_engine(engine)
    usage = _usage(engine, settings.usage_dsn)

    counting: set[asyncio.Task[None]] = set()

    revocations = _revocations(settings, engine, metrics)

    async def on_adopt(ruleset: Ruleset) -> None:
        if revocations is not None:
            revocations.adopted(ruleset)
        # Recounting takes as long as there are events; the next bundle, which may revoke, does not wait.
        task = _follow(usage.use_meters(ruleset.meters))
        counting.add(task)
        task.add_done_callback(counting.discard)

    updater = BundleUpdater(
        engine,
        on_adopt,
        bounds_generations=settings.followed is not None,
        absent_after=settings.absent_after_seconds,
    )
    live = _live(settings, metrics)
    upstream = _upstream(settings)
    readiness = Readiness(engine, updater, live, upstream.address if upstream is not None else None)
    certificate = _certificate(settings)
    if certificate is not None:
        metrics.follow_certificate(lambda: certificate.validity)
    gate_sockets = listen_on_each("--listen", settings.listen)
    ops_socket = listen_on("--ops-listen", settings.ops_listen)
    app = GateApp(engine, usage)
    draining = Draining(app)
    gate = _gate_server(engine, app, draining, settings, certificate=certificate, upstream=upstream)
    ops = bounded_server(
        ops_app(engine, readiness, AppProber(settings.app_probes)),
        OPS_BOUNDS,
        keep_alive_seconds=KEEP_ALIVE_SECONDS,
        grace_seconds=settings.shutdown_grace_seconds,
    )
    work = [
        _follow(updater.follow(source, may_lag=live is not None)),
        _follow(updater.look_again()),
        _follow(_summaries(engine)),
        _follow(usage.keep_times()),
    ]
    followed = [
        updater.follow(live, API) if live is not None else None,
        revocations.run() if revocations is not None else None,
        certificate.run() if certificate is not None else None,
    ]
    work += [_follow(each) for each in followed if each is not None]
    stop = _listen_to_signals(draining, readiness)
    async with serving(ops, ops_socket), serving(gate, *gate_sockets):
        LOGGER.info(
            "listening",
            extra={
                "listen": ", ".join(map(address_of, gate_sockets)),
                "ops_listen": address_of(ops_socket),
                "tls": certificate is not None,
            },
        )
        await stop.wait()
        readiness.stopping = True
        LOGGER.info("stopping", extra={"grace_seconds": settings.shutdown_grace_seconds})
    ended = [*work, *counting]
    for task in ended:
        task.cancel()
    await asyncio.gather(*ended, return_exceptions=True)
    await usage.close()
    if upstream is not None:
        upstream.close()
    engine.refusals.summarize()
    engine.reported.summarize()
    if audit is not None:
        audit.close()
    if spans is not None:
        spans.close()


def _span_export(settings: GateSettings, metrics: GateMetrics) -> "SpanExport | None":
    if not settings.trace_sample_ratio or os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    # Imported only here: a gate that traces nothing does not carry what it takes.
    from watchword.gate.tracing.export import TracingError, otlp_export

    try:
        return otlp_export(
            on_exported=metrics.spans_exported.inc,
            on_lost=lambda cause, number: metrics.spans_lost.labels(cause).inc(number),
        )
    except TracingError as problem:
        raise CannotStartError(f"--trace-sample-ratio: {problem}") from None


def _tracer(settings: GateSettings, spans: "SpanExport | None") -> "Tracer | None":
    if spans is None:
        return None
    from watchword.gate.tracing.tracer import Tracer

    return Tracer(settings.trace_sample_ratio, spans.put)


def _listen_to_signals(draining: Draining, readiness: Readiness) -> asyncio.Event:
    """SIGUSR1 begins to drain; SIGTERM and SIGINT set the event that is returned."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)

    def drain() -> None:
        draining.has_begun = readiness.stopping = True
        LOGGER.info("draining", extra={"effect": "each answer ends its connection"})

    loop.add_signal_handler(signal.SIGUSR1, drain)
    return stop


def _upstream(settings: GateSettings) -> "AnyUpstream | None":
    if settings.upstream is None:
        return None
    try:
        address = parse_upstream(settings.upstream)
    except UpstreamError as problem:
        raise CannotStartError(f"--upstream: {problem}") from None
    # Imported only here: a gate without an upstream does not carry what it takes.
    seconds = settings.upstream_timeout_seconds, settings.upload_timeout_seconds
    if address.speaks_http2:
        from watchword.gate.http2.upstream import Http2Upstream

        return Http2Upstream(address, *seconds)
    from watchword.gate.proxy.upstream import Upstream

    return Upstream(address, *seconds)


def _gate_server(
    engine: Engine,
    app: GateApp,
    draining: Draining,
    settings: GateSettings,
    *,
    certificate: "ReloadingCertificate | None",
    upstream: "AnyUpstream | None",
) -> SignalFreeServer:
    """The server of the gate's port, which passes on to an app, or only decides."""
    bounds, tunnel = BOUNDS, None
    protocol: Callable[..., BoundedProtocol] = partial(
        FastPathProtocol, engine=engine, draining=draining, templates=RequestTemplates()
    )
    if upstream is not None:
        from watchword.gate.proxy.protocol import ProxyingProtocol
        from watchword.gate.proxy.websocket import tunnel_factory

        # A gate that passes bodies on leaves their size to the app.
        bounds = PROXYING_BOUNDS
        # A WebSocket begins in HTTP/1.1.
        tunnel = None if upstream.address.speaks_http2 else tunnel_factory(engine, upstream.address)
        protocol = partial(
            ProxyingProtocol,
            engine=engine,
            draining=draining,
            templates=RequestTemplates(),
            passes_on=app.passes_on,
            upstream=upstream,
        )
    if certificate is not None:
        bounds = with_tls(bounds)
    return bounded_server(
        draining,
        bounds,
        protocol=protocol,
        context=certificate.context if certificate else None,
        # Callers of a Service come and go all the time; uvloop accepts them with less work.
        accepts_in_turn=False,
        tunnel=tunnel,
        keep_alive_seconds=KEEP_ALIVE_SECONDS,
        grace_seconds=settings.shutdown_grace_seconds,
    )


def _live(settings: GateSettings, metrics: GateMetrics) -> "BundleWatch | None":
    if settings.followed is None:
        return None
    # Imported only here: a gate that follows no API server does not carry what it takes.
    from watchword.gate.bundle_watch import BundleWatch

    return BundleWatch(settings.followed, metrics)


def _revocations(settings: GateSettings, engine: Engine, metrics: GateMetrics) -> "RevocationWatch | None":
    if settings.followed is None:
        return None
    from watchword.gate.desk_revocation_watch import RevocationWatch

    watch = RevocationWatch(settings.followed, engine)
    metrics.follow_revocations(watch.age_seconds)
    return watch


def _certificate(settings: GateSettings) -> "ReloadingCertificate | None":
    if settings.tls_certificate is None and settings.tls_key is None:
        return None
    if settings.tls_certificate is None or settings.tls_key is None:
        raise CannotStartError(
            "TLS needs both files. Remedy: give --tls-cert and --tls-key together, or neither"
        )
    # Imported only here: a gate without TLS does not carry what reads certificates.
    from watchword.process.tls import ReloadingCertificate

    try:
        return ReloadingCertificate(settings.tls_certificate, settings.tls_key, settings.poll_seconds, ALPN)
    except ssl.SSLError:
        raise CannotStartError(
            "--tls-cert, --tls-key: not PEM, or not one pair. Remedy: give a pair that fits"
        ) from None
    except OSError as error:
        raise CannotStartError(
            f"--tls-cert, --tls-key: {error.strerror}. Remedy: name two readable PEM files"
        ) from None


def _follow(work: Coroutine[None, None, None]) -> "asyncio.Task[None]":
    task = asyncio.create_task(work)

    def said(done: "asyncio.Task[None]") -> None:
        if not done.cancelled() and (error := done.exception()) is not None:
            LOGGER.error("a background task ended", extra={"error_type": type(error).__name__})

    task.add_done_callback(said)
    return task


async def _summaries(engine: Engine) -> None:
    while True:
        await asyncio.sleep(SUMMARY_SECONDS)
        engine.refusals.summarize()
        engine.reported.summarize()
