# SPDX-License-Identifier: Apache-2.0
"""The gate's process: two servers on one loop, the files they follow, and an end that drops no request.

Start order matters to nobody: the gate listens at once, answers `not_ready` until its bundle is there, and
never crashes because something beside it is late.
"""

import asyncio
import gc
import math
import signal
import ssl
import sys
from collections.abc import Callable, Coroutine
from functools import partial
from typing import TYPE_CHECKING

import uvloop
from starlette.types import ASGIApp

from watchword.gate.app import GateApp
from watchword.gate.audit import AuditLog
from watchword.gate.draining import Draining
from watchword.gate.engine import Engine
from watchword.gate.keeper import Keeper
from watchword.gate.metrics import GateMetrics
from watchword.gate.ops import Readiness, ops_app
from watchword.gate.protocol import MAX_MESSAGE_BYTES, TargetProtocol
from watchword.gate.proxy import UpstreamProblem, parse_upstream
from watchword.gate.settings import GateSettings
from watchword.gate.shapes import Shapes
from watchword.gate.shortcut import ShortcutProtocol
from watchword.gate.sources import BundleSource
from watchword.gate.usage_api import UsageApi
from watchword.process.listening import (
    CannotStart,
    SignalFreeServer,
    address_of,
    listen_on,
    quiet_server,
    serving,
)
from watchword.process.logs import LOGGER, SUMMARY_SECONDS, set_up_logging
from watchword.process.tls import ReloadingCertificate
from watchword.trust import Ruleset
from watchword.usage import StoreError, open_store

if TYPE_CHECKING:
    from watchword.gate.live import LiveSource
    from watchword.gate.proxy.tunnel import TunnelFactory
    from watchword.gate.proxy.upstream import Upstream

# Proxies keep idle connections for about a minute; whoever closes first must not be us.
KEEP_ALIVE_SECONDS = 75
# How long one thread may keep the others waiting.
SWITCH_SECONDS = 0.0005


def run(settings: GateSettings, source: BundleSource) -> int:
    """Run a gate until SIGTERM or SIGINT.

    Args:
        settings: how.
        source: where its bundles come from.

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
        uvloop.run(_main(settings, source))
    except CannotStart as problem:
        print(f"watchword: {problem}", file=sys.stderr)  # noqa: T201 - for the person at the terminal
        return 2
    return 0


async def _main(settings: GateSettings, source: BundleSource) -> None:
    metrics = GateMetrics()
    audit = AuditLog(sys.stdout.buffer, metrics.audit_dropped.inc) if settings.audit != "off" else None
    engine = Engine(metrics, audit=audit, audit_level=settings.audit)
    try:
        store = open_store(settings.usage_dsn)
        # A file takes one thread at a time: a second opening of it is read while the first one is written.
        is_file = store.threads == 1 and not settings.usage_dsn.endswith(":memory:")
        reader = open_store(settings.usage_dsn) if is_file else None
    except StoreError as error:
        raise CannotStart(f"--usage-dsn: {error.detail}. Remedy: {error.remedy}") from None
    usage = UsageApi(engine, store, reader=reader)

    counting: set[asyncio.Task[None]] = set()

    async def on_adopt(ruleset: Ruleset) -> None:
        # Recounting takes as long as there are events; the next bundle, which may revoke, does not wait.
        task = _follow(usage.use_meters(ruleset.meters))
        counting.add(task)
        task.add_done_callback(counting.discard)

    keeper = Keeper(engine, on_adopt)
    live = _live(settings, metrics)
    readiness = Readiness(engine, keeper, live, settings.upstream)
    certificate = _certificate(settings)
    gate_socket = listen_on("--listen", settings.listen)
    ops_socket = listen_on("--ops-listen", settings.ops_listen)
    app, tunnel, upstream = _application(engine, usage, settings)
    # A gate that passes bodies on leaves their size to the app.
    most = MAX_MESSAGE_BYTES if upstream is None else math.inf
    draining = Draining(app)
    protocol = partial(
        ShortcutProtocol, engine=engine, draining=draining, shapes=Shapes(), max_message_bytes=most
    )
    gate = _server(draining, protocol, settings, certificate, tunnel)
    ops = _server(ops_app(engine, readiness), TargetProtocol, settings, None)
    work = [
        _follow(keeper.follow(source, may_lag=live is not None)),
        _follow(_summaries(engine)),
        _follow(usage.keep_times()),
    ]
    if live is not None:
        work.append(_follow(keeper.follow(live, "API server")))
    if certificate is not None:
        work.append(_follow(certificate.follow()))
    stop = _listen_to_signals(draining, readiness)
    async with serving(ops, ops_socket), serving(gate, gate_socket):
        LOGGER.info(
            "listening",
            extra={
                "listen": address_of(gate_socket),
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
        await upstream.close()
    engine.refusals.summarize()
    if audit is not None:
        audit.close()


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


def _server(
    app: ASGIApp,
    protocol: Callable[..., TargetProtocol],
    settings: GateSettings,
    certificate: ReloadingCertificate | None,
    tunnel: "TunnelFactory | None" = None,
) -> SignalFreeServer:
    return quiet_server(
        app,
        context=certificate.context if certificate else None,
        http=protocol,
        ws="none" if tunnel is None else tunnel,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=settings.shutdown_grace_seconds,
        ssl_certfile=settings.tls_certificate if certificate else None,
        ssl_keyfile=settings.tls_key if certificate else None,
    )


def _application(
    engine: Engine, usage: UsageApi, settings: GateSettings
) -> "tuple[GateApp, TunnelFactory | None, Upstream | None]":
    if settings.upstream is None:
        return GateApp(engine, usage), None, None
    try:
        address = parse_upstream(settings.upstream)
    except UpstreamProblem as problem:
        raise CannotStart(f"--upstream: {problem}") from None
    try:
        # Imported only here: a gate without an upstream does not pay for an HTTP client.
        from watchword.gate.proxy.tunnel import tunnel_factory
        from watchword.gate.proxy.upstream import Upstream
    except ImportError:
        raise CannotStart("--upstream: aiohttp is missing. Remedy: install watchword[proxy]") from None
    upstream = Upstream(address, settings.upstream_timeout_seconds)
    return GateApp(engine, usage, upstream=upstream), tunnel_factory(engine, address), upstream


def _live(settings: GateSettings, metrics: GateMetrics) -> "LiveSource | None":
    if settings.followed is None:
        return None
    # Imported only here: a gate that follows no API server does not carry what it takes.
    from watchword.gate.live import LiveSource

    return LiveSource(settings.followed, metrics)


def _certificate(settings: GateSettings) -> ReloadingCertificate | None:
    if settings.tls_certificate is None and settings.tls_key is None:
        return None
    if settings.tls_certificate is None or settings.tls_key is None:
        raise CannotStart("TLS needs both files. Remedy: give --tls-cert and --tls-key together, or neither")
    try:
        return ReloadingCertificate(settings.tls_certificate, settings.tls_key, settings.poll_seconds)
    except ssl.SSLError:
        raise CannotStart(
            "--tls-cert, --tls-key: not PEM, or not one pair. Remedy: give a pair that fits"
        ) from None
    except OSError as error:
        raise CannotStart(
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
