# SPDX-License-Identifier: Apache-2.0
"""Refusals in the log, added up by reason: a flood of bad tokens must not become a flood of lines."""

from watchword.identity import Refusal
from watchword.process.logs import LOGGER, SUMMARY_SECONDS

__all__ = ["LOGGER", "SUMMARY_SECONDS", "RefusalLog"]


class RefusalLog:
    """The first refusal of a reason is logged at once, the rest of the next seconds as one number."""

    def __init__(self, what: str = "refused") -> None:
        """Write down that something was done: refused, or not, for now."""
        self._what = what
        self._counts: dict[str, int] = {}

    def note(self, refusal: Refusal, decision_id: str, trace_id: str = "") -> None:
        """Count a refusal. Its detail quotes nothing that is not proven, and never the token."""
        code = refusal.reason.code
        if code not in self._counts:
            extra = {"reason": code, "decision_id": decision_id, "detail": refusal.detail}
            LOGGER.info(self._what, extra=extra | ({"trace_id": trace_id} if trace_id else {}))
            self._counts[code] = 0
        else:
            self._counts[code] += 1

    def summarize(self) -> None:
        """Log what was added up since the last time, and start over."""
        counts, self._counts = self._counts, {}
        for code, count in sorted(counts.items()):
            if count:
                LOGGER.info(
                    f"{self._what} again", extra={"reason": code, "times": count, "seconds": SUMMARY_SECONDS}
                )
