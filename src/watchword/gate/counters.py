# SPDX-License-Identifier: Apache-2.0
"""Counters of the hot path: plain numbers that become metrics when someone asks for them.

One event loop counts, so no lock is needed; prometheus_client's own counters take one each time, and two of
those cost a cached decision as much as the decision.
"""

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from math import isinf

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector


class Count:
    """A number that grows.

    Attributes:
        count: how often.
    """

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0


class Counters(Collector):
    """Counters of one metric, by the values of its labels."""

    def __init__(self, name: str, documentation: str, labels: Sequence[str]) -> None:
        """Name the metric and its labels."""
        self._name, self._documentation, self._labels = name, documentation, labels
        self._counts: dict[tuple[str, ...], Count] = {}

    def of(self, *values: str) -> Count:
        """The count of these label values, shown from now on."""
        return self._counts.setdefault(values, Count())

    def collect(self) -> Iterator[CounterMetricFamily]:
        """What prometheus_client asks for."""
        family = CounterMetricFamily(self._name, self._documentation, labels=self._labels)
        for values, count in self._counts.items():
            family.add_metric(values, count.count)
        yield family


class Durations(Collector):
    """How long something took, in buckets."""

    def __init__(self, name: str, documentation: str, bounds: Sequence[float]) -> None:
        """Name the metric; the bounds of its buckets are seconds, each included in its bucket."""
        self._name, self._documentation = name, documentation
        self._bounds = (*bounds, float("inf"))
        self._counts, self._sum = [0] * len(self._bounds), 0.0

    def observe(self, seconds: float) -> None:
        """Count one."""
        self._counts[bisect_left(self._bounds, seconds)] += 1
        self._sum += seconds

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """What prometheus_client asks for."""
        family = HistogramMetricFamily(self._name, self._documentation)
        family.add_metric([], list(self._buckets().items()), self._sum)
        yield family

    def _buckets(self) -> Mapping[str, int]:
        total, buckets = 0, {}
        for bound, count in zip(self._bounds, self._counts, strict=True):
            total += count
            buckets["+Inf" if isinf(bound) else repr(bound)] = total
        return buckets
