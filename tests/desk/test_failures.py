# SPDX-License-Identifier: Apache-2.0
"""What fails inside of a desk: a defect has a reason of its own; a note that is lost is said and counted."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from testing.running_desk import running_desk
from watchword.desk.audit_events import RequestFacts
from watchword.desk.desk import Desk
from watchword.desk.metrics import DeskMetrics
from watchword.desk.reasons import DeskReason
from watchword.desk.refusals import refuse
from watchword.desk.store import (
    DeskStoreError,
    DeskStoreRefusedError,
    DeskStoreUnavailableError,
    open_desk_store,
)
from watchword.desk.writer import Writer

SECRET = "what no caller may read"


def test_a_defect_is_answered_with_500_and_a_reason_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    with running_desk() as desk:

        def fail(*_: Any) -> float:
            raise RuntimeError(SECRET)

        monkeypatch.setattr(desk.desk._callers, "take", fail)
        answer = desk.exchange()
        assert (answer.status_code, answer.json()["error"], answer.json()["reason"]) == (
            500,
            "server_error",
            "internal_error",
        )
        assert "Retry-After" not in answer.headers
        assert answer.json()["request_id"]
        assert SECRET not in answer.text
        monkeypatch.undo()
        assert desk.exchange().status_code == 200


@pytest.mark.parametrize("kind", [DeskStoreRefusedError, DeskStoreUnavailableError])
def test_a_note_that_the_store_does_not_take_is_said_and_counted(
    kind: type[DeskStoreError], caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> tuple[float, list[BaseException]]:
        store = open_desk_store("sqlite:///:memory:")
        writer = Writer(store)
        desk = Desk(store, writer, DeskMetrics())

        def fail(_: Any) -> list[bool]:
            raise kind("the schema is another one", "migrate it")

        store.write = fail  # type: ignore[method-assign]
        refusal = refuse(DeskReason.PURPOSE_NOT_ALLOWED, subject="workload:a:b:c")
        desk.note_refusal("token", refusal, RequestFacts("r-1", "10.0.0.1", 0.0))
        notes = list(desk._notes)
        await desk.finish_notes()
        await writer.close()
        store.close()
        return desk.metrics.store_failures._value.get(), [
            each for task in notes if (each := task.exception()) is not None
        ]

    with caplog.at_level(logging.ERROR):
        failures, raised = asyncio.run(scenario())
    assert (failures, raised) == (1, [])
    assert "an audit entry was lost" in caplog.text
