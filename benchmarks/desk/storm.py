# SPDX-License-Identifier: Apache-2.0
"""`python -m benchmarks.desk.storm`: what 10,000 anonymous registrations a minute cost an exchange.

Exchanges are sent as fast as they are answered, in turn with and without the storm, which comes at its own
rate whatever it is answered. It comes from many addresses as far as the desk can tell: its limit of one
address is off, and what bounds the storm is the limit of all.
"""

import argparse
import itertools
import os
import platform
import signal
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from benchmarks.desk.load import REPEATED, exchanges, send
from benchmarks.desk.measure import load_average
from benchmarks.load import resident_mebibytes
from benchmarks.peers.measure import SERVER_CORE, build_load
from benchmarks.peers.process import on_core
from benchmarks.table import markdown
from testing.agents import agent_objects, agents_spec
from testing.desk_process import DeskProcess

A_MINUTE = 10_000


def main() -> None:
    """Measure, and print a table; or be the storm itself."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.desk.storm", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="turns with and without the storm (7)")
    parser.add_argument("--count", type=int, default=8192, help="exchanges in each turn (8192)")
    parser.add_argument("--be-the-storm", type=int, metavar="PORT", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.be_the_storm is not None:
        blow(options.be_the_storm)
        return
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        print(f"Python {platform.python_version()}, {platform.machine()}; load average {load_average()}\n")
        print(measure(Path(name), stack, rounds=options.rounds, count=options.count))


def measure(folder: Path, stack: ExitStack, *, rounds: int, count: int) -> str:
    """The table."""
    database, program = folder / "desk.db", build_load(folder)
    process = DeskProcess(folder, f"sqlite:///{database}", "--agents-per-hour", "0")
    process.write(*agent_objects(agents_spec()))
    with on_core(SERVER_CORE):
        url = process.start()
    stack.callback(process.stop)
    port, requests = int(url.rpartition(":")[2]), exchanges(REPEATED)
    send(program, folder, port, requests, count)
    seconds: dict[bool, list[float]] = {False: [], True: []}
    p99: dict[bool, list[float]] = {False: [], True: []}
    answered: list[str] = []
    for with_storm in itertools.islice(itertools.cycle((False, True)), 2 * rounds):
        storm = _storm(port) if with_storm else None
        said = send(program, folder, port, requests, count)
        seconds[with_storm].append(said["seconds"])
        p99[with_storm].append(said["p99"])
        if storm is not None:
            storm.terminate()
            answered.append(storm.communicate()[0].strip().splitlines()[-1])
    [(registered,)] = sqlite3.connect(database).execute("SELECT count(*) FROM agent").fetchall()
    ratios = [after / before for before, after in zip(seconds[False], seconds[True], strict=True)]
    rows = [
        (
            "exchanges a second",
            *(f"{count / statistics.median(seconds[each]):,.0f}" for each in (False, True)),
        ),
        ("p99 ms", *(f"{statistics.median(p99[each]) / 1000:.1f}" for each in (False, True))),
    ]
    lines = [
        markdown(("", "alone", "in the storm"), rows),
        "",
        f"An exchange takes {statistics.median(ratios):.3f} times as long in the storm (median of {rounds}).",
        f"The storm's requests of each turn, sent and refused: {'; '.join(answered)}.",
        f"Registrations in the store after it: {registered}.",
        f"The desk has {resident_mebibytes(process.pid):.0f} MiB.",
    ]
    return "\n".join(lines)


def _storm(port: int) -> subprocess.Popen[str]:
    storm = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.desk.storm", "--be-the-storm", str(port)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert storm.stdout is not None
    storm.stdout.readline()
    return storm


def blow(port: int) -> None:
    """Register at the rate of the storm until terminated; prints how many were sent, and how many refused."""
    body = b'{"type": "anonymous"}'
    request = (
        b"POST /agent/identity HTTP/1.1\r\nHost: desk\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    )
    links = itertools.cycle([socket.create_connection(("127.0.0.1", port)) for _ in range(8)])
    sent = refused = 0
    is_over = False

    def stop(*_: object) -> None:
        nonlocal is_over
        is_over = True

    signal.signal(signal.SIGTERM, stop)
    print("ready", flush=True)
    begun = time.monotonic()
    while not is_over:
        time.sleep(max(0.0, begun + sent * 60 / A_MINUTE - time.monotonic()))
        link = next(links)
        link.sendall(request)
        answer = link.recv(65536)
        sent, refused = sent + 1, refused + answer.startswith(b"HTTP/1.1 429")
    print(f"{sent} and {refused}", flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
