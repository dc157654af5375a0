# SPDX-License-Identifier: Apache-2.0
"""An operator that is there before its CRDs, as in a chart's first install."""

from __future__ import annotations

import sys
from pathlib import Path

import httpx

from testing.controlplane import Cluster
from testing.operator_process import give_back_lease, running_operator
from watchword.trust.crd.definitions import definitions

TOY = (sys.executable, "-m", "tests.cluster.operator.toy")


def test_it_waits_for_them_says_so_and_goes_on_by_itself(own_cluster: Cluster, tmp_path: Path) -> None:
    give_back_lease(own_cluster)
    with running_operator(own_cluster.kubeconfig, tmp_path, command=TOY) as replica:
        replica.wait_until(lambda: "not in this cluster" in replica.ready().get("why", ""), "it says so")
        document = replica.ready()
        for plural in ("clustertrustedissuers", "protectedservices", "trustedworkloads"):
            assert f"{plural}.watchword.dev" in document["why"]
        assert "kubectl apply" in document["remedy"]
        assert replica.health().status_code == httpx.codes.OK, "restarting it would mend nothing"
        assert [told for told in replica.told() if "term" in told] == [], "no work has begun"
        for definition in definitions():
            own_cluster.apply(definition)
        replica.wait_until(replica.is_leading, "it goes on")
        assert replica.says("what was missing is there now")
