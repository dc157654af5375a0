# SPDX-License-Identifier: Apache-2.0
"""Whether the pods that a service selects have a gate: the app of one that has none answers every caller.

The NetworkPolicy closes the app's port only where one is enforced, and no gate refuses what never passes it.
A pod counts by the containers that it runs, not by the label with which it asked for one.
"""

import re
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Final

import msgspec

from watchword.trust.api.v1alpha1 import ProtectedService
from watchword.trust.conditions import ConditionValue, Verdict
from watchword.trust.overlapping_selectors import matches
from watchword.trust.policy_coverage import PodGroup

# The container that injection adds.
GATE_CONTAINER: Final = "watchword-gate"
# Counted up to here, so that a message does not change with every pod.
MOST_COUNTED: Final = 10
_IN_A_SCRIPT: Final = re.compile(r"(?:^|[\s/;&|])watchword\s+sidecar(?:\s|$)")
_BUNDLE_VARIABLE: Final = "WATCHWORD_BUNDLE"


class ContainerVariable(msgspec.Struct, frozen=True):
    """A variable of a container's environment.

    Attributes:
        name: its name; what it holds is not read.
    """

    name: str = ""


class PodContainer(msgspec.Struct, frozen=True):
    """As much of a container as tells whether it is a gate.

    Attributes:
        name: its name.
        command: what takes the place of the image's entry point; None: nothing does.
        args: its arguments; None: the image's.
        env: the variables that are named one by one.
    """

    name: str = ""
    command: list[str] | None = None
    args: list[str] | None = None
    env: list[ContainerVariable] | None = None


def has_gate(containers: Iterable[PodContainer]) -> bool:
    """Whether one of a pod's containers, init containers included, is a gate."""
    return any(is_gate(each) for each in containers)


def is_gate(container: PodContainer) -> bool:
    """Whether a container runs `watchword sidecar`, or is the one that injection adds.

    Other programs have a `sidecar` command too (Istio's and Thanos' among them): one that is started by the
    image's own entry point counts only where it is told of a bundle, which a gate cannot do without.
    """
    if container.name == GATE_CONTAINER:
        return True
    command, args = container.command or [], container.args or []
    words = [*command, *args]
    if any(
        program.rpartition("/")[2] == "watchword" and argument == "sidecar"
        for program, argument in pairwise(words)
    ):
        return True
    if any(_IN_A_SCRIPT.search(word) for word in words):
        return True
    if command or args[:1] not in ([], ["sidecar"]):
        return False
    names = [each.name for each in container.env or ()]
    return _BUNDLE_VARIABLE in names or any(
        each == "--bundle" or each.startswith("--bundle=") for each in args
    )


def gate_coverage(service: ProtectedService, pods: Mapping[PodGroup, int]) -> ConditionValue:
    """Whether every pod that a service selects has a gate.

    Args:
        service: the service.
        pods: how many pods of its namespace there are of each group.
    """
    selected = [(group, number) for group, number in pods.items() if matches(service, dict(group.labels))]
    if not selected:
        return Verdict.NO_PODS_SELECTED.with_message()
    bare = sum(number for group, number in selected if not group.has_gate)
    if not bare:
        return Verdict.PODS_HAVE_GATES.with_message()
    counted = f"more than {MOST_COUNTED}" if bare > MOST_COUNTED else str(bare)
    pods_have = "pod that it selects has" if bare == 1 else "pods that it selects have"
    detail = f"{counted} {pods_have} no gate: their app answers every caller that the network lets through"
    return Verdict.PODS_WITHOUT_GATE.with_message(detail)
