# SPDX-License-Identifier: Apache-2.0
"""How much memory a process took, as the kernel counts it, and how much its container may take.

The bound is the chart's own limit less a fifth: what only just fits is ended by the next request.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import yaml

from watchword.injection import InjectionSettings

_VALUES = Path(__file__).parents[1] / "charts" / "watchword" / "values.yaml"
_UNITS = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30}
MIB = 2**20


def quantity(text: str) -> int:
    """The bytes of a Kubernetes quantity such as `128Mi`."""
    found = re.fullmatch(r"(\d+)([KMG]i)", text)
    assert found is not None, text
    return int(found[1]) * _UNITS[found[2]]


def limit_of(process: str) -> int:
    """The memory limit in bytes of `gate`, `webhook` or `operator`, as it is installed by default."""
    if process == "gate":
        return quantity(InjectionSettings().memory_limit)
    values = yaml.safe_load(_VALUES.read_text())
    return quantity(values[process]["resources"]["limits"]["memory"])


def bound_of(process: str) -> int:
    """What a flood may make a process take: its limit less a fifth."""
    return limit_of(process) * 4 // 5


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes resident now, and at most since `forget_peak`."""

    resident: int
    peak: int


def memory_of(pid: int) -> Memory:
    """What the kernel says of a process."""
    text = Path(f"/proc/{pid}/status").read_text()
    found = dict(re.findall(r"^(VmRSS|VmHWM):\s+(\d+) kB$", text, re.MULTILINE))
    return Memory(int(found["VmRSS"]) * 1024, int(found["VmHWM"]) * 1024)


def forget_peak(pid: int) -> None:
    """Count the peak from what is resident now (`proc_pid_clear_refs(5)`)."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")
