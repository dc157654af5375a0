# SPDX-License-Identifier: Apache-2.0
"""The rounds: each kind of load goes to every contestant in turn, so that a bad minute hits all alike.

First as fast as each can (a closed loop), for requests per core-second; then at one fixed rate for all, below
saturation, for latencies (an open loop).
"""

import json
import statistics
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.peers.contestants import Contestant
from benchmarks.peers.process import Running, on_core
from benchmarks.peers.tokens import KINDS, REQUESTS, World, spoiled, write_requests

SERVER_CORE, LOAD_CORE = 0, 1
CONNECTIONS = 32
LATENCY_SECONDS = 3.0
_SOURCE = Path(__file__).with_name("load.c")


@dataclass
class Figures:
    """What was measured of one contestant, each list with one value a round.

    Attributes:
        rates: requests per core-second, by kind.
        walls: requests per second, by kind.
        latencies: p50, p99 and p99.9 in microseconds at the fixed rate, by kind.
        resident: MiB after each kind.
        seconds_to_first_answer: from its start to its first 200.
        resident_at_start: MiB after its first answer.
    """

    seconds_to_first_answer: float = 0.0
    resident_at_start: float = 0.0
    rates: dict[str, list[float]] = field(default_factory=dict)
    walls: dict[str, list[float]] = field(default_factory=dict)
    latencies: dict[str, list[tuple[int, int, int]]] = field(default_factory=dict)
    resident: dict[str, float] = field(default_factory=dict)


def build_load(folder: Path) -> Path:
    """Compile the load program."""
    program = folder / "load"
    subprocess.run(["cc", "-O2", "-o", str(program), str(_SOURCE)], check=True)
    return program


def run_load(
    program: Path, port: int, connections: int, rate: float, files: Sequence[Path]
) -> dict[str, Any]:
    """Send requests, and give what the load program says of the answers.

    Args:
        program: as `build_load` made it.
        port: of the server, on loopback.
        connections: how many at once.
        rate: requests a second; 0: as fast as they are answered.
        files: as `write_requests` wrote them.
    """
    command = [str(program), "127.0.0.1", str(port), str(connections), str(rate), "120", *map(str, files)]
    with on_core(LOAD_CORE):
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=180)
    if done.returncode != 0:
        raise RuntimeError(f"the load on port {port} failed: {done.stderr}")
    said: dict[str, Any] = json.loads(done.stdout)
    return said


class Measurement:
    """All contestants at once, started; and one turn after the other."""

    def __init__(self, contestants: Sequence[Contestant], world: World, folder: Path) -> None:
        self.contestants, self.world, self._folder = contestants, world, folder
        self.figures = {each.name: Figures() for each in contestants}
        self._program = build_load(folder)
        self._running: dict[str, Running] = {}

    def run(self, rounds: int, latency_rounds: int) -> dict[str, Figures]:
        """Measure everyone.

        Args:
            rounds: how many turns at full speed each has, for each kind.
            latency_rounds: how many at the fixed rate.
        """
        with ExitStack() as stack:
            for each in self.contestants:
                place = self._folder / each.name.replace(" ", "-").replace(",", "")
                place.mkdir()
                running = stack.enter_context(each.start(place, self.world, SERVER_CORE))
                self._running[each.name] = running
                figures = self.figures[each.name]
                figures.seconds_to_first_answer = running.seconds_to_first_answer
                figures.resident_at_start = running.resident_mebibytes()
            self._greet()
            for number in range(rounds):
                for kind in KINDS:
                    self._at_full_speed(kind)
                print(f"round {number + 1} of {rounds}", flush=True)
            rates = {kind: self._fixed_rate(kind) for kind in KINDS}
            for number in range(latency_rounds):
                for kind in KINDS:
                    self._at_a_fixed_rate(kind, rates[kind])
                print(f"latencies, round {number + 1} of {latency_rounds}", flush=True)
        return self.figures

    def fixed_rate(self, kind: str) -> float:
        """The rate of the latencies: half of what Envoy did."""
        return self._fixed_rate(kind)

    def _greet(self) -> None:
        # Each caller once, to each: what is repeated later was seen before.
        for each in self.contestants:
            self._load(each, list(self.world.callers), 0.0)

    def _stream(self, kind: str, count: int) -> list[bytes]:
        if kind == "warm":
            return self.world.callers[:1] * count
        if kind == "mixed":
            return self.world.mixed(count)
        return self.world.fresh(count) if kind == "cold" else spoiled(self.world.fresh(count))

    def _at_full_speed(self, kind: str) -> None:
        stream = self._stream(kind, REQUESTS[kind])
        for each in self.contestants:
            running, figures = self._running[each.name], self.figures[each.name]
            before = running.cpu_seconds()
            said = self._load(each, stream, 0.0)
            spent = running.cpu_seconds() - before
            self._check(each, kind, said)
            figures.rates.setdefault(kind, []).append(said["requests"] / spent)
            figures.walls.setdefault(kind, []).append(said["requests"] / said["seconds"])
            figures.resident[kind] = running.resident_mebibytes()

    def _fixed_rate(self, kind: str) -> float:
        walls = [
            statistics.median(self.figures[each.name].walls[kind])
            for each in self.contestants
            if each.name.startswith("Envoy")
        ]
        return max(walls) / 2

    def _at_a_fixed_rate(self, kind: str, rate: float) -> None:
        stream = self._stream(kind, int(rate * LATENCY_SECONDS))
        for each in self.contestants:
            figures = self.figures[each.name]
            if statistics.median(figures.walls[kind]) < 1.2 * rate:
                continue
            said = self._load(each, stream, rate)
            self._check(each, kind, said)
            figures.latencies.setdefault(kind, []).append((said["p50"], said["p99"], said["p999"]))

    def _load(self, contestant: Contestant, stream: Sequence[bytes], rate: float) -> dict[str, Any]:
        port = self._running[contestant.name].port
        with tempfile.TemporaryDirectory(dir=self._folder) as folder:
            files = write_requests(Path(folder), stream, contestant.path)
            said = run_load(self._program, port, CONNECTIONS, rate, files)
        if said["requests"] != len(stream):
            raise RuntimeError(f"{contestant.name}: {said} of {len(stream)} requests")
        return said

    @staticmethod
    def _check(contestant: Contestant, kind: str, said: Mapping[str, Any]) -> None:
        # A fast wrong answer is no answer.
        statuses = set(said["statuses"])
        is_refused = kind == "hostile" and contestant.can_refuse
        if is_refused != (statuses.isdisjoint({str(contestant.yes)})) or len(statuses) != 1:
            raise RuntimeError(f"{contestant.name} answered {said['statuses']} to {kind} requests")
