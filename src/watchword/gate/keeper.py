# SPDX-License-Identifier: Apache-2.0
"""The one place that decides whether a bundle is taken: the newest of all sources, and never an older one.

A bundle that does not parse, or whose generation goes back, is refused loudly and the last good one stays:
a mistake in the control plane must not become an outage, nor an old bundle a way back in.
"""

import asyncio
from collections.abc import Awaitable, Callable

from watchword.gate.engine import Engine
from watchword.gate.logs import LOGGER
from watchword.gate.sources import BundleSource, SourceProblem, unusable
from watchword.trust import Bundle, BundleProblem, Ruleset, load

# After an error that nobody foresaw.
RESTART_SECONDS = 1.0
_NONE_YET = SourceProblem("no bundle was loaded yet", "wait, or check --bundle")


class Keeper:
    """Takes bundles from its sources into an engine."""

    def __init__(self, engine: Engine, on_adopt: Callable[[Ruleset], Awaitable[None]]) -> None:
        """Feed an engine; `on_adopt` is awaited after each new ruleset."""
        self._engine, self._on_adopt = engine, on_adopt
        self._problems: dict[str, SourceProblem] = {}
        self._newest: dict[str, int] = {}
        # Two sources at once: without it, the older of two bundles could be the last to be adopted.
        self._turn = asyncio.Lock()

    @property
    def problem(self) -> SourceProblem | None:
        """What is wrong with the newest word of a source; None when nothing is."""
        if self._problems:
            return next(iter(self._problems.values()))
        return _NONE_YET if self._engine.active is None else None

    async def follow(self, source: BundleSource, origin: str = "", *, may_lag: bool = False) -> None:
        """Take bundles until cancelled.

        Args:
            source: whence.
            origin: a name for it, under which its problems are kept apart from those of other sources.
            may_lag: an older bundle from it is no news, as long as it does not go back by itself: the
                kubelet renews a mounted ConfigMap a minute after the API server told of it.
        """
        while True:
            try:
                async for item in source.bundles():
                    await self.take(item, origin, may_lag=may_lag)
                    # A bundle is large, and the next one may be hours away.
                    del item
            except Exception as error:  # noqa: BLE001 - a gate that stopped to listen would never revoke again
                name = type(error).__name__
                remedy = "this is a defect; please report it"
                self._refuse(SourceProblem(f"an unforeseen {name}", remedy), origin)
            else:
                return
            await asyncio.sleep(RESTART_SECONDS)

    async def take(self, item: Bundle | SourceProblem, origin: str = "", *, may_lag: bool = False) -> None:
        """Adopt a bundle, or say why not and keep the last good one."""
        async with self._turn:
            problem = (
                item if isinstance(item, SourceProblem) else await self._take_bundle(item, origin, may_lag)
            )
            if problem is None:
                self._problems.pop(origin, None)
            else:
                self._refuse(problem, origin)

    async def _take_bundle(self, bundle: Bundle, origin: str, may_lag: bool) -> SourceProblem | None:
        active = self._engine.active
        newest = self._newest.get(origin, 0)
        self._newest[origin] = max(newest, bundle.generation)
        if active is not None:
            running = active.ruleset
            if (bundle.generation, bundle.digest) == (running.generation, running.digest):
                return None
            if may_lag and newest <= bundle.generation < running.generation:
                return None
            if problem := _unfit(bundle, running):
                return problem
        try:
            ruleset = await asyncio.to_thread(load, bundle)
        except BundleProblem as problem:
            return unusable("the bundle cannot be used", problem)
        self._engine.adopt(ruleset)
        LOGGER.info(
            "bundle in use",
            extra={
                "service": ruleset.service,
                "generation": ruleset.generation,
                "digest": ruleset.digest,
                "workloads": ruleset.workloads,
                "issuers": ruleset.issuers,
                **({"origin": origin} if origin else {}),
            },
        )
        await self._on_adopt(ruleset)
        return None

    def _refuse(self, problem: SourceProblem, origin: str) -> None:
        self._problems[origin] = problem
        self._engine.metrics.bundle_failures.inc()
        kept = (
            "the last good bundle stays in use"
            if self._engine.active
            else "every request is refused until then"
        )
        extra = {"detail": problem.detail, "remedy": problem.remedy, "effect": kept}
        LOGGER.error("bundle refused", extra=extra | ({"origin": origin} if origin else {}))


def _unfit(bundle: Bundle, running: Ruleset) -> SourceProblem | None:
    """Why a bundle cannot follow the one in use."""
    name = f"{bundle.service.namespace}/{bundle.service.name}"
    if bundle.generation <= running.generation:
        detail = f"generation {bundle.generation} does not follow {running.generation}, which is in use"
        return SourceProblem(detail, "make it anew: the generation of a bundle only grows")
    if name != running.service:
        detail = f"the bundle is for {name}, and this gate runs {running.service}"
        return SourceProblem(detail, "mount the bundle of this gate's service")
    return None
