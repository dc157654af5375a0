# SPDX-License-Identifier: Apache-2.0
"""The rounds: each kind of load goes to every proxy in turn, so that a bad minute hits all alike.

Proxy and app share a core and the load has the other; what counts is the CPU time of the proxy alone, so the
app's is no one's. An answer that is not the app's own 200 ends the run.
"""

import random
import statistics
import tempfile
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.load import cpu_seconds
from benchmarks.peers.measure import SERVER_CORE, build_load, run_load
from benchmarks.peers.process import Running, asks, free_port, serving
from benchmarks.peers.tokens import write_requests
from benchmarks.proxying.contestants import Contestant
from benchmarks.proxying.grpc_calls import CALLS, GRPC, is_here, run_calls
from benchmarks.proxying.world import LARGE, SMALL, World

# How many requests one turn of each kind has. A new token costs kube-rbac-proxy two questions.
REQUESTS = {"known callers": 6_000, "new tokens": 1_000, "large answers": 3_000}
KINDS = tuple(REQUESTS)
CONNECTIONS = 16
LATENCY_SECONDS = 3.0


@dataclass
class Figures:
    """What was measured of one proxy, each list with one value a round.

    Attributes:
        rates: requests per core-second of the proxy's CPU, by kind; none for the app alone.
        walls: requests per second, by kind.
        latencies: p50, p99 and p99.9 in microseconds at the fixed rate.
        resident: MiB after each kind; 0 for the app alone.
        asked: CPU seconds of the API server for one request, by kind.
    """

    rates: dict[str, list[float]] = field(default_factory=dict)
    walls: dict[str, list[float]] = field(default_factory=dict)
    latencies: list[tuple[int, int, int]] = field(default_factory=list)
    resident: dict[str, float] = field(default_factory=dict)
    asked: dict[str, list[float]] = field(default_factory=dict)


class Measurement:
    """All proxies at once, started; and one turn after the other."""

    def __init__(self, contestants: Sequence[Contestant], world: World, folder: Path) -> None:
        self.contestants, self.world, self._folder = contestants, world, folder
        self.figures = {each.name: Figures() for each in contestants}
        self._program = build_load(folder)
        self._running: dict[str, Running] = {}
        self._speaking_grpc: dict[str, Running] = {}
        self._random = random.Random(7)

    def run(self, rounds: int, latency_rounds: int) -> float:
        """Measure everyone; returns the fixed rate of the latencies, in requests a second."""
        with ExitStack() as stack:
            for number, each in enumerate(self.contestants):
                place = self._folder / f"contestant-{number}"
                place.mkdir()
                self._running[each.name] = stack.enter_context(self._started(each, place))
                # What is measured as known was seen before.
                self._load(each, list(self.world.known), SMALL, 0.0)
            if is_here():
                self._start_grpc(stack)
            for number in range(rounds):
                for kind in KINDS:
                    self._at_full_speed(kind)
                self._grpc_at_full_speed()
                print(f"round {number + 1} of {rounds}", flush=True)
            slowest = min(statistics.median(each.walls[KINDS[0]]) for each in self.figures.values())
            rate = round(slowest / 2, -2)
            for number in range(latency_rounds):
                self._at_a_fixed_rate(rate)
                print(f"latencies, round {number + 1} of {latency_rounds}", flush=True)
        return rate

    def _start_grpc(self, stack: ExitStack) -> None:
        """Start each once more, before the app that speaks gRPC; the app itself is there."""
        for number, each in enumerate(self.contestants):
            if each.command is None:
                running = Running(self.world.grpc_port, (), 0.0)
            elif each.grpc_command is None:
                continue
            else:
                place = self._folder / f"grpc-contestant-{number}"
                place.mkdir()
                port = free_port()
                command = each.grpc_command(self.world, place, port)
                running = stack.enter_context(
                    serving([command], place / "log", SERVER_CORE, port, self._answers_a_call)
                )
            self._speaking_grpc[each.name] = running

    def _answers_a_call(self, port: int) -> bool:
        try:
            run_calls(port, self.world.known[0], self._folder, CONNECTIONS)
        except RuntimeError:
            return False
        return True

    def _grpc_at_full_speed(self) -> None:
        for name, running in self._speaking_grpc.items():
            figures, before = self.figures[name], running.cpu_seconds()
            rate = run_calls(running.port, self.world.known[0], self._folder)
            spent = running.cpu_seconds() - before
            figures.walls.setdefault(GRPC, []).append(rate)
            if running.pids:
                figures.rates.setdefault(GRPC, []).append(CALLS / spent)
                figures.resident[GRPC] = running.resident_mebibytes()

    def _started(self, contestant: Contestant, place: Path) -> AbstractContextManager[Running]:
        if contestant.command is None:
            return nullcontext(Running(self.world.app_port, (), 0.0))
        port = free_port()
        command = contestant.command(self.world, place, port)
        says_yes = asks(SMALL, self.world.known[0], [200])
        return serving([command], place / "log", SERVER_CORE, port, says_yes)

    def _at_full_speed(self, kind: str) -> None:
        tokens = self._tokens(kind, REQUESTS[kind])
        path = LARGE if kind == "large answers" else SMALL
        for each in self.contestants:
            running, figures = self._running[each.name], self.figures[each.name]
            before, asked_before = running.cpu_seconds(), cpu_seconds(self.world.cluster.pid)
            said = self._load(each, tokens, path, 0.0)
            spent, asked = running.cpu_seconds() - before, cpu_seconds(self.world.cluster.pid) - asked_before
            figures.walls.setdefault(kind, []).append(said["requests"] / said["seconds"])
            figures.asked.setdefault(kind, []).append(asked / said["requests"])
            if running.pids:
                figures.rates.setdefault(kind, []).append(said["requests"] / spent)
                figures.resident[kind] = running.resident_mebibytes()

    def _at_a_fixed_rate(self, rate: float) -> None:
        tokens = self._tokens(KINDS[0], int(rate * LATENCY_SECONDS))
        for each in self.contestants:
            said = self._load(each, tokens, SMALL, rate)
            self.figures[each.name].latencies.append((said["p50"], said["p99"], said["p999"]))

    def _tokens(self, kind: str, count: int) -> list[bytes]:
        if kind == "new tokens":
            return self.world.fresh(count)
        return self._random.choices(self.world.known, k=count)

    def _load(
        self, contestant: Contestant, tokens: Sequence[bytes], path: str, rate: float
    ) -> dict[str, Any]:
        port = self._running[contestant.name].port
        with tempfile.TemporaryDirectory(dir=self._folder) as folder:
            files = write_requests(Path(folder), tokens, path)
            said = run_load(self._program, port, CONNECTIONS, rate, files)
        if said["statuses"] != {"200": len(tokens)}:
            raise RuntimeError(f"{contestant.name} answered {said['statuses']} to {len(tokens)} requests")
        return said
