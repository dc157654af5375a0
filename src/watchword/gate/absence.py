# SPDX-License-Identifier: Apache-2.0
"""Whether a gate's bundle is known to be gone, and the end of its trust a minute later.

Gone is not unreachable: an API server that is away, or refuses, says nothing of the bundle, and a gate that
then refused everyone would turn each outage into its own. But a gate that keeps the trust of a service that
was deleted lets in callers whom only the NetworkPolicy, which went at once, had kept out.
"""

import asyncio
from typing import TYPE_CHECKING, Final

from watchword.gate.bundle_file import SourceProblem
from watchword.gate.engine import Engine
from watchword.gate.logs import LOGGER
from watchword.identity import Reason, Refusal

if TYPE_CHECKING:
    from watchword.trust import Bundle

# The source whose word on whether the bundle is there counts above a file's.
API: Final = "API server"
_FOR_CALLERS: Final = "the trust of this service has ended: its bundle is gone"
_HINT: Final = "its owner sees /readyz of the gate, and restores the ProtectedService if it should be there"


class Absence:
    """What sources say of whether the bundle is there, and for how long it has been gone.

    Attributes:
        ended: why the trust has ended; None: it has not.
        has_api_answered: the API server has said whether the bundle is there, since this process began.
    """

    def __init__(self, engine: Engine, limit_seconds: float) -> None:
        """End the trust of an engine once the bundle has been gone for so long."""
        self._engine, self._limit = engine, limit_seconds
        self._since: float | None = None
        # Who says so; also after a bundle is back, until it was taken.
        self._said_by: str | None = None
        self._problem: SourceProblem | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.ended: SourceProblem | None = None
        self.has_api_answered = False

    def seconds(self) -> float:
        """For how long the bundle has been known to be gone; 0: it is not."""
        return 0.0 if self._since is None else max(self._engine.monotonic() - self._since, 0.001)

    @property
    def countdown(self) -> SourceProblem | None:
        """What is gone and when the trust ends; None where nothing is gone."""
        if self._problem is None or self._since is None:
            return None
        left = max(self._limit - self.seconds(), 0.0)
        return SourceProblem(f"{self._problem.detail}; its trust ends in {left:.0f} s", self._problem.remedy)

    def may_restore(self, origin: str) -> bool:
        """Whether a bundle from this source may be taken: after the API server said gone, only its own.

        And none while it is gone: one that is there has been noted before it may be taken.
        """
        if self.ended is None:
            return True
        return self._since is None and (origin == API or self._said_by != API)

    def note(self, item: "Bundle | SourceProblem", origin: str) -> None:
        """Take what a source says: that the bundle is there, that it is gone, or nothing of it."""
        is_there = item.is_there if isinstance(item, SourceProblem) else True
        if is_there is None:
            return
        if origin == API:
            self.has_api_answered = True
        elif self._said_by == API or (self.has_api_answered and not is_there):
            # A mounted file lags behind the API server, and outlives its object.
            return
        if is_there:
            self._is_back()
            if isinstance(item, SourceProblem):
                self.blocked_by(item, origin)
        elif isinstance(item, SourceProblem):
            self._is_gone(item, origin)

    def blocked_by(self, problem: SourceProblem, origin: str) -> None:
        """Say from now on that this, and no longer the absence, is why there is no trust."""
        if self.ended is not None and self.may_restore(origin):
            self.ended = problem

    def restored(self) -> None:
        """A bundle was taken: from a source that may say so."""
        if self.ended is not None:
            LOGGER.info("trust restored", extra={"effect": "requests are decided again"})
            self.ended = None
        if self._since is None:
            self._said_by = None

    def _is_gone(self, problem: SourceProblem, origin: str) -> None:
        self._said_by, self._problem = origin, problem
        if self.ended is not None:
            self.ended = problem
        if self._since is not None:
            return
        self._since = self._engine.monotonic()
        if self.ended is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._limit, self._end)
            LOGGER.warning(
                "bundle gone",
                extra={
                    "detail": problem.detail,
                    "remedy": problem.remedy,
                    "trust_ends_in_seconds": self._limit,
                },
            )

    def _is_back(self) -> None:
        self._since = self._problem = None
        if self.ended is None:
            self._said_by = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _end(self) -> None:
        problem = self._problem
        if problem is None:
            return
        self._timer = None
        detail = f"{problem.detail} for more than {self._limit:g} s, so its trust has ended"
        self.ended = SourceProblem(detail, problem.remedy)
        self._engine.end_trust(Refusal(Reason.NOT_READY, _FOR_CALLERS, _HINT))
        LOGGER.error(
            "trust ended",
            extra={
                "detail": detail,
                "remedy": problem.remedy,
                "effect": "every request is refused until the bundle is back",
            },
        )
