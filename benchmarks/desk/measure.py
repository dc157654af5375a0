# SPDX-License-Identifier: Apache-2.0
"""The rounds: each kind of work goes to each server in turn, so that a bad minute hits all alike.

Every server has one core, the load the other one. What counts is CPU time: what the kernel says each thread
of a process was on a core, in nanoseconds.
"""

import os
import statistics
import subprocess
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from benchmarks.desk import bare, keycloak
from benchmarks.desk.load import FRESH, REPEATED, exchanges, introspections, send
from benchmarks.peers.measure import SERVER_CORE, build_load
from benchmarks.peers.process import Running, free_port, on_core
from testing.desk_process import DeskProcess
from testing.keycloak import running_keycloak
from testing.tokens import claims_of
from watchword.identity.encoding import decode_base64url
from watchword.trust.desk_tokens import DeskClaims, read_desk_claims

# Slices of a thousand requests of each kind, until the JVM has compiled what it will compile.
WARM_UP = {"Keycloak": 8, "the desk": 3, "bare": 2}
# Keycloak takes several times as long, and its figures are as steady with fewer.
SHARE = {"Keycloak": 4}
EXCHANGE, EXCHANGE_FRESH, INTROSPECT, ANSWER = (
    "exchange",
    "exchange of a new token",
    "introspection",
    "answer",
)


@dataclass
class Figures:
    """What was measured, each list with one value a round.

    Attributes:
        costs: CPU seconds of one request, by server and kind of work.
        rates: requests a second, by the same.
        p99: microseconds, by the same.
        sign: CPU seconds of a bare verification and signature.
        read: CPU seconds of a bare indexed read.
        resident: MiB after it all, by server.
    """

    costs: dict[tuple[str, str], list[float]] = field(default_factory=lambda: defaultdict(list))
    rates: dict[tuple[str, str], list[float]] = field(default_factory=lambda: defaultdict(list))
    p99: dict[tuple[str, str], list[float]] = field(default_factory=lambda: defaultdict(list))
    sign: list[float] = field(default_factory=list)
    read: list[float] = field(default_factory=list)
    resident: dict[str, float] = field(default_factory=dict)

    def cost(self, server: str, work: str) -> float:
        """The median."""
        return statistics.median(self.costs[server, work])


@dataclass(frozen=True)
class Contestant:
    """A server and what it is sent.

    Attributes:
        name: as the table says it.
        running: its port and its processes.
        work: requests by kind.
    """

    name: str
    running: Running
    work: Mapping[str, Sequence[bytes]]


def measure(folder: Path, *, rounds: int, count: int, with_keycloak: bool = True) -> Figures:
    """Measure everyone.

    Args:
        folder: for all files; the desk's store is there, and so are its syncs to disk.
        rounds: how many turns each has, for each kind of work.
        count: requests in each turn.
        with_keycloak: whether it takes part.
    """
    figures, program = Figures(), build_load(folder)
    with ExitStack() as stack:
        database = folder / "desk.db"
        contestants = [_desk(stack, folder, database)]
        if with_keycloak:
            contestants.append(_keycloak(stack, folder))
        contestants.append(_bare(stack, contestants[0].work[INTROSPECT]))
        for each in contestants:
            for requests in each.work.values():
                for _ in range(WARM_UP[each.name]):
                    send(program, folder, each.running.port, requests, 1000)
        token = _first_token(contestants[0])
        for number in range(rounds):
            for each in contestants:
                for work, requests in each.work.items():
                    before = each.running.cpu_seconds()
                    sent = count // SHARE.get(each.name, 1)
                    said = send(program, folder, each.running.port, requests, sent)
                    figures.costs[each.name, work].append((each.running.cpu_seconds() - before) / sent)
                    figures.rates[each.name, work].append(sent / said["seconds"])
                    figures.p99[each.name, work].append(said["p99"])
            with on_core(SERVER_CORE):
                figures.sign.append(bare.verify_and_sign(_claims(token)))
                figures.read.append(bare.indexed_read(str(database), claims_of(token)["jti"]))
            print(f"round {number + 1} of {rounds}", flush=True)
        figures.resident = {each.name: each.running.resident_mebibytes() for each in contestants}
    return figures


def _desk(stack: ExitStack, folder: Path, database: Path) -> Contestant:
    process = DeskProcess(folder, f"sqlite:///{database}")
    with on_core(SERVER_CORE):
        url = process.start()
    stack.callback(process.stop)
    repeated = exchanges(REPEATED)
    work = {
        EXCHANGE: repeated,
        EXCHANGE_FRESH: exchanges(FRESH),
        INTROSPECT: introspections([_exchanged(url, each) for each in repeated]),
    }
    return Contestant("the desk", Running(_port(url), (process.pid,), 0.0), work)


def _keycloak(stack: ExitStack, folder: Path) -> Contestant:
    place = folder / "peer"
    place.mkdir()
    pinned = ["taskset", "-c", str(SERVER_CORE)]
    running = stack.enter_context(running_keycloak(place, free_port(), keycloak.realm(), before=pinned))
    work = {
        EXCHANGE: keycloak.exchange_requests(running, REPEATED),
        INTROSPECT: keycloak.introspection_requests(running, REPEATED),
    }
    return Contestant("Keycloak", Running(running.port, (running.pid,), 0.0), work)


def _bare(stack: ExitStack, requests: Sequence[bytes]) -> Contestant:
    with on_core(SERVER_CORE):
        process = subprocess.Popen([sys.executable, "-m", "benchmarks.desk.bare"], stdout=subprocess.PIPE)
    stack.callback(process.wait)
    stack.callback(process.kill)
    assert process.stdout is not None
    port = _port(process.stdout.readline().decode().strip())
    return Contestant("bare", Running(port, (process.pid,), 0.0), {ANSWER: requests})


def _port(url: str) -> int:
    return int(url.rpartition(":")[2])


def _exchanged(url: str, request: bytes) -> str:
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    body = request.partition(b"\r\n\r\n")[2]
    answer = httpx.post(f"{url}/oauth2/token", content=body, headers=headers, trust_env=False)
    token: str = answer.json()["access_token"]
    return token


def _first_token(desk: Contestant) -> str:
    return _exchanged(f"http://127.0.0.1:{desk.running.port}", desk.work[EXCHANGE][0])


def _claims(token: str) -> DeskClaims:
    claims = read_desk_claims(decode_base64url(token.split(".")[1].encode()))
    assert isinstance(claims, DeskClaims), claims
    return claims


def load_average() -> str:
    """How busy the machine is, with everyone's work."""
    return " ".join(f"{each:.1f}" for each in os.getloadavg())
