# SPDX-License-Identifier: Apache-2.0
"""All of kopf's events are lost, and nothing changes; a watch that stays silent ends the leadership.

What is true comes from the informers. Their window is as in production where kopf is deaf, so what is seen
there was seen before any watch was made again.
"""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import kopf
import pytest

from testing.controlplane import ApiError, Cluster, wait_until
from testing.faults.tcpproxy import TcpProxy, tcp_proxy
from testing.manifests import issuer, service, workload
from testing.operator_process import kubeconfig_of
from watchword.kube.kubeconfig import connect
from watchword.kube.leases import LeaseHold
from watchword.operator import informers, manager
from watchword.operator.leadership import LeadershipThread
from watchword.operator.manager import Manager
from watchword.operator.metrics import OperatorMetrics
from watchword.operator.settings import OperatorSettings
from watchword.trust import decode_bundle

PLACE = "/apis/watchword.dev/v1alpha1"
MERGE = "application/merge-patch+json"
_WINDOW_SECONDS = 60


def leading(kubeconfig: Path, *, window_seconds: int) -> LeadershipThread:
    """The work of the only operator there is."""
    hold, connection = LeaseHold(), connect(str(kubeconfig))
    hold.held_until, hold.leads_from = float("inf"), 0.0
    settings = OperatorSettings(watch_window_seconds=window_seconds)
    work = Manager(settings, connection, hold, OperatorMetrics())
    return LeadershipThread(work, connection, window_seconds=window_seconds)


def close(proxy: TcpProxy) -> None:
    """End what was swallowed too: the leader that used these connections is gone."""
    proxy.refuse()
    wait_until(lambda: proxy.open == 0, what="the proxy's connections are closed")
    with warnings.catch_warnings():
        # A request that timed out closes its connection by a TLS shutdown, for which asyncio waits 30 seconds
        # where the peer is gone; the leader's loop ended before.
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


class Installation:
    """An operator in this process of whose kopf nothing is heard, and the bundle that it publishes."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.dropped: list[tuple[Any, str]] = []

    def put(self, *manifests: Mapping[str, Any]) -> None:
        for manifest in manifests:
            self.cluster.apply(dict(manifest))

    def edit(self, path: str, body: Mapping[str, Any]) -> None:
        self.cluster.request("PATCH", path, dict(body), content_type=MERGE)

    def trusted(self) -> dict[str, bool]:
        """Name and whether it is suspended of each workload in the bundle."""
        try:
            path = "/api/v1/namespaces/tuist/configmaps/watchword-bundle-tuist-server"
            stored = self.cluster.request("GET", path)
        except ApiError:
            return {}
        bundle = decode_bundle(stored["data"]["bundle.json"].encode())
        return {each.name: each.suspended for each in bundle.workloads}

    def wait_for(self, trusted: Mapping[str, bool]) -> None:
        wait_until(lambda: self.trusted() == trusted, what=f"the bundle trusts {trusted}", timeout_seconds=30)

    def registry(self, _: Callable[[str, Mapping[str, str]], None]) -> kopf.OperatorRegistry:
        """What stands in for the manager's: it drops every event of kopf's, and notes that it came."""
        made = kopf.OperatorRegistry()

        async def drop(event: Mapping[str, Any], **_: Any) -> None:
            self.dropped.append((event["type"], event["object"]["metadata"]["name"]))

        kopf.on.event("", "v1", "namespaces", id="drop", registry=made)(drop)
        return made


@pytest.fixture(scope="module")
def installation(crd_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    made = Installation(crd_cluster)
    crd_cluster.create_namespace("tuist")
    kubeconfig = kubeconfig_of(crd_cluster, tmp_path_factory.mktemp("deaf") / "kubeconfig")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(manager, "namespace_registry", made.registry)
        leadership = leading(kubeconfig, window_seconds=_WINDOW_SECONDS)
        leadership.start()
        try:
            wait_until(leadership.is_warm, what="it is warm", timeout_seconds=60)
            yield made
            assert not leadership.ended.done(), "the leadership ended by itself"
        finally:
            leadership.stop()
            leadership.ended.result(30)


def test_everything_that_is_edited_while_all_of_kopfs_events_are_lost_comes_into_the_bundle(
    installation: Installation,
) -> None:
    installation.put(issuer(), service(), workload("stays"), workload("leaves", "other"))
    installation.wait_for({"stays": False, "leaves": False})
    workloads = f"{PLACE}/namespaces/tuist/trustedworkloads"
    installation.put(workload("comes", "third"))
    installation.wait_for({"stays": False, "leaves": False, "comes": False})
    installation.edit(f"{workloads}/stays", {"spec": {"suspend": True}})
    installation.wait_for({"stays": True, "leaves": False, "comes": False})
    installation.cluster.request("DELETE", f"{workloads}/leaves")
    installation.wait_for({"stays": True, "comes": False})
    installation.edit(
        f"{PLACE}/clustertrustedissuers/production",
        {"spec": {"allowedNamespaces": {"matchLabels": {"team": "a"}}}},
    )
    installation.wait_for({})
    installation.edit("/api/v1/namespaces/tuist", {"metadata": {"labels": {"team": "a"}}})
    installation.wait_for({"stays": True, "comes": False})
    wait_until(lambda: ("MODIFIED", "tuist") in installation.dropped, what="an event of kopf's was lost")


def test_watches_that_receive_nothing_any_more_end_the_leadership_and_say_which(
    crd_cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connections stand, new ones too, and no byte comes through: nothing else can tell."""
    monkeypatch.setattr(informers, "silence_seconds", lambda _: 12.0)
    host, _, port = crd_cluster.url.rpartition("//")[2].partition(":")
    with tcp_proxy(host, int(port)) as proxy:
        kubeconfig = kubeconfig_of(crd_cluster, tmp_path / "kubeconfig", server=f"https://{proxy.address}")
        leadership = leading(kubeconfig, window_seconds=5)
        leadership.start()
        try:
            wait_until(leadership.is_warm, what="it is warm", timeout_seconds=60)
            proxy.swallow()
            wait_until(leadership.ended.done, what="the leadership ends", timeout_seconds=90)
        finally:
            leadership.stop()
            error = leadership.ended.exception(60)
            close(proxy)
    assert isinstance(error, informers.SilentWatchError)
    assert "has received nothing for" in str(error)
