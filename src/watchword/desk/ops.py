# SPDX-License-Identifier: Apache-2.0
"""Whether a desk is ready for traffic, and if not why not, as its ops port says it."""

from typing import Any

from watchword.desk.desk import Desk


class DeskReadiness:
    """Whether the desk wants traffic.

    Attributes:
        problem: why there is no state, or no new one; with what would help.
        store_problem: the same of the store.
        publishing_problem: the same of what is published.
        is_stopping: it was told to stop and finishes what is in flight.
    """

    def __init__(self, desk: Desk) -> None:
        """Judge by a desk."""
        self._desk = desk
        self.problem: tuple[str, str] | None = ("no configuration was read yet", "wait, or check its source")
        self.store_problem: tuple[str, str] | None = None
        self.publishing_problem: tuple[str, str] | None = None
        self.is_stopping = False

    def document(self) -> tuple[int, dict[str, Any]]:
        """The status and body of /readyz."""
        state = self._desk.state
        is_ready = state is not None and state.signing is not None and self.store_problem is None
        document: dict[str, Any] = {"ready": is_ready and not self.is_stopping}
        if state is not None:
            document |= {
                "desk": state.name,
                "issuer": state.issuer,
                "services": sorted(state.targets),
                "clients": sorted(state.clients.by_name),
                "problems": list(state.problems),
            }
        found = self.store_problem or self.problem or self.publishing_problem
        if self.is_stopping:
            document["why"] = "the desk is stopping"
        elif found is not None:
            document["warning" if document["ready"] else "why"], document["remedy"] = found
        elif not is_ready and state is not None:
            document["why"] = "no key may sign"
            document["remedy"] = (
                "see the conditions of the TokenDesk; with --config-folder, add a key to keys/, and give the "
                "bundles the desk's keys (`watchword compile --jwks NAMESPACE/NAME=FILE`)"
            )
        return (200 if document["ready"] else 503), document
