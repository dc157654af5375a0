# SPDX-License-Identifier: Apache-2.0
"""What is kept of 50,000 pods is little: no part of it twice."""

from __future__ import annotations

import msgspec
import pytest

from testing.manifests import service
from watchword.operator.informers import PodObject, pod_keeper
from watchword.operator.pods import GroupPool, PodIndex
from watchword.trust import ProtectedService
from watchword.trust.gate_coverage import PodContainer, gate_coverage
from watchword.trust.objects import read_object
from watchword.trust.policy_coverage import PodGroup


def pod(number: int, **labels: str) -> PodObject:
    written = {
        "metadata": {
            "namespace": "team",
            "name": f"app-{number}",
            "uid": f"uid-{number}",
            "resourceVersion": str(number),
            "labels": {"b": "2", "a": "1", **labels},
        },
        "spec": {"serviceAccountName": "app", "containers": [{"name": "app"}]},
    }
    return msgspec.json.decode(msgspec.json.encode(written), type=PodObject)


def test_pods_that_are_alike_are_kept_as_one_group() -> None:
    keep = pod_keeper()
    kept = [keep(pod(number)) for number in range(100)]
    assert len({id(each.group) for each in kept}) == 1
    assert len({each.uid for each in kept}) == 100
    assert kept[0].group == PodGroup("team", "app", (("a", "1"), ("b", "2")))


def test_pods_that_differ_are_not() -> None:
    keep = pod_keeper()
    assert keep(pod(1)).group != keep(pod(2, c="3")).group


def test_pods_with_and_without_a_gate_are_two_groups_and_are_counted() -> None:
    keep = pod_keeper()
    bare, gated = pod(1), pod(2)
    gated = msgspec.structs.replace(
        gated, spec=msgspec.structs.replace(gated.spec, init_containers=[PodContainer(name="watchword-gate")])
    )
    index = PodIndex(lambda _: {})
    for each in (keep(bare), keep(pod(3)), keep(gated)):
        index.take(each.uid, each.group)
    counted = {group.has_gate: number for group, number in index.counts["team"].items()}
    assert counted == {False: 2, True: 1}
    index.remove("uid-3")
    index.remove("uid-2")
    assert index.counts["team"] == {keep(bare).group: 1}
    assert "elsewhere" not in index.counts


MINE = (("app", "api"), ("hash", "1"))


@pytest.mark.parametrize(
    ("pods", "reason", "said"),
    [
        ([], "NoPods", ""),
        ([(PodGroup("team", "a", (("app", "other"),)), 3)], "NoPods", ""),
        ([(PodGroup("team", "a", MINE, has_gate=True), 3)], "PodsHaveGates", ""),
        ([(PodGroup("team", "a", MINE), 1)], "PodsWithoutGate", "1 pod that it selects has no gate"),
        (
            [
                (PodGroup("team", "a", MINE, has_gate=True), 9),
                (PodGroup("team", "b", MINE), 4),
                (PodGroup("team", "a", MINE), 6),
                (PodGroup("team", "a", (("app", "other"),)), 50),
            ],
            "PodsWithoutGate",
            "10 pods that it selects have no gate",
        ),
        ([(PodGroup("team", "a", MINE), 11)], "PodsWithoutGate", "more than 10 pods that it selects"),
    ],
)
def test_a_service_says_how_many_of_its_pods_have_no_gate(
    pods: list[tuple[PodGroup, int]], reason: str, said: str
) -> None:
    protected = read_object(service("api")).resource
    assert isinstance(protected, ProtectedService)
    found = gate_coverage(protected, dict(pods))
    assert (found.verdict.type, found.verdict.reason) == ("Gated", reason)
    assert said in found.message


def test_a_pods_status_is_no_news() -> None:
    keep = pod_keeper()
    before = pod(1)
    after = msgspec.structs.replace(
        before, metadata=msgspec.structs.replace(before.metadata, resource_version="2")
    )
    assert keep(before) == keep(after)


def test_the_pool_does_not_grow_with_the_groups_that_ever_were() -> None:
    pool = GroupPool(most=10)
    for number in range(1_000):
        group = PodGroup("team", f"app-{number}", ())
        assert pool.shared(group) is group
    assert len(pool._groups) <= 10
