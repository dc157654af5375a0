# SPDX-License-Identifier: Apache-2.0
"""The one place that decides whether a bundle is taken: the newest of all sources, and never an older one.

A bundle that does not parse, or whose generation goes back, is refused loudly and the last good one stays:
a mistake in the control plane must not become an outage, nor an old bundle a way back in. A bundle that is
known to be gone is neither: a minute later its trust ends (`Absence`).
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from watchword.gate.absence import API, Absence
from watchword.gate.bundle_file import BundleSource, SourceProblem, unusable
from watchword.gate.engine import Engine
from watchword.gate.logs import LOGGER
from watchword.trust import Bundle, BundleError, Ruleset, load

# After an error that was not foreseen.
RESTART_SECONDS = 1.0
# How far ahead of this gate's clock a generation may be: the operator's are at most 300 s ahead of its own.
MAX_AHEAD_SECONDS: Final = 600.0
# A clock may be set right meanwhile, and no source tells twice of a bundle that did not change.
LOOK_AGAIN_SECONDS: Final = 30.0
_NONE_YET = SourceProblem("no bundle was loaded yet", "wait, or check --bundle")


class _Taken(msgspec.Struct, frozen=True):
    """What was taken last, also when its trust has ended since."""

    service: str
    generation: int
    digest: str
    schema_version: int


class BundleUpdater:
    """Takes bundles from its sources into an engine.

    Attributes:
        absence: whether the bundle is known to be gone, and since when.
    """

    def __init__(
        self,
        engine: Engine,
        on_adopt: Callable[[Ruleset], Awaitable[None]],
        *,
        bounds_generations: bool = True,
        absent_after: float = 60.0,
    ) -> None:
        """Feed an engine; `on_adopt` is awaited after each new ruleset.

        Args:
            engine: what decides.
            on_adopt: awaited with each ruleset that was taken.
            bounds_generations: refuse a generation that is far ahead of the clock. A bundle in a file that
                a person wrote may carry any number; one that an API server holds may not.
            absent_after: seconds for which a bundle may be known to be gone before its trust ends.
        """
        self._engine, self._on_adopt = engine, on_adopt
        self._bounds_generations = bounds_generations
        self._problems: dict[str, SourceProblem] = {}
        self._newest: dict[str, int] = {}
        self._taken: _Taken | None = None
        # Refused for nothing but its generation, by origin: its source's newest word.
        self._postponed: dict[str, tuple[Bundle, bool]] = {}
        self.absence = Absence(engine, absent_after)
        engine.metrics.follow_absence(self.absence.seconds)
        # Two sources at once: without it, the older of two bundles could be the last to be adopted.
        self._turn = asyncio.Lock()

    @property
    def problem(self) -> SourceProblem | None:
        """What is wrong with the newest word of a source; None when nothing is."""
        if self.absence.ended is not None:
            return self.absence.ended
        if self.absence.countdown is not None:
            return self.absence.countdown
        if self._problems:
            # What the API server says of the object explains what a mounted file lacks; not the other way.
            return self._problems.get(API) or next(iter(self._problems.values()))
        return _NONE_YET if self._engine.active is None else None

    async def follow(self, source: BundleSource, origin: str = "", *, may_lag: bool = False) -> None:
        """Take bundles until cancelled.

        Args:
            source: where they come from.
            origin: a name for it, under which its problems are kept apart from those of other sources;
                `absence.API` is the one whose word on whether the bundle is there counts above a file's.
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
        # Before its turn comes: while another one is loaded, the time of one that is back would run out.
        self.absence.note(item, origin)
        # At once too: what a deletion overtakes must not be taken while the deletion waits for its turn.
        self._postponed.pop(origin, None)
        async with self._turn:
            await self._take_in_turn(item, origin, may_lag)

    async def look_again(self) -> None:
        """Take, until cancelled, what was refused for its generation, once a clock says otherwise."""
        while True:
            await asyncio.sleep(LOOK_AGAIN_SECONDS)
            await self.take_postponed()

    async def take_postponed(self) -> None:
        """Take what was refused for nothing but its generation, where that would be taken now."""
        for origin in list(self._postponed):
            async with self._turn:
                # Its source may have said otherwise before the turn came.
                found = self._postponed.get(origin)
                if found is None or self._is_too_far_ahead(found[0]):
                    continue
                if self._taken is None or not self._is_behind(found[0], self._taken):
                    # Its source says nothing new: whether the bundle is there was noted when it did.
                    await self._take_in_turn(found[0], origin, found[1])

    async def _take_in_turn(self, item: Bundle | SourceProblem, origin: str, may_lag: bool) -> None:
        # Again: a turn that was under way may have postponed a bundle of this source.
        self._postponed.pop(origin, None)
        problem = item if isinstance(item, SourceProblem) else await self._take_bundle(item, origin, may_lag)
        if problem is None:
            self._problems.pop(origin, None)
            return
        if isinstance(item, Bundle):
            self.absence.blocked_by(problem, origin)
        self._refuse(problem, origin)

    async def _take_bundle(self, bundle: Bundle, origin: str, may_lag: bool) -> SourceProblem | None:
        if self._is_too_far_ahead(bundle):
            self._postponed[origin] = bundle, may_lag
            self._engine.metrics.bundle_generations_ahead.inc()
            return _far_ahead(bundle.generation)
        newest = self._newest.get(origin, 0)
        self._newest[origin] = max(newest, bundle.generation)
        if not self.absence.may_restore(origin):
            # The kubelet leaves the files of a ConfigMap that is gone: they say nothing of what holds now.
            return None
        taken = self._taken
        if taken is not None:
            is_active = self._engine.active is not None
            is_same = (bundle.generation, bundle.digest) == (taken.generation, taken.digest)
            if is_active and is_same:
                return None
            if (
                is_active
                and may_lag
                and bundle.generation == taken.generation
                and bundle.schema_version < taken.schema_version
            ):
                # The same bundle in an older form: someone mounts one entry alone.
                return None
            lags = may_lag and newest <= bundle.generation < taken.generation
            if lags and (self.absence.has_api_answered or not self._is_ahead(taken.generation)):
                return None
            name = f"{bundle.service.namespace}/{bundle.service.name}"
            if name != taken.service:
                detail = f"the bundle is for {name}, and this gate runs {taken.service}"
                return SourceProblem(detail, "mount the bundle of this gate's service")
            if self._is_behind(bundle, taken) and not is_same:
                self._postponed[origin] = bundle, may_lag
                detail = f"generation {bundle.generation} does not follow {taken.generation}, which is in use"
                return SourceProblem(detail, "make it again: the generation of a bundle only grows")
        try:
            ruleset = await asyncio.to_thread(load, bundle)
        except BundleError as problem:
            return unusable("the bundle cannot be used", problem)
        # Loading takes a while, and the trust may have ended meanwhile.
        if not self.absence.may_restore(origin):
            return None
        self._engine.adopt(ruleset)
        self._taken = _Taken(ruleset.service, ruleset.generation, ruleset.digest, bundle.schema_version)
        self.absence.restored()
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

    def _is_ahead(self, generation: int) -> bool:
        """Whether a generation, in milliseconds, is further ahead of the clock than one of an operator is."""
        return generation > (self._engine.clock() + MAX_AHEAD_SECONDS) * 1000

    def _is_too_far_ahead(self, bundle: Bundle) -> bool:
        return self._bounds_generations and self._is_ahead(bundle.generation)

    def _is_behind(self, bundle: Bundle, taken: _Taken) -> bool:
        """Whether a bundle does not follow the one that was taken last.

        One that is far ahead was forged, or made by a clock that was wrong: it blocks no lower one. The newer
        form of the same bundle follows the older one, which says less.
        """
        form, form_taken = bundle.schema_version, taken.schema_version
        is_behind = (bundle.generation, form) <= (taken.generation, form_taken)
        return is_behind and not self._is_ahead(taken.generation)

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


def _far_ahead(generation: int) -> SourceProblem:
    detail = (
        f"generation {generation} is more than {MAX_AHEAD_SECONDS:.0f} s ahead of this gate's clock, "
        "and an operator makes none that is"
    )
    remedy = "see who may write the bundle's ConfigMap, and that the clocks of operator and gate are right"
    return SourceProblem(detail, remedy)
