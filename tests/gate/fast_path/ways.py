# SPDX-License-Identifier: Apache-2.0
"""The two ways to an answer: a connection with the short cut and one without, fed the same bytes.

No sockets and no real time: the transport keeps what was written, and the loop's clock goes where a test puts
it. So a case is the bytes, where they were cut, and nothing else.
"""

import asyncio
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import uvicorn
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.server import ServerState

from testing.manifests import compiled, issuer, service, workload
from testing.tokens import NOW
from watchword.gate.app import GateApp
from watchword.gate.audit import AuditLog
from watchword.gate.draining import Draining
from watchword.gate.engine import Engine
from watchword.gate.fast_path import FastPathProtocol
from watchword.gate.metrics import GateMetrics
from watchword.gate.protocol import TargetProtocol
from watchword.gate.request_templates import RequestTemplates
from watchword.trust import Ruleset, load

DATE = [(b"date", b"Wed, 25 Nov 2026 08:00:00 GMT")]
KEEP_ALIVE_SECONDS = 75
PEER = ("192.0.2.7", 40007)
# More turns than any chain of callbacks of one read has.
_TURNS = 60


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop whose clock moves only by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0

    def time(self) -> float:
        """Seconds on that clock."""
        return self.now


class RecordingTransport(asyncio.Transport):
    """Keeps what is written; holds reads back while reading is paused, as a socket does."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.ended_writing = False
        self.is_slow = False
        self._protocol: Any = None
        self._closing, self._reading = False, True
        self._held: list[bytes] = []

    def attach(self, protocol: Any) -> None:
        """Start a connection."""
        self._protocol = protocol
        protocol.connection_made(self)

    def set_protocol(self, protocol: Any) -> None:
        """Have another protocol take what comes."""
        self._protocol = protocol

    def arrive(self, data: bytes) -> None:
        """Bytes come from the network."""
        if self._closing:
            return
        if self._reading:
            self._protocol.data_received(data)
        else:
            self._held.append(data)

    def write(self, data: Any) -> None:
        """Take bytes; a slow reader at the other end has the protocol paused."""
        if self._closing:
            return
        self.written += data
        if self.is_slow and len(self.written) > HIGH_WATER_LIMIT:
            self._protocol.pause_writing()

    def catch_up(self) -> None:
        """The reader at the other end took all there was."""
        self.is_slow = False
        self._protocol.resume_writing()

    def pause_reading(self) -> None:
        """Hold reads back."""
        self._reading = False

    def resume_reading(self) -> None:
        """Let held reads through, in later turns of the loop."""
        self._reading = True
        asyncio.get_running_loop().call_soon(self._release)

    def _release(self) -> None:
        while self._held and self._reading and not self._closing:
            self._protocol.data_received(self._held.pop(0))

    def close(self) -> None:
        """End the connection in the next turn."""
        if not self._closing:
            self._closing = True
            asyncio.get_running_loop().call_soon(self._protocol.connection_lost, None)

    def is_closing(self) -> bool:
        """Whether it was closed."""
        return self._closing

    def can_write_eof(self) -> bool:
        """Yes."""
        return True

    def write_eof(self) -> None:
        """Write nothing more."""
        self.ended_writing = True

    def get_write_buffer_size(self) -> int:
        """What a slow reader has not taken."""
        return len(self.written) if self.is_slow and not self._closing else 0

    def abort(self) -> None:
        """End the connection in the next turn, whatever is unsent."""
        self.close()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """The other end of the connection, and nothing else."""
        return PEER if name == "peername" else default


@dataclass
class Outcome:
    """What became of a connection: the bytes written, whether it is closed, what was counted and audited."""

    written: bytes
    is_closed: bool
    counted: dict[str, float]
    audited: bytes
    buckets: dict[str, tuple[float, float]]
    requests: int


def ruleset(**spec: Any) -> Ruleset:
    """One workload that may read the usage of acme, at 5 requests a second with bursts of 8."""
    routes = [{"path": "/app/{account}", "methods": ["GET", "HEAD"], "scope": "account:usage:read"}]
    grants = [{"scopes": ["account:usage:read"], "accounts": ["acme"]}]
    limits = {"requestsPerSecond": 5, "burst": 8}
    made = compiled(
        issuer(), service(**({"routes": routes, "limits": limits} | spec)), workload(grants=grants)
    )
    return load(made.bundles[0])


class Connection:
    """One connection to a gate of its own.

    Attributes:
        now: the time by both of its clocks.
    """

    def __init__(self, is_short: bool, rules: Ruleset | None) -> None:
        self.now = NOW
        self._audited = io.BytesIO()
        self.metrics = GateMetrics()
        self.audit = AuditLog(self._audited, self.metrics.audit_dropped.inc)
        self.engine = Engine(
            self.metrics,
            audit=self.audit,
            audit_level="all",
            clock=lambda: self.now,
            monotonic=lambda: self.now,
        )
        # Two gates of one name, so that their decisions have the same ones.
        self.engine._prefix = "gate"
        if rules is not None:
            self.engine.adopt(rules)
        self.templates = RequestTemplates()
        self.app = GateApp(self.engine, None)
        self.draining = Draining(self.app)
        config = uvicorn.Config(
            self.draining,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
        )
        config.load()
        self._make: Any = TargetProtocol
        if is_short:
            self.use(FastPathProtocol)
        self.state = ServerState()
        self.state.default_headers = DATE
        self.protocol = self._make(config=config, server_state=self.state, app_state={})
        self.transport = RecordingTransport()
        self.transport.attach(self.protocol)
        self._config = config

    def use(self, protocol: Callable[..., Any], **given: Any) -> None:
        """Have this protocol made for each further connection."""
        templates = self.templates
        self._make = partial(
            protocol, engine=self.engine, draining=self.draining, templates=templates, **given
        )

    def another(self) -> RecordingTransport:
        """A second connection to the same gate."""
        protocol = self._make(config=self._config, server_state=self.state, app_state={})
        transport = RecordingTransport()
        transport.attach(protocol)
        return transport

    async def send(self, chunks: Sequence[bytes], rest: bool = True) -> None:
        """Let chunks arrive; between them the gate comes to rest unless said otherwise."""
        for chunk in chunks:
            self.transport.arrive(chunk)
            if rest:
                await come_to_rest()
        await come_to_rest()
        for _ in range(_TURNS):
            if self.state.tasks:
                await come_to_rest()

    def outcome(self) -> Outcome:
        """What there is to see by now. The connection's audit log ends with it."""
        self.audit.close(30)
        counted = {
            f"{sample.name}{sorted(sample.labels.items())}": sample.value
            for metric in self.metrics.registry.collect()
            for sample in metric.samples
            if "verification_seconds" not in sample.name and "timestamp" not in sample.name
            if "age" not in sample.name
        }
        return Outcome(
            bytes(self.transport.written),
            self.transport.is_closing(),
            counted,
            self._audited.getvalue(),
            dict(self.engine.limiter._buckets),
            self.state.total_requests,
        )


async def come_to_rest() -> None:
    """Let everything happen that needs no time."""
    for _ in range(_TURNS):
        await asyncio.sleep(0)


async def pass_seconds(seconds: float) -> None:
    """Move the clock, second by second, so that timers fire in their order."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    end = loop.now + seconds
    while loop.now < end:
        loop.now = min(loop.now + 1, end)
        await come_to_rest()


def run(work: Any) -> Any:
    """Run a coroutine on a loop with a clock of its own."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(work)


def both_ways(chunks: Sequence[bytes], rules: Ruleset | None, rest: bool = True) -> tuple[Outcome, Outcome]:
    """What came of the same bytes: with the short cut, and without."""

    async def one(is_short: bool) -> Outcome:
        connection = Connection(is_short, rules)
        await connection.send(chunks, rest)
        return connection.outcome()

    return run(one(True)), run(one(False))
