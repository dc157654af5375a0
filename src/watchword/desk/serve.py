# SPDX-License-Identifier: Apache-2.0
"""The desk's process: its store, its configuration, its servers, and an end that drops no answer."""

import asyncio
import contextlib
import gc
import signal
import ssl
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final

from starlette.types import ASGIApp

from watchword.desk.admin.app import AdminApp
from watchword.desk.app import DeskApp
from watchword.desk.desk import Desk
from watchword.desk.forms import MAX_FORM_BYTES
from watchword.desk.metrics import DeskMetrics
from watchword.desk.ops import DeskReadiness
from watchword.desk.published import Publisher
from watchword.desk.runner import Runner
from watchword.desk.sources import DeskSource
from watchword.desk.store import DeskStore, DeskStoreError, open_desk_store
from watchword.desk.writer import Writer
from watchword.process.bounds import OPS_BOUNDS, Bounds, with_tls
from watchword.process.http_protocol import BoundedProtocol
from watchword.process.listening import CannotStartError, address_of, listen_on, serving
from watchword.process.logs import LOGGER, set_up_logging
from watchword.process.ops import ops_app
from watchword.process.server import bounded_server
from watchword.process.tls import given_certificate
from watchword.process.whole_exchange import WholeProtocol

KEEP_ALIVE_SECONDS: Final = 75
SWITCH_SECONDS: Final = 0.0005
# A form of 32 KiB is all that any endpoint reads.
DESK_BOUNDS: Final = Bounds(
    head_bytes=16 * 1024,
    headers=64,
    message_bytes=16 * 1024 + MAX_FORM_BYTES + 16 * 1024,
    trailer_bytes=1024,
    trailers=8,
    head_seconds=10.0,
    body_seconds=10.0,
    connections=1024,
    buffered_bytes=24 * 1024 * 1024,
)


@dataclass(frozen=True, slots=True)
class DeskSettings:
    """How a desk runs.

    Attributes:
        store: the DSN of the store.
        listen: HOST:PORT of the public endpoints.
        ops_listen: HOST:PORT of /healthz, /readyz and /metrics; None: there is no ops port.
        admin_listen: HOST:PORT of the admin API; None: there is none.
        admin_calls_per_second: of one address and of one admin, in the long run; 0: no limit.
        tls_certificate: PEM file with the certificate chain; None: plain HTTP. Reloaded when it changes.
        tls_key: PEM file with the certificate's key.
        trusted_proxies: how many proxies stand before the desk and set X-Forwarded-For.
        addresses_per_second: requests of one address in the long run; 0: no limit.
        addresses_burst: requests of one address at once.
        subjects_per_second: requests of one proven caller in the long run; 0: no limit.
        subjects_burst: requests of one proven caller at once.
        registrations_per_hour: agents that one address may register; 0: no limit.
        registrations_per_minute: agents that all addresses together may register; 0: no limit.
        unclaimed_per_minute: tokens that all unclaimed agents together may ask for; 0: no limit.
        log_level: DEBUG, INFO, WARNING or ERROR.
        shutdown_grace_seconds: how long requests in flight may take once the desk was told to stop.
        poll_seconds: how often files are looked at for changes.
    """

    store: str
    listen: str = "127.0.0.1:8444"
    ops_listen: str | None = "127.0.0.1:9091"
    admin_listen: str | None = None
    admin_calls_per_second: float = 20.0
    tls_certificate: str | None = None
    tls_key: str | None = None
    trusted_proxies: int = 0
    addresses_per_second: float = 200.0
    addresses_burst: int = 400
    subjects_per_second: float = 50.0
    subjects_burst: int = 100
    registrations_per_hour: float = 5.0
    registrations_per_minute: float = 60.0
    unclaimed_per_minute: float = 300.0
    log_level: str = "INFO"
    shutdown_grace_seconds: int = 10
    poll_seconds: float = 0.5


def run(settings: DeskSettings, source: DeskSource, publisher: Publisher) -> int:
    """Run a desk until SIGTERM or SIGINT.

    Returns:
        0 after a clean stop; 2 when it could not start, with one line on standard error that says why.
    """
    set_up_logging(settings.log_level)
    # The thread that writes and the loop that answers take turns: one turn is not to be felt.
    sys.setswitchinterval(SWITCH_SECONDS)
    # What was imported stays for good: no collection has to go over it again.
    gc.freeze()
    try:
        # Not uvloop: see the import contract "descriptors are closed once" in pyproject.toml.
        asyncio.run(_main(settings, source, publisher))
    except CannotStartError as problem:
        print(f"watchword: {problem}", file=sys.stderr)  # noqa: T201 - for the person at the terminal
        return 2
    return 0


async def _main(settings: DeskSettings, source: DeskSource, publisher: Publisher) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with running(settings, source, publisher):
        await stop.wait()
        LOGGER.info("stopping", extra={"grace_seconds": settings.shutdown_grace_seconds})


