# SPDX-License-Identifier: Apache-2.0
"""An etcd that is restored from a backup: what was written since is gone, and versions begin again before it.

An API server takes a watch from a version that its store has not reached, answers 200, and tells nothing
until the store has come that far. Whoever resumes his watches after a restore is deaf and does not know it.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from testing.faults.standing import Onlooker, Standing


def test_edits_count_again_and_nobody_new_gets_in(installation: Standing, tmp_path: Path) -> None:
    cluster, etcd = installation.cluster, installation.cluster.etcd
    _, trusted = installation.newcomer()
    dropped_name, dropped = installation.newcomer()
    for token in (trusted, dropped):
        installation.wait_until_in(token)
    cluster.program.kill()
    etcd.program.kill()
    shutil.copytree(etcd.data, tmp_path / "backup")
    etcd.program.start()
    cluster.program.start()
    installation.distrust(dropped_name)
    installation.wait_until_out(dropped)
    # Far enough that nothing afterwards reaches these versions again by itself.
    for number in range(300):
        cluster.apply(
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"namespace": "default", "name": "unrelated"},
                "data": {"number": str(number)},
            }
        )
    with Onlooker(installation.gate, trusted=(trusted,), strangers=(dropped,)) as onlooker:
        cluster.program.kill()
        etcd.program.kill()
        shutil.rmtree(etcd.data)
        shutil.copytree(tmp_path / "backup", etcd.data)
        etcd.program.start()
        cluster.program.start()
        # The backup trusts it: an owner has to say again what was said after the backup was made.
        installation.distrust(dropped_name)
        installation.check_that_edits_count()
    assert onlooker.wrong == []
