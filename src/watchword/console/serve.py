# SPDX-License-Identifier: Apache-2.0
"""The console's process: its port on loopback, its link's file, and its end."""

import asyncio
import signal
import socket
import webbrowser
from collections.abc import Callable
from pathlib import Path
from typing import Final

from watchword.cli.failures import say
from watchword.console.app import console_app
from watchword.console.session import LinkFile, Session
from watchword.console.source import Source
from watchword.process.bounds import Bounds
from watchword.process.listening import CannotStartError, listen_on, serving
from watchword.process.logs import set_up_logging
from watchword.process.server import bounded_server

BOUNDS: Final = Bounds(
    head_bytes=16 * 1024, headers=64, message_bytes=512 * 1024, connections=128, body_seconds=30.0
)
_GRACE_SECONDS: Final = 0.5
_TRIES: Final = 20


def listen_on_loopback(port: int) -> tuple[socket.socket, ...]:
    """Listen on the loopback addresses of IPv4 and, where there is one, of IPv6, at one port.

    A browser asks either of them for a name under `.localhost`: at the one that was left free, another user
    of the machine could wait for the link.

    Args:
        port: 0: one that both have free.

    Raises:
        CannotStartError: the port is taken on one of them.
    """
    for _ in range(_TRIES):
        first = listen_on("--listen-port", f"127.0.0.1:{port}")
        if not _has_ipv6_loopback():
            return (first,)
        try:
            return first, listen_on("--listen-port", f"[::1]:{first.getsockname()[1]}")
        except CannotStartError:
            first.close()
            if port:
                raise
    raise CannotStartError(
        "--listen-port: no port is free on both loopback addresses. Remedy: name one with --listen-port"
    )


def _has_ipv6_loopback() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def run_console(source: Source, port: int, *, opens_browser: bool) -> None:
    """Serve until a signal (SIGINT, SIGTERM).

    Raises:
        CannotStartError: the port, or a place for the link's file, is not to be had.
    """
    asyncio.run(_run(source, port, opens_browser=opens_browser))


async def _run(source: Source, port: int, *, opens_browser: bool) -> None:
    # A defect is logged by its kind alone: a traceback may quote what a request held.
    set_up_logging("warning")
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    listeners = listen_on_loopback(port)
    session = Session()
    taken = listeners[0].getsockname()[1]
    try:
        file = LinkFile(session.link(taken))
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise CannotStartError(
            f"the link's file cannot be written: {why}. Remedy: set XDG_RUNTIME_DIR, or else TMPDIR, to a "
            "folder of yours"
        ) from None
    try:
        app = console_app(source, session, f"{session.host}:{taken}", file.remove)
        server = bounded_server(app, BOUNDS, grace_seconds=_GRACE_SECONDS, keep_alive_seconds=30)
        async with serving(server, *listeners):
            _tell(file.path, source.title, opens_browser=opens_browser)
            await stop.wait()
    finally:
        file.remove()


def _tell(
    path: Path, title: str, *, opens_browser: bool, open_page: Callable[[str], bool] = webbrowser.open
) -> None:
    say(f"Console of the {title.removeprefix('the ')}; it shows, and changes nothing. Ctrl-C ends it.")
    say(f"Open this file in a browser, once: {path}")
    if opens_browser and not open_page(path.as_uri()):
        say("No browser was found; open the file yourself.")