@contextlib.asynccontextmanager
async def running(
    settings: DeskSettings,
    source: DeskSource,
    publisher: Publisher,
    on_listening: Callable[[str], None] = lambda _: None,
    on_readiness: Callable[[DeskReadiness], None] = lambda _: None,
    *,
    on_admin_listening: Callable[[str], None] = lambda _: None,
) -> AsyncIterator[Desk]:
    """Run a desk inside of the block; at its end stop accepting and finish what is in flight.

    Args:
        settings: how.
        source: where its configuration comes from.
        publisher: where it writes down its revocations and its mark.
        on_listening: called with HOST:PORT once the public port listens.
        on_readiness: called at the start with what says whether the desk is ready, and why not.
        on_admin_listening: called with HOST:PORT once the admin port listens, where there is one.

    Raises:
        CannotStartError: the store cannot be used, or a port is not to be had.
    """
    store = _open(settings.store)
    certificate = given_certificate(settings.tls_certificate, settings.tls_key, settings.poll_seconds)
    public = listen_on("--listen", settings.listen)
    ops = None if settings.ops_listen is None else listen_on("--ops-listen", settings.ops_listen)
    admin = None if settings.admin_listen is None else listen_on("--admin-listen", settings.admin_listen)
    writer = Writer(store)
    desk = Desk(
        store,
        writer,
        DeskMetrics(),
        subjects_per_second=settings.subjects_per_second,
        subjects_burst=settings.subjects_burst,
        admins=source,
        registrations_per_hour=settings.registrations_per_hour,
        registrations_per_minute=settings.registrations_per_minute,
        unclaimed_per_minute=settings.unclaimed_per_minute,
    )
    readiness = DeskReadiness(desk)
    on_readiness(readiness)
    runner = Runner(desk, store, source, publisher, readiness)
    app = DeskApp(
        desk,
        trusted_proxies=settings.trusted_proxies,
        addresses_per_second=settings.addresses_per_second,
        addresses_burst=settings.addresses_burst,
    )
    bounds = DESK_BOUNDS
    if certificate is not None:
        bounds = with_tls(bounds)
    work = [asyncio.create_task(_work(runner))]
    if certificate is not None:
        work.append(asyncio.create_task(certificate.run()))
    try:
        async with contextlib.AsyncExitStack() as servers:
            context = certificate.context if certificate is not None else None
            if ops is not None:
                await servers.enter_async_context(
                    serving(
                        _server(ops_app(readiness.document, desk.metrics.registry), OPS_BOUNDS, settings), ops
                    )
                )
            if admin is not None:
                api = AdminApp(
                    desk,
                    store,
                    writer,
                    source,
                    calls_per_second=settings.admin_calls_per_second,
                    calls_burst=max(1, int(2 * settings.admin_calls_per_second)),
                )
                await servers.enter_async_context(serving(_server(api, bounds, settings, context), admin))
                on_admin_listening(address_of(admin))
            forms = _server(app, bounds, settings, context, protocol=WholeProtocol)
            await servers.enter_async_context(serving(forms, public))
            LOGGER.info(
                "listening",
                extra={
                    "listen": address_of(public),
                    "ops_listen": address_of(ops) if ops is not None else "",
                    "admin_listen": address_of(admin) if admin is not None else "",
                    "tls": certificate is not None,
                },
            )
            on_listening(address_of(public))
            yield desk
            readiness.is_stopping = True
    finally:
        for task in work:
            task.cancel()
        await asyncio.gather(*work, return_exceptions=True)
        await desk.mailer.finish()
        await desk.finish_notes()
        with contextlib.suppress(DeskStoreError):
            await desk.write_strangers()
            await runner.note_head()
        await writer.close()
        store.close()


async def _work(runner: Runner) -> None:
    await runner.prepare()
    await asyncio.gather(*(_forever(each) for each in (runner.follow, runner.publish, runner.keep)))


async def _forever(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Begin again after a defect: a desk that stopped to publish would never revoke again."""
    while True:
        try:
            await work()
        except Exception as error:  # noqa: BLE001 - said aloud, and begun again
            LOGGER.error("a background task ended", extra={"error_type": type(error).__name__})
            await asyncio.sleep(1.0)
        else:
            return


def _open(dsn: str) -> DeskStore:
    try:
        return open_desk_store(dsn)
    except DeskStoreError as error:
        raise CannotStartError(f"--store: {error.detail}. Remedy: {error.remedy}") from None


def _server(
    app: ASGIApp,
    bounds: Bounds,
    settings: DeskSettings,
    context: ssl.SSLContext | None = None,
    *,
    protocol: type[BoundedProtocol] = BoundedProtocol,
) -> Any:
    return bounded_server(
        app,
        bounds,
        protocol=protocol,
        context=context,
        keep_alive_seconds=KEEP_ALIVE_SECONDS,
        grace_seconds=settings.shutdown_grace_seconds,
    )
