# SPDX-License-Identifier: Apache-2.0
"""Probes of the app that the gate makes for the kubelet, which cannot reach an app on loopback.

Each is named on the command line, with what is to be asked; the ops port answers `/app-probes/NAME` with how
it went and nothing of what the app said. A flood of the ops port is no flood of the app: a probe runs once
at a time.
"""

import asyncio
import contextlib
import re
import ssl
from collections.abc import Iterable
from typing import Final
from urllib.parse import urlsplit

import msgspec

from watchword.gate.proxy.target import UpstreamAddress

# Longer than any sensible `timeoutSeconds`: the kubelet gives up by its own.
PROBE_SECONDS: Final = 30.0
MAX_PROBES: Final = 64
_LINE_BYTES: Final = 8192
_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,98}[a-z0-9])?")
_STATUS: Final = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})(?: [^\r\n]*)?\r?\n")
_LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})
_PORTS: Final = {"http": 80, "https": 443, "tcp": None}


class AppProbe(msgspec.Struct, frozen=True):
    """What to ask the app.

    Attributes:
        name: below `/app-probes/`.
        scheme: `http`, `https` (whose certificate is not verified, as a kubelet does not) or `tcp`.
        host: a loopback address.
        port: of the app.
        target: path and query of the request; empty for `tcp`.
    """

    name: str
    scheme: str
    host: str
    port: int
    target: str

    @property
    def authority(self) -> str:
        """HOST:PORT as a URL has it."""
        return UpstreamAddress(self.host, self.port).authority


def parse_app_probe(text: str) -> AppProbe:
    """Read `NAME=http://127.0.0.1:PORT/PATH` or `NAME=tcp://127.0.0.1:PORT`.

    Raises:
        ValueError: it is neither; the message says what would be right.
    """
    name, _, url = text.partition("=")
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name[:100]!r} is not a name of lower-case letters, digits and `-`")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError(f"{url[:200]!r} is not a URL") from None
    if parts.scheme not in _PORTS or parts.hostname not in _LOOPBACK:
        raise ValueError(f"{url[:200]!r} is not http, https or tcp at 127.0.0.1, localhost or [::1]")
    port = port or _PORTS[parts.scheme]
    if port is None:
        raise ValueError(f"{url[:200]!r} names no port")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if not target.isascii() or not target.isprintable() or " " in target or parts.fragment or parts.username:
        raise ValueError(f"{url[:200]!r} holds more than a path and a query in printable ASCII")
    return AppProbe(name, parts.scheme, parts.hostname, port, "" if parts.scheme == "tcp" else target)


class AppProber:
    """Makes the probes that were named, each once at a time."""

    def __init__(self, probes: Iterable[AppProbe]) -> None:
        """Know these probes."""
        self._probes = {each.name: each for each in probes}
        self._under_way: dict[str, asyncio.Task[str | None]] = {}

    async def failure_of(self, name: str) -> str | None:
        """How a probe failed, in words; None when it went well.

        Raises:
            KeyError: no probe has this name.
        """
        probe = self._probes[name]
        task = self._under_way.get(name)
        if task is None:
            task = asyncio.create_task(_failure(probe))
            self._under_way[name] = task
            task.add_done_callback(lambda _: self._under_way.pop(name, None))
        # One who asked may leave; the others still wait for it.
        return await asyncio.shield(task)


async def _failure(probe: AppProbe) -> str | None:
    where = f"the app at {probe.authority}"
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            context = _context() if probe.scheme == "https" else None
            reader, writer = await asyncio.open_connection(
                probe.host, probe.port, ssl=context, limit=_LINE_BYTES
            )
            try:
                return await _answer_of(probe, where, reader, writer)
            finally:
                writer.transport.abort()
    except TimeoutError:
        return f"{where} did not answer within {PROBE_SECONDS:.0f} s"
    except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else "no HTTP answer"
        return f"{where} cannot be asked: {why}"


async def _answer_of(
    probe: AppProbe, where: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> str | None:
    if probe.scheme == "tcp":
        return None
    lines = (
        f"GET {probe.target} HTTP/1.1",
        f"Host: {probe.authority}",
        "User-Agent: kube-probe/watchword",
        "Accept: */*",
        "Connection: close",
    )
    writer.write("\r\n".join((*lines, "", "")).encode("ascii"))
    with contextlib.suppress(ConnectionError):
        await writer.drain()
    found = _STATUS.fullmatch(await reader.readuntil(b"\n"))
    if found is None:
        return f"{where} answered with something else than HTTP/1"
    # A kubelet takes anything from 200 to 399 (Kubernetes documentation, "HTTP probes").
    status = int(found[1])
    return None if 200 <= status < 400 else f"{where} answered {status} to {probe.target}"


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
