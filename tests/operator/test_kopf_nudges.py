# SPDX-License-Identifier: Apache-2.0
"""An event of kopf's has a Namespace's services reconciled where its labels differ from what is known."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from testing import manifests
from tests.operator.objects import take
from watchword.kube.connection import Connection
from watchword.kube.leases import LeaseHold
from watchword.kube.names import NamespacedName
from watchword.kube.watch import Endpoint
from watchword.operator.manager import Manager
from watchword.operator.metrics import OperatorMetrics
from watchword.operator.settings import OperatorSettings


@pytest.mark.parametrize(
    ("type_", "labels", "is_reconciled"),
    [
        ("MODIFIED", {"team": "a"}, False),
        ("MODIFIED", {"team": "b"}, True),
        ("MODIFIED", None, True),
        ("DELETED", {"team": "a"}, False),
        ("ADDED", {"team": "a", "more": "x"}, True),
        (None, {"team": "b"}, False),
    ],
)
def test_services_are_reconciled_where_the_labels_differ(
    type_: str | None, labels: dict[str, str] | None, is_reconciled: bool
) -> None:
    async def live() -> None:
        connection = Connection(Endpoint("http://127.0.0.1:1"))
        manager = Manager(OperatorSettings(), connection, LeaseHold(), OperatorMetrics())
        manager._cache.take_namespace("tuist", "uid", {"team": "a"})
        take(manager._cache, manifests.service("api"))
        metadata: dict[str, Any] = {"name": "tuist"} | ({} if labels is None else {"labels": labels})
        [handler] = manager.registry()._watching.get_all_handlers()
        await handler.fn(event={"type": type_, "object": {"metadata": metadata}})
        assert manager._queues.services.is_waiting(NamespacedName("tuist", "api")) is is_reconciled

    asyncio.run(live())
