# SPDX-License-Identifier: Apache-2.0
"""Two operators under a stream of edits: the leader is killed, frozen or stopped, again and again.

`WATCHWORD_FAILOVERS` (2 unless said) is how often it is killed, and as often stopped; it is frozen half as
often, rounded up. By hand 20. Each kill takes about 12 seconds, which is what the Lease takes to run out.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from testing.controlplane import Binaries, start_cluster, start_etcd, wait_until
from testing.faults.edits import EditStream, Witness, accounts_exist
from testing.faults.standing import Onlooker, Standing, standing
from testing.operator_process import Replica

KILLS = int(os.environ.get("WATCHWORD_FAILOVERS", "2"))


@pytest.fixture(scope="module")
def place(control_plane: Binaries, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Standing]:
    """An installation without an operator."""
    folder = tmp_path_factory.mktemp("failover")
    with (
        start_etcd(folder / "etcd", binaries=control_plane) as store,
        start_cluster(folder / "cluster", etcd=store, binaries=control_plane) as running,
        standing(running, folder) as made,
    ):
        accounts_exist(made)
        yield made


class Crew:
    """Two replicas at any time; whoever ends is replaced."""

    def __init__(self, place: Standing, stack: ExitStack) -> None:
        self._place, self._stack = place, stack
        self._names = itertools.count()
        self.replicas = [self._hire(), self._hire()]

    def _hire(self) -> Replica:
        return self._stack.enter_context(self._place.running(f"replica-{next(self._names)}"))

    def leader(self) -> Replica:
        """Waits until exactly one leads and is warm."""
        wait_until(lambda: len(self._leaders()) == 1, what="one leads", timeout_seconds=90)
        [leader] = self._leaders()
        return leader

    def replace(self, one: Replica) -> None:
        self.replicas = [each for each in self.replicas if each is not one]
        self.replicas.append(self._hire())

    def _leaders(self) -> list[Replica]:
        return [each for each in self.replicas if each.is_leading()]


@pytest.fixture(scope="module")
def crew(place: Standing) -> Iterator[Crew]:
    with ExitStack() as stack:
        yield Crew(place, stack)


def end_by_kill(leader: Replica, crew: Crew) -> None:
    leader.kill()
    crew.replace(leader)


def end_by_stop(leader: Replica, crew: Crew) -> None:
    assert leader.stop() == 0
    crew.replace(leader)


def freeze_until_replaced(leader: Replica, crew: Crew) -> None:
    """As a node that hangs does it; its writes may come through when it thaws."""
    leader.freeze()
    [other] = [each for each in crew.replicas if each is not leader]
    other.wait_until(other.is_leading, "the other leads")
    leader.thaw()


@pytest.mark.parametrize(
    ("end", "times"),
    [(end_by_kill, KILLS), (end_by_stop, KILLS), (freeze_until_replaced, (KILLS + 1) // 2)],
    ids=["kill", "stop", "freeze"],
)
def test_no_generation_goes_back_and_no_edit_is_lost(
    place: Standing, crew: Crew, end: Callable[[Replica, Crew], None], times: int
) -> None:
    crew.leader()
    name, trusted = place.newcomer()
    place.wait_until_in(trusted)
    _, stranger = place.account()
    with (
        Witness(place.cluster) as witness,
        Onlooker(place.gate, trusted=(trusted,), strangers=(stranger,)) as onlooker,
    ):
        edits = EditStream(place, seed=7)
        with edits:
            for _ in range(times):
                end(crew.leader(), crew)
            crew.leader()
        wait_until(
            lambda: edits.published() == edits.wanted, what="every edit is in the bundle", timeout_seconds=60
        )
    assert witness.steps_back() == []
    assert witness.contradictions() == {}
    assert len(witness.generations) > times
    assert onlooker.wrong == []
    edits.clean_up()
    place.distrust(name)
    place.wait_until_out(trusted)
