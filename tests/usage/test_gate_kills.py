# SPDX-License-Identifier: Apache-2.0
"""The gate's promise over HTTP: what got a 2xx counts once, whoever of gate and database dies in between.

What was sent is kept outside, in the oracle; no sum is checked against the store's own. A few rounds by
default; WATCHWORD_KILL_ROUNDS=100 for the full count.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path

import httpx
import msgspec
import pytest

from testing.clickhouse_server import ClickHouseServer
from testing.gate_process import Gate, running_gate, write_bundle
from testing.manifests import issuer, service, workload
from testing.postgres_server import PostgresServer
from testing.usage_samples import METERS, envelope, events
from tests.gate.test_process import token
from tests.usage.killrounds import ROUNDS
from tests.usage.oracle import Oracle
from watchword.usage import BATCHED
from watchword.usage.times import day_at, month_start

PATH = "/api/internal/usage/events"
CLIENTS, SIZE = 3, 20
MONTH = month_start(day_at(time.time()))
SPECS = [
    {"name": m.name, "eventType": m.event_type, "aggregation": m.aggregation}
    | ({"value": m.value} if m.value else {})
    for m in METERS
]
GRANTS = [{"scopes": ["account:usage:read", "account:usage:write"], "accounts": ["*"]}]


def batch(client: int, number: int) -> list[dict[str, object]]:
    return [
        envelope(
            id=f"{client}-{number}-{place}",
            source=f"/client/{client}",
            subject=("acme", "umbrella")[place % 2],
            time=f"{MONTH}T00:00:00Z",
            data={"bytes": number + place / 8, "user": f"u{place % 7}"},
        )
        for place in range(SIZE)
    ]


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    objects = (issuer(), service(usage={"meters": SPECS}), workload(grants=GRANTS))
    return write_bundle(tmp_path / "bundle.json", *objects)


class Client(threading.Thread):
    """Sends batches in order, each until it gets a 2xx, and notes those; stops when told to or alone."""

    def __init__(self, number: int, first: int, last: int) -> None:
        super().__init__(daemon=True)
        self.number, self.next, self.last = number, first, last
        self.url = ""
        self.refusals: list[tuple[int, str]] = []
        self.stop = threading.Event()

    def run(self) -> None:
        with httpx.Client(trust_env=False, timeout=30) as http:
            while self.next < self.last and not self.stop.is_set():
                content = msgspec.json.encode(batch(self.number, self.next))
                headers = {"authorization": f"Bearer {token().decode()}", "content-type": BATCHED}
                try:
                    answer = http.post(self.url + PATH, content=content, headers=headers)
                except httpx.TransportError:
                    time.sleep(0.02)
                    continue
                if answer.status_code == 200:
                    self.next += 1
                else:
                    self.refusals.append((answer.status_code, answer.headers.get("retry-after", "")))
                    time.sleep(0.05)


def assert_as_the_oracle(gate: Gate, sent: dict[int, int]) -> None:
    """The amounts that the gate answers are those of all that was sent, counted outside of it."""
    oracle = Oracle()
    for client, count in sent.items():
        for number in range(count):
            oracle.ingest(events(*batch(client, number)), METERS)
    following = MONTH.replace(day=28).toordinal() + 4
    end = month_start(type(MONTH).fromordinal(following))
    for account in ("acme", "umbrella"):
        answer = httpx.get(
            f"{gate.url}/api/internal/accounts/{account}/usage",
            headers={"authorization": f"Bearer {token().decode()}"},
            trust_env=False,
            timeout=30,
        )
        expected = oracle.totals(account, MONTH, end, METERS)
        found = {name: Fraction(str(number)) for name, number in answer.json()["meters"].items()}
        assert found == expected


@pytest.fixture(
    params=[
        "sqlite",
        pytest.param("postgresql", marks=pytest.mark.postgresql),
        pytest.param("clickhouse", marks=pytest.mark.clickhouse),
    ]
)
def dsn(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/usage.db"
    else:
        fixture = "postgres" if request.param == "postgresql" else "clickhouse"
        server: PostgresServer | ClickHouseServer = request.getfixturevalue(fixture)
        yield server.dsn(f"kills_{os.getpid()}")


def test_a_gate_that_is_killed_mid_batch_loses_nothing_and_counts_nothing_twice(
    bundle: Path, dsn: str
) -> None:
    chance = random.Random(ROUNDS)
    sent = dict.fromkeys(range(CLIENTS), 0)
    for round_ in range(ROUNDS):
        clients = [Client(number, sent[number], 10**6) for number in sent]
        with ExitStack() as stack:
            gate = stack.enter_context(
                running_gate(bundle, "--usage-dsn", dsn, log=bundle.parent / f"{round_}.log")
            )
            for client in clients:
                client.url = gate.url
                client.start()
            enough = sum(sent.values()) + chance.randrange(5, 25)
            while sum(client.next for client in clients) < enough:
                time.sleep(0.001)
            os.kill(gate.pid, signal.SIGKILL)
        for client in clients:
            client.stop.set()
            client.join(timeout=60)
            # What was in flight is sent again in the next round, as a caller would; all before it got a 2xx.
            sent[client.number] = client.next
    with running_gate(bundle, "--usage-dsn", dsn, log=bundle.parent / "last.log") as gate:
        clients = [Client(number, 0, count + 1) for number, count in sent.items()]
        for client in clients:
            client.url = gate.url
            client.start()
        for client in clients:
            client.join(timeout=300)
            assert client.next == client.last
        assert_as_the_oracle(gate, {number: count + 1 for number, count in sent.items()})


@pytest.mark.postgresql
@pytest.mark.usefixtures("postgres")
def test_a_gate_whose_database_is_killed_says_so_and_goes_on_by_itself(bundle: Path) -> None:
    server = PostgresServer()
    chance = random.Random(ROUNDS)
    try:
        server.start()
        with running_gate(bundle, "--usage-dsn", server.dsn(), log=bundle.parent / "gate.log") as gate:
            clients = [Client(number, 0, 10**6) for number in range(CLIENTS)]
            for client in clients:
                client.url = gate.url
                client.start()
            for _ in range(ROUNDS):
                enough = sum(client.next for client in clients) + chance.randrange(5, 25)
                while sum(client.next for client in clients) < enough:
                    time.sleep(0.001)
                before = sum(len(client.refusals) for client in clients)
                server.kill()
                while sum(len(client.refusals) for client in clients) == before:
                    time.sleep(0.01)
                server.start()
            enough = sum(client.next for client in clients) + 10
            while sum(client.next for client in clients) < enough:
                time.sleep(0.001)
            for client in clients:
                client.stop.set()
                client.join(timeout=60)
            # Nothing but "come again", with a time to wait.
            assert {refusal for client in clients for refusal in client.refusals} == {(503, "2")}
            # What was in flight may be stored, its answer lost: sent again, it counts once.
            last = [Client(client.number, client.next, client.next + 1) for client in clients]
            for client in last:
                client.url = gate.url
                client.start()
            for client in last:
                client.join(timeout=60)
            assert_as_the_oracle(gate, {client.number: client.next for client in last})
    finally:
        server.stop()


@pytest.mark.postgresql
@pytest.mark.usefixtures("postgres")
def test_a_gate_starts_before_its_database_and_counts_once_it_is_there(bundle: Path) -> None:
    server = PostgresServer()
    try:
        with running_gate(bundle, "--usage-dsn", server.dsn(), log=bundle.parent / "gate.log") as gate:
            client = Client(0, 0, 3)
            client.url = gate.url
            client.start()
            while not client.refusals:
                time.sleep(0.01)
            assert client.next == 0
            server.start()
            client.join(timeout=120)
            assert client.next == 3
            assert_as_the_oracle(gate, {0: 3})
    finally:
        server.stop()
