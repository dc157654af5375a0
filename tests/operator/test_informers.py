# SPDX-License-Identifier: Apache-2.0
"""Ages of watches: silence grows, anything received ends it, and one that never received is found sooner."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from watchword.kube.names import NamespacedName
from watchword.kube.watch import Endpoint
from watchword.operator import informers
from watchword.operator.cache import Cache
from watchword.operator.desk_objects import DeskObjects
from watchword.operator.informers import FIRST_SECONDS, Informers, SilentWatchError, silence_seconds
from watchword.operator.keys.sync import KeySync
from watchword.operator.owned_objects import OwnedObjects
from watchword.operator.pods import PodIndex
from watchword.operator.workqueue import WorkQueues

WINDOW = 60
KEYS = NamespacedName("tuist", "keys")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ages are looked at all the time."""
    monkeypatch.setattr(informers, "_BEAT_SECONDS", 0.001)


async def never(*_: Any) -> Any:
    raise AssertionError("no key is asked for here")


@asynccontextmanager
async def running(port: int, desk_namespace: str = "") -> Any:
    """Informers of an API server that cannot be reached, and their task."""
    cache = Cache()
    made = Informers(
        Endpoint(f"http://127.0.0.1:{port}"),
        cache,
        WorkQueues(),
        pods=PodIndex(cache.labels_of),
        owned=OwnedObjects(),
        keys=KeySync(on_change=lambda _: None, read_secret=never, fetch_own_cluster=never),
        desks=DeskObjects(desk_namespace),
        window_seconds=WINDOW,
    )
    task = asyncio.create_task(made.run())
    await asyncio.sleep(0.01)
    try:
        yield made, task
    finally:
        task.cancel()
        await asyncio.wait({task})


@pytest.fixture
def nowhere() -> Iterator[int]:
    """A port where nothing listens."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


def silent(task: asyncio.Task[None]) -> str:
    """Which watch ended the informers, and why."""
    error = task.exception()
    assert isinstance(error, BaseExceptionGroup)
    [cause] = error.exceptions
    assert isinstance(cause, SilentWatchError)
    return str(cause)


async def is_ended(task: asyncio.Task[None]) -> bool:
    await asyncio.wait({task}, timeout=0.2)
    return task.done()


def receive(made: Informers, age: float) -> None:
    """Each kind's watch received something so many seconds ago."""
    for name, watch in made._watches.items():
        if "/" not in name:
            watch.received_at = time.monotonic() - age


def test_an_age_grows_in_silence_and_anything_received_ends_it(nowhere: int) -> None:
    async def live() -> None:
        async with running(nowhere) as (made, _):
            made._begun_at = time.monotonic() - 9
            assert all(8 < age < 30 for age in made.ages().values())
            made._watches["pods"].received_at = time.monotonic()
            assert made.ages()["pods"] < 8 < made.ages()["namespaces"]

    asyncio.run(live())


@pytest.mark.parametrize(
    ("desk_namespace", "of_desks"),
    [("", ()), ("desks", ("tokendesks", "deskclients", "agentproviders", "desk-secrets", "desk-configmaps"))],
)
def test_every_kind_that_decides_something_has_one_watch(
    nowhere: int, desk_namespace: str, of_desks: tuple[str, ...]
) -> None:
    async def live() -> None:
        async with running(nowhere, desk_namespace) as (made, _):
            assert sorted(made.ages()) == sorted(
                {
                    *("clustertrustedissuers", "protectedservices", "trustedworkloads"),
                    *("namespaces", "serviceaccounts", "pods"),
                    *("configmaps", "roles", "rolebindings", "networkpolicies"),
                    *of_desks,
                }
            )
            assert not made.is_synced()

    asyncio.run(live())


@pytest.mark.parametrize(
    ("received", "age", "ends"),
    [
        (False, FIRST_SECONDS - 30, False),
        (False, FIRST_SECONDS + 1, True),
        (True, FIRST_SECONDS + 1, False),
        (True, silence_seconds(WINDOW) - 30, False),
        (True, silence_seconds(WINDOW) + 1, True),
    ],
)
def test_one_that_never_received_is_given_up_sooner_than_one_that_did(
    nowhere: int, received: bool, age: float, ends: bool
) -> None:
    async def live() -> None:
        async with running(nowhere) as (made, task):
            if received:
                receive(made, age)
            else:
                made._begun_at = time.monotonic() - age
            assert await is_ended(task) is ends
            if ends:
                assert "has received nothing for" in silent(task)
                assert "cannot be reached" in silent(task), "why there is nothing is said"

    asyncio.run(live())


def test_a_config_map_that_cannot_be_read_ends_nothing(nowhere: int) -> None:
    """One issuer names it: what it cannot read must not keep all others from being served."""

    async def live() -> None:
        async with running(nowhere) as (made, task):
            receive(made, 0)
            made.watch_config_maps([KEYS])
            await asyncio.sleep(0.01)
            made._begun_at = time.monotonic() - 10_000
            # It is younger than the leadership, and may never receive anything: /healthz must not fail by it.
            assert f"configmaps/{KEYS}" not in made.ages()
            made._watches[f"configmaps/{KEYS}"].received_at = time.monotonic() - 9_000
            assert made.ages()[f"configmaps/{KEYS}"] > 8_000
            assert not await is_ended(task)
            receive(made, silence_seconds(WINDOW) + 1)
            assert await is_ended(task)

    asyncio.run(live())
