# SPDX-License-Identifier: Apache-2.0
"""A watch against a real API server: what it tells is what is there, through every fault on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from testing.controlplane import Cluster
from testing.controlplane.certificates import new_authority
from testing.controlplane.cluster import ADMINISTRATOR
from testing.faults.tcpproxy import TcpProxy, tcp_proxy
from tests.kube.following import following, itself
from watchword.kube.watch import Endpoint, Part, PartialObject, Recovered, Removed, Resource, Upserted, Watch
from watchword.kube.watch.messages import FullMeta


class ConfigMap(Part, frozen=True, gc=False):
    """As much of a ConfigMap as these tests read."""

    metadata: FullMeta
    data: dict[str, str] | None = None


def endpoint_of(cluster: Cluster, proxy: TcpProxy | None = None, user: str = ADMINISTRATOR) -> Endpoint:
    url = cluster.url if proxy is None else f"https://{proxy.address}"
    return Endpoint(url, ca_file=str(cluster.authority), token=cluster.bearer(user))


def config_maps(namespace: str, **given: Any) -> Resource:
    return Resource(plural="configmaps", namespace=namespace, **given)


def put(cluster: Cluster, namespace: str, name: str, **data: str) -> str:
    """Write a ConfigMap and return its new resourceVersion."""
    stored = cluster.apply(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"namespace": namespace, "name": name, "labels": {"of": "test"}},
            "data": data,
        }
    )
    version: str = stored["metadata"]["resourceVersion"]
    return version


def delete(cluster: Cluster, namespace: str, name: str) -> None:
    cluster.request("DELETE", f"/api/v1/namespaces/{namespace}/configmaps/{name}")


@pytest.fixture
def proxy(cluster: Cluster) -> Iterator[TcpProxy]:
    host, port = cluster.url.removeprefix("https://").split(":")
    with tcp_proxy(host, int(port)) as running:
        yield running


@pytest.fixture
def namespace(cluster: Cluster, new_namespace: Callable[..., str]) -> str:
    return new_namespace(cluster)


def watch_of(endpoint: Endpoint, resource: Resource, kind: type[Any] = ConfigMap, **given: Any) -> Watch[Any]:
    return Watch(endpoint, resource, kind, itself, **{"window_seconds": 10, "grace_seconds": 2, **given})


def test_what_is_there_is_listed_page_by_page_and_then_followed(cluster: Cluster, namespace: str) -> None:
    for number in range(7):
        put(cluster, namespace, f"c{number}", n=str(number))
    with following(watch_of(endpoint_of(cluster), config_maps(namespace), page_size=3)) as seen:
        seen.until_synced()
        assert {name: each.data["n"] for name, each in seen.told.items()} == {
            f"c{n}": str(n) for n in range(7)
        }
        put(cluster, namespace, "c8", n="8")
        put(cluster, namespace, "c1", n="changed")
        delete(cluster, namespace, "c2")
        seen.until_there("c0", "c1", "c3", "c4", "c5", "c6", "c8")
        assert seen.told["c1"].data == {"n": "changed"}
        assert seen.troubles == []


def test_selectors_are_the_servers_work(cluster: Cluster, namespace: str) -> None:
    put(cluster, namespace, "one")
    put(cluster, namespace, "two")
    by_field = Resource.one("configmaps", namespace, "one")
    by_label = config_maps(namespace, label_selector="of=nobody")
    with (
        following(watch_of(endpoint_of(cluster), by_field)) as one,
        following(watch_of(endpoint_of(cluster), by_label)) as none,
    ):
        one.until_there("one")
        none.until_synced()
        assert none.told == {}
        delete(cluster, namespace, "one")
        one.until_there()


def test_metadata_comes_without_the_rest(cluster: Cluster, namespace: str) -> None:
    put(cluster, namespace, "large", text="x" * 500_000)
    resource = config_maps(namespace, metadata_only=True)
    # A page of at most 100 kB would not hold it.
    watch = watch_of(endpoint_of(cluster), resource, PartialObject, max_page_bytes=100_000)
    with following(watch) as seen:
        seen.until_there("large")
        assert seen.told["large"].metadata.labels == {"of": "test"}
        put(cluster, namespace, "large", text="y" * 500_000)
        put(cluster, namespace, "also", text="z" * 500_000)
        seen.until_there("large", "also")
        assert seen.troubles == []


def test_a_page_that_is_too_large_is_asked_for_in_parts(cluster: Cluster, namespace: str) -> None:
    for number in range(5):
        put(cluster, namespace, f"c{number}", text="x" * 30_000)
    watch = watch_of(endpoint_of(cluster), config_maps(namespace), max_page_bytes=70_000)
    with following(watch) as seen:
        seen.until_there("c0", "c1", "c2", "c3", "c4")
        assert seen.troubles == []


def test_a_watch_that_is_cut_goes_on_where_it_was(cluster: Cluster, namespace: str, proxy: TcpProxy) -> None:
    put(cluster, namespace, "kept")
    watch = watch_of(endpoint_of(cluster, proxy), config_maps(namespace))
    with following(watch) as seen:
        seen.until_there("kept")
        for number in range(5):
            watches = watch.watches
            assert proxy.cut() == 1
            put(cluster, namespace, f"c{number}")
            seen.until(lambda name=f"c{number}": name in seen.told, "the object that was made meanwhile")
            assert watch.watches > watches
        assert watch.lists == 1
        assert set(seen.troubles) == {"cut"}
        assert seen.count(Recovered) >= 5
        assert watch.problem is None


@pytest.mark.parametrize("count", [1, 300, 4_000, 9_000, 60_000])
def test_a_cut_anywhere_in_the_stream_loses_nothing(
    cluster: Cluster, namespace: str, proxy: TcpProxy, count: int
) -> None:
    expected = {f"c{n}": put(cluster, namespace, f"c{n}", text="x" * 5_000) for n in range(4)}
    proxy.cut_after(count)
    with following(watch_of(endpoint_of(cluster, proxy), config_maps(namespace))) as seen:
        seen.until(lambda: proxy.accepted >= 2 or seen.told != {}, "a first cut")
        expected |= {f"c{n}": put(cluster, namespace, f"c{n}", text="y" * 5_000) for n in range(2, 8)}
        proxy.pass_through()
        seen.until(lambda: seen.versions == expected, "what is there, as it is")


def test_what_vanished_while_nobody_watched_is_told_as_gone(
    cluster: Cluster, namespace: str, proxy: TcpProxy
) -> None:
    for name in ("stays", "goes", "changes"):
        put(cluster, namespace, name)
    # It lists each time: what it hears is a difference of two lists, and no watch event.
    watch = watch_of(endpoint_of(cluster, proxy), config_maps(namespace), relist_seconds=0)
    with following(watch) as seen:
        seen.until_there("stays", "goes", "changes")
        proxy.refuse()
        seen.until(lambda: watch.problem is not None, "trouble")
        told = len(seen.events)
        delete(cluster, namespace, "goes")
        put(cluster, namespace, "changes", n="1")
        proxy.pass_through()
        seen.until_there("stays", "changes")
        seen.until_synced(2)
        names = [
            (type(each).__name__, each.object.metadata.name)
            for each in seen.events[told:]
            if isinstance(each, Upserted | Removed)
        ]
        assert sorted(names) == [("Removed", "goes"), ("Upserted", "changes")]


def test_a_watch_that_died_without_a_word_is_found_and_made_anew(
    cluster: Cluster, namespace: str, proxy: TcpProxy
) -> None:
    watch = watch_of(endpoint_of(cluster, proxy), config_maps(namespace), window_seconds=3, grace_seconds=1)
    with following(watch) as seen:
        seen.until_synced()
        seen.until(lambda: watch.watches == 1, "a watch")
        proxy.swallow()
        put(cluster, namespace, "unheard")
        seen.until_trouble("silent")
        assert seen.told == {}
        proxy.pass_through()
        seen.until_there("unheard")
        seen.until(lambda: watch.problem is None, "no trouble")
        assert watch.lists == 1


def test_an_authority_that_did_not_sign_is_refused_and_sees_no_token(
    cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    other = new_authority(tmp_path)
    wrong = Endpoint(cluster.url, ca_file=str(other.path), token=cluster.bearer(ADMINISTRATOR))
    with following(watch_of(wrong, config_maps(namespace))) as seen:
        seen.until_trouble("untrusted")
        assert seen.watch.problem is not None
        assert "not trusted" in seen.watch.problem.detail
        assert seen.watch.received_at is None


def test_a_stranger_is_told_to_be_unauthorized_and_whom_it_asked_as(cluster: Cluster, namespace: str) -> None:
    stranger = Endpoint(cluster.url, ca_file=str(cluster.authority), token="x")
    with following(watch_of(stranger, config_maps(namespace))) as seen:
        seen.until_trouble("unauthorized")


def test_a_token_that_is_renewed_in_its_file_is_used(
    cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    endpoint = Endpoint(cluster.url, ca_file=str(cluster.authority), token_file=str(file))
    put(cluster, namespace, "there")
    with following(watch_of(endpoint, config_maps(namespace), window_seconds=2)) as seen:
        seen.until_trouble("no_credential")
        file.write_text("stale")
        seen.until_trouble("unauthorized")
        file.write_text("two lines\nX-Header: y")
        seen.until(lambda: "no_credential" in seen.troubles[1:], "no second line in a header")
        file.write_text(cluster.bearer(ADMINISTRATOR) + "\n")
        seen.until_there("there")
        seen.until(lambda: seen.watch.problem is None, "no trouble")


def test_who_may_not_watch_is_told_what_is_missing(cluster: Cluster, namespace: str) -> None:
    cluster.create_service_account(namespace, "nobody")
    token = cluster.token(namespace, "nobody")
    endpoint = Endpoint(cluster.url, ca_file=str(cluster.authority), token=token)
    with following(watch_of(endpoint, Resource.one("configmaps", namespace, "one"))) as seen:
        seen.until_trouble("forbidden")
        assert seen.watch.problem is not None
        assert f"system:serviceaccount:{namespace}:nobody" in seen.watch.problem.detail
        assert "Role" in seen.watch.problem.remedy
        assert token not in str(seen.events)
