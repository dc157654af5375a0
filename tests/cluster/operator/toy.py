# SPDX-License-Identifier: Apache-2.0
"""The operator's process around work of a few lines, to see the process itself: signals, leaders, watches.

`python -m tests.cluster.operator.toy` with the flags of `watchword operator`; what its handlers see goes to
standard output, a JSON line each.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys
import time
from collections.abc import Mapping
from typing import Any

import kopf

from watchword.kube.connection import Connection
from watchword.kube.requests import WriteGuard
from watchword.kube.watch import PartialObject, Resource, Watch
from watchword.operator.metrics import OperatorMetrics
from watchword.operator.preflight import WATCHED
from watchword.operator.run import run
from watchword.operator.settings import OperatorSettings

WATCHES = {
    plural: Resource(plural=plural, metadata_only=True)
    if plural == "namespaces"
    else Resource(group="watchword.dev", version="v1alpha1", plural=plural, metadata_only=True)
    for plural in WATCHED
}


class Toy:
    """Tells of every object that kopf brings; once `fail` is the name of one, the work fails; once `hang` is,
    it does not let itself be ended."""

    def __init__(
        self,
        settings: OperatorSettings,
        connection: Connection,
        guard: WriteGuard,
        metrics: OperatorMetrics,
    ) -> None:
        self._fail, self._is_hanging = asyncio.Event(), False
        self._guard = guard
        self._begun_at = time.monotonic()
        self._watches = {
            plural: Watch(connection.endpoint(), resource, PartialObject, lambda item: item.metadata.uid)
            for plural, resource in WATCHES.items()
        }

    def registry(self) -> kopf.OperatorRegistry:
        registry = kopf.OperatorRegistry()
        for plural in WATCHED:

            async def told(event: Mapping[str, Any], plural: str = plural, **_: Any) -> None:
                metadata = event["object"]["metadata"]
                tell(saw=event["type"] or "LISTED", resource=plural, name=metadata["name"])
                if metadata["name"] == "fail":
                    self._fail.set()
                if metadata["name"] == "hang":
                    self._is_hanging = True

            kopf.on.event(plural, registry=registry)(told)
        return registry

    async def run(self) -> None:
        tell(leadership="begins", held=self._guard.is_held())
        watching = [asyncio.create_task(self._follow(watch)) for watch in self._watches.values()]
        try:
            await self._fail.wait()
            raise RuntimeError("told to fail")
        finally:
            for task in watching:
                task.cancel()
            while self._is_hanging:
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.sleep(60)
            tell(leadership="ends", held=self._guard.is_held())

    async def _follow(self, watch: Watch[str]) -> None:
        async for _ in watch.events():
            pass

    def is_warm(self) -> bool:
        return all(watch.is_synced for watch in self._watches.values())

    def watch_ages(self) -> Mapping[str, float]:
        now = time.monotonic()
        return {
            plural: now - (self._begun_at if watch.received_at is None else watch.received_at)
            for plural, watch in self._watches.items()
        }


def tell(**facts: Any) -> None:
    print(json.dumps(facts), flush=True)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--kubeconfig")
    parser.add_argument("--namespace", default="watchword-system")
    parser.add_argument("--ops-listen", default="127.0.0.1:0")
    parser.add_argument("--watch-window-seconds", type=int, default=60)
    parser.add_argument("--stop-seconds", type=float, default=10.0)
    given = parser.parse_args()
    return run(
        OperatorSettings(
            namespace=given.namespace,
            kubeconfig=given.kubeconfig,
            ops_listen=given.ops_listen,
            watch_window_seconds=given.watch_window_seconds,
            stop_seconds=given.stop_seconds,
        ),
        Toy,
    )


if __name__ == "__main__":
    sys.exit(main())
