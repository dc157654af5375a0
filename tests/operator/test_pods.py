# SPDX-License-Identifier: Apache-2.0
"""What is kept of 50,000 pods is little: no part of it twice."""

from __future__ import annotations

import msgspec

from watchword.operator.informers import PodObject, pod_keeper
from watchword.operator.pods import GroupPool
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
