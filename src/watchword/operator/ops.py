# SPDX-License-Identifier: Apache-2.0
"""The operator's ops port: is it alive, is it ready and if not why not, and what has it counted.

A process can answer and yet receive nothing. So /healthz fails when a watch, or the loop that works, has not
reported for too long; a replica that stands by has no watches and is healthy, however long it stands.
"""

from collections.abc import Mapping
from typing import Final

from watchword.operator.leader_election import LeaderElector
from watchword.operator.leadership import LeadershipThread

_MERCY_SECONDS: Final = 60.0


class Health:
    """What the ops port answers, from the elector and the leadership that runs, if one does.

    Attributes:
        leadership: the work of a leader; None while standing by.
        stopping: the process was told to stop.
    """

    def __init__(self, elector: LeaderElector) -> None:
        """Answer for an elector and for the leadership that is set."""
        self.leadership: LeadershipThread | None = None
        self.stopping = False
        self._elector = elector

    def watch_ages(self) -> Mapping[str, float]:
        """Seconds since each watch received something; none while standing by."""
        return {} if self.leadership is None else self.leadership.ages()

    def healthz(self) -> tuple[int, str]:
        """The status and body of /healthz."""
        # Leadership ends by itself before that; when it does not, only a new process helps.
        limit = 0.0 if self.leadership is None else self.leadership.silence_seconds + _MERCY_SECONDS
        silent = {name: age for name, age in self.watch_ages().items() if age > limit}
        if not silent:
            return 200, "ok\n"
        lines = (f"silent for {age:.0f} s: {name}\n" for name, age in sorted(silent.items()))
        return 503, "".join(lines)

    def readyz(self) -> tuple[int, dict[str, object]]:
        """The status and body of /readyz: ready is who leads and is warm, or stands by and sees the Lease."""
        elector, leadership = self._elector, self.leadership
        leads = elector.is_held()
        document: dict[str, object] = {
            "ready": False,
            "leader": leads,
            "identity": elector.identity,
            "holder": elector.holder,
        }
        if self.stopping:
            document["why"] = "the operator is stopping"
        elif leadership is not None and (obstacle := leadership.obstacle) is not None:
            document["why"], document["remedy"] = obstacle.detail, obstacle.remedy
        elif leads and leadership is not None and leadership.is_warm():
            document["ready"] = True
        elif leads:
            document["why"] = "leading since a moment ago; not everything has been read and written yet"
        elif elector.trouble is not None:
            document["why"], document["remedy"] = elector.trouble.detail, elector.trouble.remedy
        elif elector.holder in {"", elector.identity}:
            document["why"] = "no replica leads yet; a new Lease takes 10 seconds"
        else:
            document["ready"] = True
        if leadership is not None and leadership.warnings:
            document["warnings"] = [f"{each.detail}. Remedy: {each.remedy}" for each in leadership.warnings]
        if leadership is not None:
            document["watches"] = {name: round(age, 1) for name, age in sorted(leadership.ages().items())}
        return (200 if document["ready"] else 503), document
