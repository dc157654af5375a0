# SPDX-License-Identifier: Apache-2.0
"""What an edit costs the API server, by its audit log and the operator's own count: little, and no list."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from testing.controlplane import wait_until
from testing.operated import Operated
from testing.operator_process import running_operator

WORKLOADS = 5


@pytest.fixture(scope="module")
def place(operated: Operated) -> str:
    """A namespace with a service and some workloads, settled."""
    namespace = operated.new_namespace()
    workloads = [
        operated.workload(namespace, f"w{number}", (namespace, f"a{number}")) for number in range(WORKLOADS)
    ]
    for number in range(WORKLOADS):
        operated.account(namespace, f"a{number}")
    everybody = {"allowFrom": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}
    operated.apply(operated.service(namespace, networkPolicy=everybody), *workloads)
    for workload in workloads:
        operated.wait_for(workload, "Ready/Trusted")
    return namespace


Act = Callable[[Operated, str], object]
PATCHES = {
    "bundle": ("patch", "configmaps"),
    "workload": ("patch", "trustedworkloads/status"),
    "service": ("patch", "protectedservices/status"),
    "policy": ("patch", "networkpolicies"),
}


def w0(operated: Operated, place: str, **spec: object) -> None:
    operated.edit(operated.workload(place, "w0", (place, "a0")), **spec)


EDITS: list[tuple[str, Act, list[str]]] = [
    (
        "other grants",
        lambda it, place: w0(it, place, grants=[{"scopes": ["app:write"], "accounts": ["acme"]}]),
        ["bundle", "workload", "service"],
    ),
    ("suspended", lambda it, place: w0(it, place, suspend=True), ["bundle", "workload", "service"]),
    ("resumed", lambda it, place: w0(it, place, suspend=False), ["bundle", "workload", "service"]),
    (
        "a peer",
        lambda it, place: w0(it, place, **{"from": [{"ipBlock": {"cidr": "10.1.0.0/16"}}]}),
        ["policy", "workload"],
    ),
    (
        "another workload",
        lambda it, place: it.apply(it.workload(place, "w9", (place, "a1"), issuerRef={"name": "nobody"})),
        ["workload", "service"],
    ),
    (
        "a workload's end",
        lambda it, place: it.delete(it.workload(place, "w9")),
        ["service"],
    ),
    (
        "a label that decides nothing",
        lambda it, place: it.merge(
            f"/apis/watchword.dev/v1alpha1/namespaces/{place}/trustedworkloads/w1",
            {"metadata": {"labels": {"a": "b"}, "annotations": {"kopf.zalando.org/last": "{}"}}},
        ),
        [],
    ),
    (
        "a service's limits",
        lambda it, place: it.edit(it.service(place), limits={"requestsPerSecond": 7, "burst": 9}),
        ["bundle", "service"],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("what", "act", "expected"), EDITS, ids=[each[0] for each in EDITS])
def test_an_edit_costs_what_it_changes_and_no_list(
    operated: Operated, place: str, what: str, act: Act, expected: list[str]
) -> None:
    counts: list[float] = []

    def count() -> None:
        counts.append(operated.replica.metric("watchword_operator_api_requests_total"))

    def act_counted() -> None:
        count()
        act(operated, place)

    made = operated.requests_of(act_counted)
    count()
    events = Counter({key: count for key, count in made.items() if key[1] == "events"})
    assert made - events == Counter(PATCHES[each] for each in expected), what
    assert sum((made - events).values()) <= 3
    assert counts[1] - counts[0] == sum(made.values())


def test_a_burst_of_edits_costs_about_what_one_does(operated: Operated, place: str) -> None:
    def burst() -> None:
        for number in range(20):
            w0(operated, place, suspend=number % 2 == 0)

    made = operated.requests_of(burst)
    # Quiet for 50 ms or 250 ms in all: the twenty are a handful, whatever this machine's pace.
    assert made["patch", "configmaps"] < 20
    assert not any(verb in ("list", "get") for verb, _ in made)


def test_another_services_edit_costs_this_one_nothing(operated: Operated, place: str) -> None:
    elsewhere = operated.new_namespace()
    operated.apply(operated.service(elsewhere))
    operated.wait_for(operated.service(elsewhere), "Ready/BundleCurrent")
    operated.settle()
    before = len(operated.requests())
    operated.edit(operated.service(elsewhere), limits={"requestsPerSecond": 1, "burst": 2})
    operated.settle()
    assert {each.namespace for each in operated.requests()[before:]} == {elsewhere}


def test_a_restart_writes_nothing_when_nothing_changed(
    operated: Operated, place: str, operator_kubeconfig: Path, tmp_path: Path
) -> None:
    """A second replica takes over: to the cluster that is a restart, and this one's peace is kept."""
    operated.settle()
    before = len(operated.requests())
    assert operated.replica.is_running
    operated.replica.freeze()
    try:
        with running_operator(operator_kubeconfig, tmp_path, name="second") as second:
            second.wait_until(second.is_leading, "the second replica leads and is warm", 90)
            wait_until(lambda: _is_quiet(operated), what="it has asked for what it needs")
            asked = operated.requests()[before:]
    finally:
        operated.replica.thaw()
    operated.replica.wait_until(operated.replica.is_leading, "the first replica leads again", 90)
    writes = [each for each in asked if each.verb not in ("get", "list", "watch")]
    assert writes == []
    # Its own three CRDs are looked at: whether they are of this release.
    assert {each.resource for each in asked if each.verb != "list"} <= {"customresourcedefinitions"}


def _is_quiet(operated: Operated) -> bool:
    operated.settle()
    return True
