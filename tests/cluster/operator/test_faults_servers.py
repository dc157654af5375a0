# SPDX-License-Identifier: Apache-2.0
"""The API server and etcd go, hang and come back: callers notice nothing, edits made afterwards count, and no
process had to be restarted for it.

`WATCHWORD_OUTAGE_SECONDS` (12 unless said) is how long they are away; by hand 60.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import pytest

from testing.faults.standing import Onlooker, Standing

OUTAGE = float(os.environ.get("WATCHWORD_OUTAGE_SECONDS", "12"))


def kill_the_api_server(installation: Standing) -> None:
    installation.cluster.program.kill()
    time.sleep(OUTAGE)
    installation.cluster.program.start()


def kill_etcd(installation: Standing) -> None:
    installation.cluster.etcd.program.kill()
    time.sleep(OUTAGE)
    installation.cluster.etcd.program.start()


def kill_both(installation: Standing) -> None:
    installation.cluster.program.kill()
    installation.cluster.etcd.program.kill()
    time.sleep(OUTAGE)
    installation.cluster.etcd.program.start()
    installation.cluster.program.start()


def freeze_the_api_server(installation: Standing) -> None:
    """It keeps its connections and answers nothing."""
    installation.cluster.program.freeze()
    time.sleep(OUTAGE)
    installation.cluster.program.thaw()


def freeze_etcd(installation: Standing) -> None:
    """The API server answers, with errors and after time-outs."""
    installation.cluster.etcd.program.freeze()
    time.sleep(OUTAGE)
    installation.cluster.etcd.program.thaw()


@pytest.mark.parametrize(
    "fault",
    [kill_the_api_server, kill_etcd, kill_both, freeze_the_api_server, freeze_etcd],
    ids=lambda fault: fault.__name__,
)
def test_callers_notice_nothing_and_edits_count_afterwards(
    installation: Standing, fault: Callable[[Standing], None]
) -> None:
    _, trusted = installation.newcomer()
    installation.wait_until_in(trusted)
    _, stranger = installation.account()
    generation, _ = installation.bundle()
    with Onlooker(installation.gate, trusted=(trusted,), strangers=(stranger,)) as onlooker:
        fault(installation)
        installation.check_that_edits_count()
    assert onlooker.wrong == []
    assert onlooker.asked > 100
    assert installation.bundle()[0] > generation
